"""Blurring and sharpening."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real

from jaxdl.transforms._image import (
    TINY,
    Augment,
    Scalar,
    Size,
    check_images,
    check_range,
    is_known,
    one_image,
    pair,
    rounded_like,
    uniform,
)
from jaxdl.transforms.color import blend
from jaxdl.transforms.cropping import pad
from jaxdl.types import Array


def gaussian_blur(
    image: Real[Array, "*B H W C"], kernel_size: Size, sigma: Scalar
) -> Real[Array, "*B H W C"]:
    """Blurs with a Gaussian: weights ∝ exp(−t² / 2σ²) at whole t, over their sum.

    Args:
        image: (..., H, W, C); mirrored about its edges.
        kernel_size: odd number of rows and columns that count, or (rows, columns).
        sigma: σ in pixels, greater than 0; may be traced.

    Returns:
        (..., H, W, C) in the image's dtype; uint8 is rounded.

    Raises:
        ValueError: an even size, one that is twice the image's or more, a sigma of 0 or less.

    Source: ``torchvision.transforms.functional.gaussian_blur``. Pillow's ``GaussianBlur``
    approximates with boxes.

    >>> blur = jax.jit(lambda image: gaussian_blur(image, (1, 3), 1.0))
    >>> blur(jnp.array([[[0], [250], [0]]], jnp.uint8)).ravel().tolist()
    [137, 113, 137]
    """
    image = check_images(image)
    sizes = _kernel_size(kernel_size)
    if is_known(sigma) and not sigma > 0:
        raise ValueError(f"sigma must be greater than 0, got {sigma}.")
    values = pad(image, (sizes[0] // 2, sizes[1] // 2), "reflect").astype(jnp.float32)
    for axis, size in ((-3, sizes[0]), (-2, sizes[1])):
        places = jnp.arange(size) - size // 2
        weights = jax.nn.softmax(-0.5 * (places / jnp.asarray(sigma, jnp.float32)) ** 2)
        length = image.shape[axis]
        slices = (
            jax.lax.slice_in_dim(values, tap, tap + length, axis=values.ndim + axis)
            for tap in range(size)
        )
        blurred = jnp.zeros((), jnp.float32)
        for weight, part in zip(weights, slices, strict=True):
            blurred = blurred + weight * part
        values = blurred
    return rounded_like(values, image)


def _kernel_size(kernel_size: Size) -> tuple[int, int]:
    sizes = pair("kernel_size", kernel_size)
    if not all(size % 2 for size in sizes):
        raise ValueError(f"kernel_size must be odd, got {kernel_size}.")
    return sizes


def random_blur(kernel_size: Size, sigma: tuple[float, float] = (0.1, 2.0)) -> Augment:
    """Makes an augmentation that blurs with a Gaussian of random width.

    Args:
        kernel_size: as for :func:`gaussian_blur`.
        sigma: smallest and largest σ, pixels.

    Raises:
        ValueError: an even size, a range that is empty or not above 0; an image that is not
            (H, W, C) or too small.

    Source: ``torchvision.transforms.GaussianBlur``.

    >>> augment = jax.jit(random_blur(3))
    >>> augment(jax.random.key(0), jnp.ones((8, 8, 1))).shape
    (8, 8, 1)
    """
    _kernel_size(kernel_size)
    check_range("sigma", sigma, TINY, np.inf)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        return gaussian_blur(one_image(image), kernel_size, uniform(key, sigma))

    return apply


def smooth(image: Array) -> Array:
    """The mean of 3×3 pixels, the middle counting five times; pixels on the edge stay."""
    height, width = image.shape[-3:-1]
    if min(height, width) < 3:
        return image
    values = image.astype(jnp.int32) if image.dtype == jnp.uint8 else image
    padded = jnp.pad(values, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    total = 4 * values
    for down, right in itertools.product(range(3), range(3)):
        total = total + padded[..., down : down + height, right : right + width, :]
    # whole numbers: t / 13 rounded is (2 t + 13) / 26 cut off
    mean = (2 * total + 13) // 26 if image.dtype == jnp.uint8 else total / 13
    row, column = jnp.arange(height).reshape(-1, 1, 1), jnp.arange(width).reshape(1, -1, 1)
    inner = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    inner = inner.reshape((1,) * (image.ndim - 3) + inner.shape)
    return jnp.where(inner, mean.astype(image.dtype), image)


def adjust_sharpness(image: Real[Array, "*B H W C"], factor: Scalar) -> Real[Array, "*B H W C"]:
    """Blends with a smoothed image: 0 is smoothed, 1 the image, 2 sharper.

    Args:
        image: (..., H, W, C); smaller than 3×3 it stays as it is.
        factor: 0 or greater; may be traced.

    Raises:
        ValueError: a negative factor.

    Source: ``torchvision.transforms.functional.adjust_sharpness``, ``ImageEnhance.Sharpness``
    (equal).

    >>> image = jnp.zeros((3, 3, 1), jnp.uint8).at[1, 1].set(130)
    >>> jax.jit(adjust_sharpness)(image, 0.0)[1, 1].item()  # 5 / 13 of it
    50
    """
    image = check_images(image)
    return blend(smooth(image), image, factor)
