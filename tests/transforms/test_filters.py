"""Tests of ``jaxdl.transforms.filters``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from PIL import ImageEnhance

from jaxdl import transforms

RNG = np.random.default_rng(0)


PHOTO = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


ENHANCERS = {
    "brightness": (transforms.adjust_brightness, ImageEnhance.Brightness),
    "contrast": (transforms.adjust_contrast, ImageEnhance.Contrast),
    "saturation": (transforms.adjust_saturation, ImageEnhance.Color),
    "sharpness": (transforms.adjust_sharpness, ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("name", ENHANCERS)
def test_blends_of_floats_by_definition(name):
    image = jnp.asarray(PHOTO / 255.0, jnp.float32)
    gray = (np.asarray(image) * [[[0.299, 0.587, 0.114]]]).sum(-1, keepdims=True)
    padded = np.pad(np.asarray(image), ((1, 1), (1, 1), (0, 0)))
    around = sum(padded[i : i + 20, j : j + 30] for i in range(3) for j in range(3))
    smooth = np.asarray(image).copy()
    smooth[1:-1, 1:-1] = ((around + 4 * smooth) / 13)[1:-1, 1:-1]
    dull = {"brightness": 0.0, "contrast": gray.mean(), "saturation": gray, "sharpness": smooth}
    expected = np.clip(dull[name] + 1.6 * (np.asarray(image) - dull[name]), 0, 1)
    np.testing.assert_allclose(ENHANCERS[name][0](image, 1.6), expected, atol=2e-6)


CASES = read_cases("transforms")


IMAGE = CASES["inputs"]["image"]


# Blurring


@pytest.mark.parametrize(("size", "sigma"), [((3, 3), 0.8), ((5, 7), 1.7)])
def test_blur_is_that_of_torchvision(size, sigma):
    blur = jax.jit(functools.partial(transforms.gaussian_blur, kernel_size=size, sigma=sigma))
    compare("gaussian blur", blur(IMAGE), CASES[f"blur {size} {sigma}"]["y"], 2e-6)


def test_blur_by_hand():
    # One white pixel, σ = 1, three taps: e^-½ / (1 + 2 e^-½) = 0.2741 beside, 0.4519 in the middle.
    image = jnp.zeros((5, 5, 1), jnp.uint8).at[2, 2].set(255)
    weights = np.array([np.exp(-0.5), 1, np.exp(-0.5)]) / (1 + 2 * np.exp(-0.5))
    expected = np.round(255 * np.outer(weights, weights))
    blurred = transforms.gaussian_blur(image, 3, 1.0)
    assert blurred.dtype == jnp.uint8
    np.testing.assert_array_equal(blurred[1:4, 1:4, 0], expected)
    assert int(blurred.sum()) == int(expected.sum())


def test_random_blur_draws_its_width():
    image = jnp.zeros((9, 9, 1)).at[4, 4].set(1.0)
    blur = jax.jit(jax.vmap(transforms.random_blur((1, 9), (0.5, 1.5)), (0, None)))
    rows = np.asarray(blur(jax.random.split(jax.random.key(0), 200), image))[:, 4, :, 0]
    # neighbor / middle = exp(-1 / 2σ²)
    sigma = np.sqrt(-0.5 / np.log(rows[:, 3] / rows[:, 4]))
    assert 0.5 <= sigma.min() < 0.55
    assert 1.45 < sigma.max() <= 1.5
    assert abs(sigma.mean() - 1.0) < 4 / np.sqrt(12 * 200)


LARGE = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.gaussian_blur(LARGE, 4, 1.0), r"kernel_size must be odd, got 4"),
        (lambda: transforms.gaussian_blur(LARGE, 3, 0.0), r"sigma must be greater than 0, got 0"),
        (lambda: transforms.gaussian_blur(LARGE, 81, 1.0), r"at most 39 pixels .* of 40, got 40"),
        (lambda: transforms.random_blur(3, (2.0, 1.0)), r"sigma must be .*in order"),
    ],
)
def test_blur_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
