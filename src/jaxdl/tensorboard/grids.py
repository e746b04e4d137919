"""Grids of images."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_positive, check_shape


def make_grid(
    images: ArrayLike,
    *,
    num_columns: int = 8,
    padding: int = 2,
    normalize: Literal["together", "each"] | None = None,
) -> np.ndarray:
    """Arranges images in a grid on black.

    With r rows and c columns the grid has height ``r * (H + padding) + padding`` and width
    ``c * (W + padding) + padding``; fewer images than columns make fewer columns.

    Args:
        images: (N, H, W, C), C 1 or 3; floating point or uint8.
        num_columns: images in a row.
        padding: pixels around every image.
        normalize: "together" maps the smallest of all values to 0 and the largest to 1, "each" so
            for every image; None leaves the values alone.

    Returns:
        (height, width, 3), float32, or uint8 where the images are and are left alone.

    Raises:
        ValueError: images of another shape or number of channels, or none.

    Source: ``torchvision.utils.make_grid(nrow, padding, normalize, scale_each)``; here a single
    image gets its border too.

    >>> make_grid(np.ones((8, 26, 26, 1)), num_columns=2).shape
    (114, 58, 3)
    """
    images = np.asarray(images)
    check_shape("images", images, (None, None, None, None))
    check_positive(num_columns=num_columns, num_images=len(images))
    if images.shape[-1] not in (1, 3):
        raise ValueError(f"images must have shape (N, H, W, 1 or 3), got {images.shape}.")
    if normalize is not None:
        images = _normalize(images, normalize)
    elif images.dtype != np.uint8:
        images = images.astype(np.float32)
    number, height, width, _ = images.shape
    columns = min(num_columns, number)
    rows = math.ceil(number / columns)
    size = (rows * (height + padding) + padding, columns * (width + padding) + padding, 3)
    grid = np.zeros(size, images.dtype)
    for index, image in enumerate(images):
        top = index // columns * (height + padding) + padding
        left = index % columns * (width + padding) + padding
        grid[top : top + height, left : left + width] = image
    return grid


def feature_grid(maps: ArrayLike, *, num_maps: int = 8, num_columns: int = 2) -> np.ndarray:
    """The first maps of a layer's output, scaled together.

    Args:
        maps: (H, W, C), or (B, H, W, C), of which the first example is shown.
        num_maps: maps shown at most.
        num_columns: maps in a row.

    Returns:
        the grid, see :func:`make_grid`: for 26x26 maps (114, 58, 3).
    """
    maps = np.asarray(maps)
    maps = maps[0] if maps.ndim == 4 else maps
    check_shape("maps", maps, (None, None, None))
    images = np.moveaxis(maps[..., :num_maps], -1, 0)[..., None]
    return make_grid(images, num_columns=num_columns, normalize="together")


def filter_grid(
    kernel: ArrayLike, *, num_filters: int = 16, num_columns: int = 8, channel: int = 0
) -> np.ndarray:
    """The first filters of a convolution, each scaled separately.

    Args:
        kernel: (height, width, inputs, outputs), as Linen keeps it.
        num_filters: filters shown at most.
        num_columns: filters in a row.
        channel: the input channel that is shown, unless there are 3, which are shown as colors.

    Returns:
        the grid, see :func:`make_grid`: for 16 filters of 3x3 (12, 42, 3).
    """
    kernel = np.asarray(kernel)
    check_shape("kernel", kernel, (None, None, None, None))
    if not 0 <= channel < kernel.shape[2]:
        raise ValueError(f"channel must lie in 0 to {kernel.shape[2] - 1}, got {channel}.")
    if kernel.shape[2] != 3:
        kernel = kernel[:, :, channel : channel + 1]
    images = np.moveaxis(kernel[..., :num_filters], -1, 0)
    return make_grid(images, num_columns=num_columns, normalize="each")


def input_grid(images: ArrayLike, *, num_images: int = 8, num_columns: int = 8) -> np.ndarray:
    """The first images of a batch: uint8 as they are, floating point scaled together.

    Args:
        images: (B, H, W, C), C 1 or 3, normalized or not.
        num_images: images shown at most.
        num_columns: images in a row.

    Returns:
        the grid, see :func:`make_grid`: for 28x28 images (32, 242, 3).
    """
    images = np.asarray(images)[:num_images]
    normalize: Literal["together"] | None = None if images.dtype == np.uint8 else "together"
    return make_grid(images, num_columns=num_columns, normalize=normalize)


def _normalize(images: np.ndarray, how: str) -> np.ndarray:
    if how not in ("together", "each"):
        raise ValueError(f"normalize must be 'together', 'each' or None, got {how!r}.")
    images = images.astype(np.float32)
    if not np.isfinite(images).all():
        images = np.nan_to_num(images, posinf=0.0, neginf=0.0)  # a run that diverges is looked at
    axes = None if how == "together" else (1, 2, 3)
    low = images.min(axis=axes, keepdims=True)
    high = images.max(axis=axes, keepdims=True)
    return (images - low) / np.maximum(high - low, 1e-5)
