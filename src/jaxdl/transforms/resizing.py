"""Resizing with the antialiasing filters of Pillow."""

import math

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
)
from jaxdl.transforms.cropping import crop
from jaxdl.types import Array

METHODS = {"nearest": 0, "bilinear": 1, "bicubic": 2}
"""How many old pixels to either side count for a new one, where the image is enlarged."""


_NUM_TRIES = 10  # as torchvision's


def resize(
    image: Real[Array, "*B H W C"], size: Size, method: str = "bilinear"
) -> Real[Array, "*B h w C"]:
    """Resizes images with antialiasing.

    The new pixel i lies at c = (i + ½) · r, r = old / new size, and is Σⱼ k((c − j − ½) / s) xⱼ
    over the sum of the weights, with s = max(r, 1), columns first, then rows. k is the triangle
    1 − |t| (bilinear) or Keys' cubic with a = −½ (bicubic).

    Args:
        image: (..., H, W, C).
        size: (height, width), or one number for the shorter side; the longer becomes
            int(size · longer / shorter).
        method: ``bilinear``, ``bicubic`` or ``nearest`` (pixel ⌊c⌋).

    Returns:
        (..., height, width, C) in the image's dtype; uint8 is rounded, as in Pillow after the
        columns too.

    Raises:
        ValueError: a size that is not above 0, an unknown method.

    Source: ``torchvision.transforms.Resize(size, antialias=True)``, ``Image.resize``; since
    Pillow 13 that takes the rows first where it is less work, which bicubic uint8 can show.

    >>> halve = jax.jit(lambda image: resize(image, (1, 2)))
    >>> halve(jnp.array([[[0], [7], [14], [21]]], jnp.uint8)).ravel().tolist()
    [5, 16]
    """
    image = check_images(image)
    rows, columns = image.shape[-3:-1]
    if isinstance(size, int | np.integer):
        shorter = pair("size", size)[0]
        longer = int(shorter * max(rows, columns) / min(rows, columns))
        size = (longer, shorter) if rows > columns else (shorter, longer)
    return resized_crop(image, 0, 0, rows, columns, size, method)


def resized_crop(
    image: Real[Array, "*B H W C"],
    top: Scalar,
    left: Scalar,
    height: Scalar,
    width: Scalar,
    size: Size,
    method: str = "bilinear",
) -> Real[Array, "*B h w C"]:
    """Crops a rectangle and resizes it in one operation, ignoring pixels outside of it.

    Args:
        image: (..., H, W, C).
        top: first row, an integer or a traced one.
        left: first column, likewise.
        height: rows of the rectangle, likewise.
        width: columns of the rectangle, likewise.
        size: (height, width) of the result, or one number for both.
        method: as for :func:`resize`.

    Returns:
        (..., *size, C) in the image's dtype.

    Raises:
        ValueError: a rectangle that is not within the image, where it is not traced; an unknown
            method.

    Source: ``torchvision.transforms.functional.resized_crop``.

    >>> right_half = jax.jit(lambda image: resized_crop(image, 0, 2, 1, 2, (1, 4)))
    >>> right_half(jnp.array([[[0.0], [9.0], [1.0], [3.0]]])).ravel().tolist()
    [1.0, 1.5, 2.5, 3.0]
    """
    image = check_images(image)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    new_rows, new_columns = pair("size", size)
    if is_known(top, left, height, width):
        image = crop(image, top, left, int(height), int(width))
        top, left = 0, 0
        if (height, width) == (new_rows, new_columns):
            return image
    for axis, length_new, start, length in (
        (-2, new_columns, left, width),
        (-3, new_rows, top, height),
    ):
        image = _resample(image, axis, length_new, start, length, method)
    return image


