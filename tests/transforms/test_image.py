"""Tests of ``jaxdl.transforms.image``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import transforms

# Scaling


def test_to_float():
    scaled = transforms.to_float(jnp.array([0, 51, 204, 255], jnp.uint8))
    assert scaled.dtype == jnp.float32
    np.testing.assert_allclose(scaled, [0, 0.2, 0.8, 1], rtol=1e-6)
    half = jnp.array([3.5], jnp.float16)
    assert transforms.to_float(half) is half
    with pytest.raises(ValueError, match=r"uint8 \(0 to 255\) or floating point, got int32"):
        transforms.to_float(jnp.array([1]))


def test_to_uint8_is_the_inverse_and_keeps_to_its_range():
    levels = jnp.arange(256).astype(jnp.uint8)
    for scaled in (transforms.to_float(levels), transforms.to_float(levels).astype(jnp.float16)):
        np.testing.assert_array_equal(transforms.to_uint8(scaled), levels)
    assert transforms.to_uint8(levels) is levels
    # torchvision: floor(255.999 x)
    outside = jnp.array([-0.1, 0.0039, 0.00391, 0.5, 0.99999, 1.2])
    assert transforms.to_uint8(outside).tolist() == [0, 0, 1, 127, 255, 255]


# Compose


def test_compose_applies_in_order_with_a_key_each():
    def add(key, image):
        return image + jax.random.uniform(key)

    def double(key, image):
        return image * 2

    image = jnp.zeros((1, 1, 1))
    first, _, third = jax.random.split(jax.random.key(3), 3)
    expected = jax.random.uniform(first) * 2 + jax.random.uniform(third)
    chained = transforms.compose(add, double, add)(jax.random.key(3), image)
    np.testing.assert_allclose(chained, np.full((1, 1, 1), expected), rtol=1e-6)
