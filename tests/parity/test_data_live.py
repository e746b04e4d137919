"""Splits and collating beside live PyTorch."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate, random_split

from jaxdl.data.source import stack_examples
from jaxdl.data.split import split_lengths


@pytest.mark.parametrize(
    "lengths", [[0.8, 0.2], [0.33, 0.33, 0.34], [0.29, 0.71], [0.1] * 10, [0.5, 0.25, 0.25], [1.0]]
)
def test_fractions_are_rounded_as_in_pytorch(lengths):
    for number in (10, 11, 97, 100, 60_000):
        parts = random_split(range(number), lengths, generator=torch.Generator().manual_seed(0))
        assert split_lengths(number, lengths) == [len(part) for part in parts]


def test_examples_are_collated_as_in_pytorch():
    generator = np.random.default_rng(0)
    examples = [
        {"image": generator.integers(0, 256, (4, 5, 3), dtype=np.uint8), "label": np.int32(i)}
        for i in range(3)
    ]
    ours, theirs = stack_examples(examples), default_collate(examples)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name].numpy())
        assert ours[name].dtype == theirs[name].numpy().dtype
