"""Reading batches of one size: what fills the last one, and plans that cannot be read."""

import numpy as np
from helpers.small_sources import Numbers

from jaxdl import data


def test_padding_fills_the_last_batch_and_masks_it():
    loader = data.Loader(Numbers(7), batch_size=3, shuffle=True, pad_last=True)
    batches = list(loader.epoch(0))
    order = data.RandomSampler(7).order(0)
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), [*order, *order[:2]])
    np.testing.assert_array_equal([b["mask"] for b in batches], [[1, 1, 1], [1, 1, 1], [1, 0, 0]])
    assert "mask" not in next(data.Loader(Numbers(6), batch_size=3, pad_last=True).epoch(0))
    # as the batches of arrays on the device
    np.testing.assert_array_equal(loader.order(0).ravel(), [*order, *order[:2]])


def test_padding_multiplies_a_mask_that_is_there():
    source = data.ArraySource({"mask": np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])})
    masks = [b["mask"] for b in data.Loader(source, batch_size=2, pad_last=True)]
    np.testing.assert_array_equal(masks, [[[1, 1], [1, 0]], [[1, 1], [0, 0]]])
