"""Pooling with PyTorch's results, in forms that are fast on CPU too."""

import functools
import operator

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from jaxdl._checks import check_count, check_shape
from jaxdl.nn.linear import floating_dtype
from jaxdl.types import Array

Pair = int | tuple[int, int]
"""One integer for height and width, or (height, width)."""


def pair(name: str, value: Pair, minimum: int = 1) -> tuple[int, int]:
    """(height, width) from an integer or a pair of integers.

    >>> pair("stride", 2), pair("stride", (2, 1))
    ((2, 2), (2, 1))
    """
    sides = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(sides) != 2:
        raise ValueError(
            f"{name} must be an integer or a pair (height, width) of integers, got {value!r}."
        )
    for side in sides:
        check_count(minimum, **{name: side})
    return int(sides[0]), int(sides[1])


@jax.named_scope("max_pool")
def max_pool(
    inputs: Num[Array, "B H W C"],
    window: Pair = 2,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
) -> Num[Array, "B H2 W2 C"]:
    """Maximum over windows of pixels.

    Computed by comparing slices: on CPU its gradient is several times faster than that of
    ``flax.linen.max_pool``. Rows and columns that do not fill a window are left out.

    Args:
        inputs: (B, H, W, C).
        window: size in pixels, an integer or (height, width).
        stride: distance in pixels of neighboring windows, likewise; None is ``window``.
        padding: pixels of minus infinity on each side, likewise; at most half the window.

    Returns:
        (B, H', W', C) with ``H' = conv_output_size(H, window, ...)``. NaN stays NaN.

    Raises:
        ValueError: another rank, an image smaller than the window, padding of more than half of it,
            or numbers out of range.

    Source: ``torch.nn.functional.max_pool2d``; where pixels of a window share the maximum, the
    gradient goes to the first of them, as there.

    >>> max_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[5.0, 7.0], [13.0, 15.0]]
    """
    window, stride, padding = _options(inputs, window, stride, padding)
    if padding != (0, 0):
        integer = not jnp.issubdtype(inputs.dtype, jnp.floating)
        lowest = jnp.iinfo(inputs.dtype).min if integer else -jnp.inf
        inputs = jnp.pad(inputs, _pads(padding), constant_values=lowest)
    if stride != window:
        return functools.reduce(first_maximum, _places(inputs, window, stride))
    batch, height, width, channels = inputs.shape
    rows, columns = pooled_size((height, width), window, stride)
    inside = inputs[:, : rows * window[0], : columns * window[1]]
    windows = inside.reshape(batch, rows, window[0], columns, window[1], channels)
    row = functools.reduce(first_maximum, [windows[:, :, :, :, j] for j in range(window[1])])
    return functools.reduce(first_maximum, [row[:, :, i] for i in range(window[0])])


@jax.named_scope("avg_pool")
def avg_pool(
    inputs: Num[Array, "B H W C"],
    window: Pair = 2,
    *,
    stride: Pair | None = None,
    padding: Pair = 0,
) -> Float[Array, "B H2 W2 C"]:
    """Mean over windows of pixels.

    Rows and columns that do not fill a window are left out.

    Args:
        inputs: (B, H, W, C).
        window: size in pixels, an integer or (height, width).
        stride: distance in pixels of neighboring windows, likewise; None is ``window``.
        padding: pixels of zero on each side, likewise, which count in the mean; at most half the
            window.

    Returns:
        (B, H', W', C) with ``H' = conv_output_size(H, window, ...)``; float32 for integers.

    Raises:
        ValueError: another rank, an image smaller than the window, padding of more than half of it,
            or numbers out of range.

    Source: ``torch.nn.functional.avg_pool2d``.

    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5], [10.5, 12.5]]
    """
    window, stride, padding = _options(inputs, window, stride, padding)
    if padding != (0, 0):
        inputs = jnp.pad(inputs, _pads(padding))
    if stride != window:
        wide = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
        total = functools.reduce(operator.add, _places(wide, window, stride))
        return (total / (window[0] * window[1])).astype(floating_dtype(inputs))
    batch, height, width, channels = inputs.shape
    rows, columns = pooled_size((height, width), window, stride)
    inside = inputs[:, : rows * window[0], : columns * window[1]]
    return inside.reshape(batch, rows, window[0], columns, window[1], channels).mean((2, 4))


