"""Statistics of a set of images, in one pass."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

_CHUNK = 2**21  # values that are converted at a time: 16 MiB as float64


def mean_and_std(images: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of every channel, for ``transforms.normalize``.

    One pass, some megabytes at a time, every pixel counting alike. Sums and sums of squares of
    uint8 are whole numbers and exact; floating point is merged part by part in float64, so that
    nothing cancels: with n, m, M the number, mean and squared deviations of two parts a and b,
    M = M_a + M_b + (m_b − m_a)² n_a n_b / n. The standard deviation is that of the population
    (divided by N, not N − 1).

    Args:
        images: (N, H, W, C), uint8, which is divided by 255, or floating point, which is not; a
            source, whose ``"image"`` counts; or an iterable of batches (B, H, W, C), of images
            (H, W, C), or of mappings that hold one as ``"image"``, of any sizes and one C.

    Returns:
        mean (C,) and std (C,), float64, on the scale 0 to 1 for uint8.

    Raises:
        ValueError: another rank or dtype, no images, NaN or infinity, parts that differ in their
            channels or dtype.

    Source: Chan, Golub and LeVeque 1983, eq. 2.1.

    >>> mean_and_std(np.array([0, 255, 0, 255], np.uint8).reshape(1, 2, 2, 1))
    (array([0.5]), array([0.5]))
    """
    moments: Moments | None = None
    for part in _parts(images):
        if part.size == 0:
            continue
        new = _moments(part)
        moments = new if moments is None else merge(moments, new)
    if moments is None:
        shape = f", got shape {images.shape}" if hasattr(images, "shape") else ""
        raise ValueError(f"images must hold at least one value{shape}.")
    count, first, second, is_uint8 = moments
    if is_uint8:  # of whole numbers: N Σx² − (Σx)² is exact
        mean = np.array([int(total) / (255 * count) for total in first])
        squares = [count * int(b) - int(a) ** 2 for a, b in zip(first, second, strict=True)]
        return mean, np.array([math.sqrt(square) / (255 * count) for square in squares])
    if not np.isfinite(first).all():
        raise ValueError(
            f"images must be finite, got a mean of {first}: they hold NaN or infinity. "
            "jaxdl.checks.check_data names the first such image."
        )
    return first, np.sqrt(second / count)


class Moments(NamedTuple):
    """Of uint8 Σx and Σx², Python's whole numbers; else the mean and Σ(x − mean)², float64."""

    number: int
    first: np.ndarray
    second: np.ndarray
    is_uint8: bool


def _parts(images: Any) -> Iterator[np.ndarray]:
    """Arrays (..., H, W, C) of at most some megabytes."""
    if hasattr(images, "shape"):
        array = np.asarray(images)
        if array.ndim != 4:
            raise ValueError(
                "images must be uint8 or floating point of shape (N, H, W, C), got "
                f"{array.dtype} {array.shape}."
            )
        rows = max(1, _CHUNK // max(1, math.prod(array.shape[1:])))
        for start in range(0, len(array), rows):
            yield array[start : start + rows]
        return
    batches = images
    if hasattr(images, "__getitems__"):  # a source
        batches = (images[index] for index in range(len(images)))
    for batch in batches:
        part = np.asarray(batch["image"] if isinstance(batch, Mapping) else batch)
        if part.ndim not in (3, 4):
            raise ValueError(
                "every batch must be images (B, H, W, C), or one image (H, W, C), uint8 or "
                f"floating point, got {part.dtype} {part.shape}."
            )
        yield from _parts(part if part.ndim == 4 else part[None])


def _moments(part: np.ndarray) -> Moments:
    if part.dtype != np.uint8 and not np.issubdtype(part.dtype, np.floating):
        raise ValueError(
            f"images must be uint8 or floating point, got {part.dtype} {part.shape}. "
            "Convert them with astype first."
        )
    values = part.reshape(-1, part.shape[-1])
    if part.dtype == np.uint8:
        counts = [np.bincount(channel, minlength=256) for channel in values.T]
        levels = np.arange(256)
        first = np.array([int(c @ levels) for c in counts], object)
        second = np.array([int(c @ levels**2) for c in counts], object)
        return Moments(len(values), first, second, True)
    return float_moments(values.astype(np.float64))


def float_moments(values: np.ndarray) -> Moments:
    """Of numbers (N, C) of float64, N at least 1."""
    mean = values.mean(axis=0)
    return Moments(len(values), mean, np.square(values - mean[None]).sum(axis=0), False)


def merge(a: Moments, b: Moments) -> Moments:
    """Of the values of both."""
    if a.is_uint8 != b.is_uint8 or len(a.first) != len(b.first):
        kinds = [
            f"{'uint8' if m.is_uint8 else 'floating point'}, {len(m.first)} channels"
            for m in (a, b)
        ]
        raise ValueError(
            f"all images must have one dtype and number of channels, got {' and '.join(kinds)}."
        )
    count = a.number + b.number
    if a.is_uint8:
        return Moments(count, a.first + b.first, a.second + b.second, True)
    step = b.first - a.first
    mean = a.first + step * (b.number / count)
    second = a.second + b.second + step**2 * (a.number * b.number / count)
    return Moments(count, mean, second, False)
