"""Pixels and channels moved: places by hand, inverses, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_unshuffle_is_the_inverse(batch, factor):
    shape = (*batch, 2, 3, 2 * factor**2)
    x = jnp.arange(np.prod(shape)).reshape(shape)
    y = nn.pixel_shuffle(x, factor)
    assert y.shape == (*batch, 2 * factor, 3 * factor, 2)
    np.testing.assert_array_equal(nn.pixel_unshuffle(y, factor), x)


def test_each_value_goes_to_its_place():
    x = np.arange(2 * 3 * 8).reshape(2, 3, 8)
    y = nn.pixel_shuffle(jnp.asarray(x), 2)
    for h, w, c, i, j in np.ndindex(2, 3, 2, 2, 2):
        assert y[2 * h + i, 2 * w + j, c] == x[h, w, 4 * c + 2 * i + j]


def test_shuffled_groups_shuffle_back():
    x = jnp.arange(24).reshape(2, 12)
    np.testing.assert_array_equal(nn.channel_shuffle(nn.channel_shuffle(x, 3), 4), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.pixel_shuffle(jnp.ones((2, 2, 6)), 2), r"C divisible by factor² = 4"),
        (lambda: nn.pixel_shuffle(jnp.ones((2, 4)), 2), r"\(\.\.\., H, W, C\)"),
        (lambda: nn.pixel_unshuffle(jnp.ones((2, 3, 1)), 2), "H and W divisible by factor=2"),
        (lambda: nn.channel_shuffle(jnp.ones(5), 2), "C divisible by num_groups=2"),
        (lambda: nn.channel_shuffle(jnp.ones(4), 0), "num_groups"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