def _resample(
    image: Array, axis: int, size: int, start: Scalar, length: Scalar, method: str
) -> Array:
    """Resamples one axis for :func:`resized_crop`."""
    number = image.shape[axis]
    places = (jnp.arange(size) + 0.5) * (length / size) + start
    if method == "nearest":
        index = jnp.clip(jnp.floor(places), start, start + length - 1).astype(jnp.int32)
        return jnp.take(image, index, axis=axis, mode="clip")
    # How much one side can shrink decides how many old pixels a new one covers.
    radius = METHODS[method]
    num_taps = math.ceil(2 * radius * max(number / size, 1.0)) + 1
    spread = jnp.maximum(jnp.asarray(length / size, jnp.float32), 1.0)
    first = jnp.floor(places - radius * spread + 0.5)
    old = first.reshape(-1, 1) + jnp.arange(num_taps, dtype=jnp.float32).reshape(1, -1)
    distance = jnp.abs(places.reshape(-1, 1) - old - 0.5) / spread
    inside = (old >= start) & (old < start + length)
    weights = jnp.where(inside, _KERNELS[method](distance), 0.0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    index = jnp.clip(old, 0, number - 1).astype(jnp.int32)
    shape = tuple(size if a == image.ndim + axis else 1 for a in range(image.ndim))

    def add(total: Array, tap: tuple[Array, Array]) -> tuple[Array, None]:
        taken = jnp.take(image, tap[0], axis=axis, mode="clip")
        return total + tap[1].reshape(shape) * taken, None

    # A scan, because XLA would fuse a plain sum into whatever reads it and repeat it there.
    new_shape = (*image.shape[: image.ndim + axis], size, *image.shape[image.ndim + axis + 1 :])
    zeros = jnp.zeros(new_shape, jnp.float32)
    total, _ = jax.lax.scan(add, zeros, (index.T, weights.T))
    return _round_half_up(total) if image.dtype == jnp.uint8 else total.astype(image.dtype)


def _round_half_up(values: Array) -> Array:
    """Rounds to uint8, halves up, as Pillow and torch's antialiased resize do."""
    return jnp.clip(jnp.floor(values + 0.5), 0, 255).astype(jnp.uint8)


def _triangle(distance: Array) -> Array:
    return jnp.maximum(0.0, 1.0 - distance)


def _cubic(distance: Array) -> Array:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = -0.5 * (((distance - 5) * distance + 8) * distance - 4)
    return jnp.where(distance < 1, near, jnp.where(distance < 2, far, 0.0))


_KERNELS = {"bilinear": _triangle, "bicubic": _cubic}


def random_resized_crop(
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    method: str = "bilinear",
) -> Augment:
    """Random resized crop: crops a random rectangle and resizes it.

    The area is uniform in ``scale`` · H · W and the logarithm of width / height uniform in that of
    ``ratio``. The first of ten draws that fits is placed uniformly in the image; if none fits, the
    crop is the largest central rectangle with a ratio in the range.

    Args:
        size: (height, width) of the result, or one number for both.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest width / height.
        method: as for :func:`resize`.

    Raises:
        ValueError: a range that is empty, or a number outside its range; an image that is not
            (H, W, C).

    Source: Szegedy et al. 2015 (Inception), section 6;
    ``torchvision.transforms.RandomResizedCrop``.

    >>> augment = jax.jit(random_resized_crop(8))
    >>> augment(jax.random.key(0), jnp.zeros((10, 12, 3), jnp.uint8)).shape
    (8, 8, 3)
    """
    wanted = pair("size", size)
    check_range("scale", scale, TINY, 1.0)
    check_range("ratio", ratio, TINY, np.inf)
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = one_image(image)
        box = random_box(key, image.shape[0], image.shape[1], scale, ratio)
        return resized_crop(image, *box, wanted, method)

    return apply


def random_box(
    key: Array, rows: int, columns: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Array, Array, Array, Array]:
    """Draws top, left, height and width of :func:`random_resized_crop`'s rectangle, int32."""
    area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
    tries = (_NUM_TRIES,)
    area = rows * columns * jax.random.uniform(area_key, tries, minval=scale[0], maxval=scale[1])
    logarithm = jax.random.uniform(
        ratio_key, tries, minval=np.log(ratio[0]), maxval=np.log(ratio[1])
    )
    widths = jnp.round(jnp.sqrt(area * jnp.exp(logarithm)))
    heights = jnp.round(jnp.sqrt(area / jnp.exp(logarithm)))
    fits = (widths > 0) & (widths <= columns) & (heights > 0) & (heights <= rows)
    first = jnp.argmax(fits)
    last_height, last_width = rows, columns
    if columns / rows < ratio[0]:
        last_height = max(1, round(columns / ratio[0]))
    elif columns / rows > ratio[1]:
        last_width = max(1, round(rows * ratio[1]))
    height = jnp.where(fits.any(), heights[first], last_height).astype(jnp.int32)
    width = jnp.where(fits.any(), widths[first], last_width).astype(jnp.int32)
    top = jax.random.randint(top_key, (), 0, rows - height + 1)
    left = jax.random.randint(left_key, (), 0, columns - width + 1)
    top = jnp.where(fits.any(), top, (rows - height) // 2)
    left = jnp.where(fits.any(), left, (columns - width) // 2)
    return top, left, height, width
