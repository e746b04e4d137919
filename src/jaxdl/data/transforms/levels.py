"""Every pixel's new value depends on its old one and, at most, on the image's histogram."""

from typing import Any

import jax.numpy as jnp

from jaxdl.data.transforms.color import invert
from jaxdl.data.transforms.images import (
    check_images,
    is_known,
    to_float,
    to_uint8,
    white,
)
from jaxdl.types import Array


def solarize(image: Array, threshold: Any) -> Array:
    """Inverts what is at or above a threshold.

    Args:
        image: (..., H, W, C).
        threshold: 0 to 255 for uint8, 0 to 1 for floating point; may be traced.

    Raises:
        ValueError: a threshold outside its range.

    Counterpart: ``torchvision.transforms.functional.solarize``, ``ImageOps.solarize`` (equal).

    >>> solarize(jnp.array([[[10], [200]]], jnp.uint8), 128).ravel().tolist()
    [10, 55]
    """
    image = check_images(image)
    if is_known(threshold) and not 0 <= threshold <= white(image):
        raise ValueError(
            f"threshold must lie in 0 to {white(image):.0f} for {image.dtype}, got {threshold}."
        )
    values = image.astype(jnp.float32) if image.dtype == jnp.uint8 else image
    return jnp.where(values >= threshold, invert(image), image)


def posterize(image: Array, bits: Any) -> Array:
    """Keeps the given number of leading bits of every value.

    Args:
        image: (..., H, W, C); floating point becomes ⌊2ᵇ x⌋ / 2ᵇ.
        bits: b, 0 to 8; may be traced.

    Raises:
        ValueError: bits outside 0 to 8.

    Counterpart: ``torchvision.transforms.v2.functional.posterize``, ``ImageOps.posterize`` (equal).

    >>> posterize(jnp.array([[[127], [200]]], jnp.uint8), 2).ravel().tolist()
    [64, 192]
    """
    image = check_images(image)
    if is_known(bits) and not (0 <= bits <= 8 and bits == int(bits)):
        raise ValueError(f"bits must be a whole number in 0 to 8, got {bits}.")
    if image.dtype == jnp.uint8:
        mask = 255 - (jnp.left_shift(1, 8 - jnp.asarray(bits, jnp.int32)) - 1)
        return image & mask.astype(jnp.uint8)
    steps = jnp.left_shift(1, jnp.asarray(bits, jnp.int32)).astype(image.dtype)
    return jnp.clip(jnp.floor(image * steps), 0, steps - 1) / steps


def autocontrast(image: Array) -> Array:
    """Stretches every channel so that its darkest pixel becomes black and its brightest white.

    x ↦ (x − min) / (max − min), on the scale of the image and cut to whole numbers for uint8; a
    channel of one value stays as it is.

    Args:
        image: (..., H, W, C).

    Counterpart: ``torchvision.transforms.functional.autocontrast``, ``ImageOps.autocontrast``,
    which computes in floating point and so is one level lower for a few values.

    >>> autocontrast(jnp.array([[[50], [75], [100]]], jnp.uint8)).ravel().tolist()
    [0, 127, 255]
    """
    image = check_images(image)
    low = image.min(axis=(-3, -2), keepdims=True)
    high = image.max(axis=(-3, -2), keepdims=True)
    if image.dtype == jnp.uint8:
        whole, low, high = (x.astype(jnp.int32) for x in (image, low, high))
        stretched = (whole - low) * 255 // jnp.maximum(high - low, 1)
        return jnp.where(high > low, stretched, whole).astype(jnp.uint8)
    span = jnp.where(high > low, high - low, 1)
    return jnp.where(high > low, (image - low) / span, image)


def equalize(image: Array) -> Array:
    """Makes the histogram of every channel as even as a function of the values can.

    With h the histogram and s = ⌊(Σ h − its last count above 0) / 255⌋, the value v becomes
    ⌊(⌊s / 2⌋ + Σ_{u < v} h(u)) / s⌋, at most 255; where s is 0 the channel stays as it is.

    Args:
        image: (..., H, W, C); floating point is rounded to 256 levels, as in torchvision.

    Counterpart: ``torchvision.transforms.v2.functional.equalize``, ``ImageOps.equalize`` (equal).

    >>> equalize(jnp.arange(100, 200).astype(jnp.uint8).reshape(10, 10, 1)).ravel()[-1].item()
    199
    """
    image = check_images(image)
    if image.dtype != jnp.uint8:
        return to_float(equalize(to_uint8(image))).astype(image.dtype)
    return jnp.vectorize(_equalize, signature="(h,w,c)->(h,w,c)")(image)


def _equalize(image: Array) -> Array:
    num_channels = image.shape[-1]
    # one histogram of 256 bins a channel, behind one another
    bins = image.astype(jnp.int32) + 256 * jnp.arange(num_channels).reshape(1, 1, -1)
    counts = (
        jnp.zeros(256 * num_channels, jnp.int32).at[bins.ravel()].add(1, mode="promise_in_bounds")
    )
    counts = counts.reshape(num_channels, 256)
    last = jnp.take_along_axis(
        counts, image.max(axis=(0, 1)).astype(jnp.int32).reshape(-1, 1), axis=1
    )
    step = (image.shape[0] * image.shape[1] - last) // 255
    before = jnp.cumsum(counts, axis=1) - counts
    table = jnp.minimum((step // 2 + before) // jnp.maximum(step, 1), 255)
    table = jnp.where(step > 0, table, jnp.arange(256).reshape(1, -1)).astype(jnp.uint8)
    return table.ravel().at[bins].get(mode="promise_in_bounds")