def _options(
    inputs: Array, window: Pair, stride: Pair | None, padding: Pair
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Checked pairs: window, stride, padding."""
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    window = pair("window", window)
    padding = pair("padding", padding, minimum=0)
    for pad, side in zip(padding, window, strict=True):
        if pad > side // 2:
            raise ValueError(f"padding must lie in 0 to {side // 2} (window / 2), got {pad}.")
    return window, window if stride is None else pair("stride", stride), padding


def _pads(padding: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return (0, 0), (padding[0], padding[0]), (padding[1], padding[1]), (0, 0)


def _places(inputs: Array, window: tuple[int, int], stride: tuple[int, int]) -> list[Array]:
    """For each place in a window, (B, H', W', C): the pixels at this place of all windows."""
    (down, across), (height, width) = stride, window
    rows, columns = pooled_size(inputs.shape[1:3], window, stride)
    return [
        inputs[:, i : i + (rows - 1) * down + 1 : down][
            :, :, j : j + (columns - 1) * across + 1 : across
        ]
        for i in range(height)
        for j in range(width)
    ]


@jax.named_scope("adaptive_avg_pool")
def adaptive_avg_pool(
    inputs: Num[Array, "B H W C"], output_size: Pair
) -> Float[Array, "B H2 W2 C"]:
    """Means over a given number of regions, whatever the size of the image.

    Region i of n along H pixels reaches from ⌊iH/n⌋ to ⌈(i+1)H/n⌉; regions may overlap.

    Args:
        inputs: (B, H, W, C).
        output_size: number of regions along each axis, an integer or (height, width).

    Returns:
        (B, h, w, C); float32 for integers.

    Raises:
        ValueError: another rank, or an output size that is not a positive integer or a pair.

    Source: ``torch.nn.functional.adaptive_avg_pool2d``.

    >>> adaptive_avg_pool(jnp.arange(9.0).reshape(1, 3, 3, 1), (1, 2))[0, :, :, 0].tolist()
    [[3.5, 4.5]]
    """
    regions = _regions(inputs, output_size)
    # slices, not a product with weights: 0 times infinity would be NaN in every region
    maps = inputs.astype(jnp.promote_types(inputs.dtype, jnp.float32))
    maps = jnp.stack([maps[:, start:stop].mean(1) for start, stop in regions[0]], axis=1)
    maps = jnp.stack([maps[:, :, start:stop].mean(2) for start, stop in regions[1]], axis=2)
    return maps.astype(floating_dtype(inputs))


@jax.named_scope("adaptive_max_pool")
def adaptive_max_pool(inputs: Num[Array, "B H W C"], output_size: Pair) -> Num[Array, "B H2 W2 C"]:
    """Maxima over the regions of :func:`adaptive_avg_pool`.

    Args:
        inputs: (B, H, W, C).
        output_size: number of regions along each axis, an integer or (height, width).

    Returns:
        (B, h, w, C).

    Raises:
        ValueError: another rank, or an output size that is not a positive integer or a pair.

    Source: ``torch.nn.functional.adaptive_max_pool2d``.

    >>> adaptive_max_pool(jnp.arange(9.0).reshape(1, 3, 3, 1), (1, 2))[0, :, :, 0].tolist()
    [[7.0, 8.0]]
    """
    vertical, horizontal = _regions(inputs, output_size)
    rows = [
        jnp.stack(
            [inputs[:, top:bottom, left:right].max((1, 2)) for left, right in horizontal], axis=1
        )
        for top, bottom in vertical
    ]
    return jnp.stack(rows, axis=1)


def _regions(inputs: Array, output_size: Pair) -> list[list[tuple[int, int]]]:
    """First pixel and the one past the last of every region, along both axes."""
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    return [
        [(i * pixels // regions, -(-(i + 1) * pixels // regions)) for i in range(regions)]
        for pixels, regions in zip(inputs.shape[1:3], pair("output_size", output_size), strict=True)
    ]


def pooled_size(
    size: tuple[int, ...], window: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """Number of windows along each axis of an image of ``size`` (H, W)."""
    height, width = size
    if height < window[0] or width < window[1]:
        raise ValueError(
            f"pooling over {window[0]}x{window[1]} pixels needs at least that many, got images of "
            f"{height}x{width}: the images are too small for this model."
        )
    return (height - window[0]) // stride[0] + 1, (width - window[1]) // stride[1] + 1


def first_maximum(a: Array, b: Array) -> Array:
    """The larger of two, the first where they are equal; NaN wins."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
