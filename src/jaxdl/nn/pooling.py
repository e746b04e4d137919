"""Pooling as PyTorch does it, in forms that are quick on CPU too."""

import functools

import jax
import jax.numpy as jnp

from jaxdl._checks import check_positive, check_shape
from jaxdl.nn.linear import floating_dtype
from jaxdl.types import Array


@jax.named_scope("max_pool")
def max_pool(
    inputs: Array, window: int = 2, *, stride: int | None = None, padding: int = 0
) -> Array:
    """The maximum over ``window`` x ``window`` squares.

    Written as comparisons of slices: on CPU its gradient is several times quicker than that of
    ``flax.linen.max_pool``. Rows and columns that do not fill a window are left out.

    Args:
        inputs: (B, H, W, C).
        window: side of the square.
        stride: distance of two squares; None is ``window``, squares that do not overlap.
        padding: pixels of minus infinity on each side; at most half the window.

    Returns:
        (B, H', W', C) with ``H' = conv_output_size(H, window, ...)``. NaN stays NaN.

    Raises:
        ValueError: another rank, an image smaller than the window, padding of more than half of it,
            or numbers out of range.

    Source: ``torch.nn.functional.max_pool2d``; where pixels of a window share the maximum, the
    gradient goes to the first of them, as there.
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    stride = window if stride is None else stride
    check_positive(window=window, stride=stride)
    if not 0 <= padding <= window // 2:
        raise ValueError(f"padding must lie in 0 to {window // 2} (window / 2), got {padding}.")
    if padding:
        integer = not jnp.issubdtype(inputs.dtype, jnp.floating)
        lowest = jnp.iinfo(inputs.dtype).min if integer else -jnp.inf
        pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        inputs = jnp.pad(inputs, pads, constant_values=lowest)
    batch, height, width, channels = inputs.shape
    rows, columns = pooled_size(height, width, window, stride)
    if stride == window:
        inside = inputs[:, : rows * window, : columns * window]
        windows = inside.reshape(batch, rows, window, columns, window, channels)
        row = functools.reduce(first_maximum, [windows[:, :, :, :, j] for j in range(window)])
        return functools.reduce(first_maximum, [row[:, :, i] for i in range(window)])
    places = [
        inputs[:, i : i + (rows - 1) * stride + 1 : stride][
            :, :, j : j + (columns - 1) * stride + 1 : stride
        ]
        for i in range(window)
        for j in range(window)
    ]
    return functools.reduce(first_maximum, places)


@jax.named_scope("avg_pool")
def avg_pool(inputs: Array, window: int = 2) -> Array:
    """The mean over ``window`` x ``window`` squares that do not overlap.

    Args:
        inputs: (B, H, W, C).
        window: side of the square, and the stride.

    Returns:
        (B, H // window, W // window, C); rows and columns that do not fill a window are left out.

    Raises:
        ValueError: another rank, an image smaller than the window, or a window of no pixels.

    Source: ``torch.nn.functional.avg_pool2d(x, window)``.
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    check_positive(window=window)
    batch, height, width, channels = inputs.shape
    rows, columns = pooled_size(height, width, window)
    inside = inputs[:, : rows * window, : columns * window]
    return inside.reshape(batch, rows, window, columns, window, channels).mean((2, 4))


@jax.named_scope("adaptive_avg_pool")
def adaptive_avg_pool(inputs: Array, output_size: int | tuple[int, int]) -> Array:
    """Means over regions, as many as asked for whatever the size of the image.

    Region i of n along H pixels reaches from ⌊iH/n⌋ to ⌈(i+1)H/n⌉; regions may overlap.

    Args:
        inputs: (B, H, W, C).
        output_size: regions (h, w) along each axis, or one number for both.

    Returns:
        (B, h, w, C); float32 for integers.

    Source: ``torch.nn.functional.adaptive_avg_pool2d``.
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    height, width = _pair(output_size)
    # slices, not a product with weights: 0 times infinity would be NaN in every region
    maps = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
    rows = [maps[:, start:stop].mean(1) for start, stop in _regions(inputs.shape[1], height)]
    maps = jnp.stack(rows, axis=1)
    columns = [maps[:, :, start:stop].mean(2) for start, stop in _regions(inputs.shape[2], width)]
    return jnp.stack(columns, axis=2).astype(floating_dtype(inputs))


@jax.named_scope("adaptive_max_pool")
def adaptive_max_pool(inputs: Array, output_size: int | tuple[int, int]) -> Array:
    """Maxima over the regions of :func:`adaptive_avg_pool`; shapes as there.

    Source: ``torch.nn.functional.adaptive_max_pool2d``.
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    height, width = _pair(output_size)
    rows = [
        jnp.stack(
            [
                inputs[:, top:bottom, left:right].max((1, 2))
                for left, right in _regions(inputs.shape[2], width)
            ],
            axis=1,
        )
        for top, bottom in _regions(inputs.shape[1], height)
    ]
    return jnp.stack(rows, axis=1)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _regions(pixels: int, regions: int) -> list[tuple[int, int]]:
    check_positive(output_size=regions)
    return [(i * pixels // regions, -(-(i + 1) * pixels // regions)) for i in range(regions)]


def pooled_size(height: int, width: int, window: int, stride: int | None = None) -> tuple[int, int]:
    """Rows and columns of windows in an image."""
    if min(height, width) < window:
        raise ValueError(
            f"pooling over {window}x{window} pixels needs at least that many, got images of "
            f"{height}x{width}: the images are too small for this model."
        )
    stride = stride or window
    return (height - window) // stride + 1, (width - window) // stride + 1


def first_maximum(a: Array, b: Array) -> Array:
    """The larger of two, the first where they are equal; NaN wins."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
