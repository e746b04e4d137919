"""Statistics and summaries of data sets."""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxdl._text import shorten
from jaxdl.data.combine import size_in_bytes
from jaxdl.data.source import ArraySource, Example, Source, examples_of

_CHUNK = 2**21  # values that are converted at a time: 16 MiB as float64


def mean_and_std(images: Any) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of every channel, for ``transforms.normalize``.

    Computed in one pass over chunks of a few megabytes, with equal weight for every pixel. Sums and
    sums of squares of uint8 are exact integers. Floating point is merged chunk by chunk in float64,
    without cancellation: with n, m, M the number, mean, and squared deviations of parts a and b,
    M = M_a + M_b + (m_b − m_a)² n_a n_b / n. The standard deviation is that of the population
    (divided by N, not N − 1).

    Args:
        images: (N, H, W, C), uint8 (divided by 255) or floating point (not divided); a source with
            an ``"image"``; or an iterable of batches (B, H, W, C), images (H, W, C), or mappings
            with either as ``"image"``. Sizes may differ, C may not.

    Returns:
        The mean (C,) and std (C,), float64; on the scale 0 to 1 for uint8.

    Raises:
        ValueError: another rank or dtype, no images, NaN or infinity, or batches of different
            dtypes or numbers of channels.

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
            f"images must be finite, got a mean of {first}. Remove the images with NaN or infinity."
        )
    return first, np.sqrt(second / count)


class Moments(NamedTuple):
    """Sums of moments: Σx and Σx² of uint8, as integers; else mean and Σ(x − mean)², float64."""

    number: int
    first: np.ndarray
    second: np.ndarray
    is_uint8: bool


def _parts(images: Any) -> Iterator[np.ndarray]:
    """Yields arrays (..., H, W, C) of at most a few megabytes."""
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


_BLOCK_BYTES = 2**24  # of float64, which a block's numbers become


def summarize(
    data: Source | Mapping[str, ArrayLike], *, max_examples: int = 100_000
) -> dict[str, Any]:
    """Summarizes a data set in one pass.

    Args:
        data: a source, or arrays (N, ...) by name.
        max_examples: maximum number of examples to read, evenly spaced.

    Returns:
        ``"length"``; ``"read"``, the number of examples read; ``"bytes"`` as arrays in memory, None
        with text; ``"class_names"``; ``"classes"``, the count by class index if there is a
        ``"label"``; ``"duplicates"``, the examples equal to an earlier one, ignoring labels;
        ``"conflicts"``, the duplicates with another label; ``"skipped"``, files that could not be
        read; and ``"arrays"``: by name, ``"shape"`` and ``"dtype"`` of the first example,
        ``"sizes"``, the number of distinct shapes, and

        - for numbers ``"min"``, ``"max"``, ``"missing"`` (NaN), ``"mean"``, and ``"std"`` (of the
          population; lists by channel, on the scale 0 to 1, for uint8 images (H, W, C));
        - for text ``"missing"`` (empty), ``"min"``, ``"median"``, and ``"max"`` number of
          characters, and ``"first"``, the first text.

    Raises:
        ValueError: no examples.

    >>> summary = summarize({"x": np.array([0.0, 2.0]), "label": np.array([1, 1])})
    >>> summary["arrays"]["x"]["mean"], summary["classes"]
    ([1.0], {1: 2})
    """
    from tqdm import tqdm

    source = ArraySource(data) if isinstance(data, Mapping) else data
    length = len(source)
    if length == 0:
        raise ValueError("the data holds no examples.")
    rows = np.arange(length)
    if length > max_examples:
        rows = np.linspace(0, length - 1, max_examples).astype(np.int64)
    columns: dict[str, _Numbers | _Texts] = {}
    classes: Counter[int] = Counter()
    seen: dict[bytes, int | None] = {}
    duplicates = conflicts = 0
    values = sum(math.prod(spec.shape) for spec in source.spec.values())
    size = max(1, min(256, _BLOCK_BYTES // (8 * max(values, 1))))
    blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
    for block in tqdm(blocks, desc="describing", leave=False, delay=2):
        examples = examples_of(source, block)
        for name, first in examples[0].items():
            if name not in columns:
                columns[name] = _Texts() if first.dtype == object else _Numbers(first)
            columns[name].update([example[name] for example in examples])
        for example in examples:
            label = _label(example)
            if label is not None:
                classes[label] += 1
            key = _fingerprint(example)
            if key in seen:
                duplicates += 1
                conflicts += seen[key] != label
            else:
                seen[key] = label
    return {
        "length": length,
        "read": len(rows),
        "bytes": None
        if any(s.dtype == object for s in source.spec.values())
        else size_in_bytes(source),
        "class_names": source.class_names,
        "classes": dict(sorted(classes.items())),
        "duplicates": duplicates,
        "conflicts": conflicts,
        "skipped": list(getattr(source, "skipped", ())),
        "arrays": {
            name: {
                "shape": tuple(spec.shape),
                "dtype": str(spec.dtype),
                **columns[name].summary(),
            }
            for name, spec in source.spec.items()
        },
    }


def _label(example: Example) -> int | None:
    label = example.get("label")
    known = label is not None and label.ndim == 0 and label.dtype.kind in "iub"
    return int(label) if known and label is not None else None


def _fingerprint(example: Example) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in example.items():
        if name != "label":
            content = repr(value.tolist()) if value.dtype == object else value.tobytes()
            digest.update(content.encode() if isinstance(content, str) else content)
            digest.update(str(value.shape).encode())
    return digest.digest()


class _Numbers:
    """Running statistics of numbers."""

    def __init__(self, first: np.ndarray) -> None:
        self.is_image = first.dtype == np.uint8 and first.ndim == 3
        self.channels = first.shape[-1] if self.is_image else 1
        self.shapes: set[tuple[int, ...]] = set()
        self.missing = 0
        self.low, self.high = np.inf, -np.inf
        zeros = np.zeros(self.channels)
        self.moments = Moments(0, zeros, zeros, is_uint8=False)

    def update(self, values: Sequence[np.ndarray]) -> None:
        self.shapes |= {value.shape for value in values}
        for array in [np.stack(values)] if len(self.shapes) == 1 else values:
            numbers = array.astype(np.float64).reshape(-1, self.channels)
            finite = ~np.isnan(numbers)
            if not finite.all():
                self.missing += int((~finite).sum())
                numbers = numbers[finite.all(axis=1)]
            if not len(numbers):
                continue
            self.low, self.high = min(self.low, numbers.min()), max(self.high, numbers.max())
            self.moments = merge(self.moments, float_moments(numbers))

    def summary(self) -> dict[str, Any]:
        scale = 255 if self.is_image else 1
        number, mean, squares, _ = self.moments
        return {
            "sizes": len(self.shapes),
            "min": self.low,
            "max": self.high,
            "missing": self.missing,
            "mean": (mean / scale).tolist(),
            "std": (np.sqrt(squares / max(number, 1)) / scale).tolist(),
        }


class _Texts:
    def __init__(self) -> None:
        self.lengths: list[int] = []
        self.first: str | None = None

    def update(self, values: Sequence[np.ndarray]) -> None:
        self.first = str(values[0].item()) if self.first is None else self.first
        self.lengths += [len(str(value.item())) for value in values]

    def summary(self) -> dict[str, Any]:
        return {
            "sizes": 1,
            "min": min(self.lengths),
            "median": float(np.median(self.lengths)),
            "max": max(self.lengths),
            "missing": self.lengths.count(0),
            "first": self.first,
        }


def describe(data: Source | Mapping[str, ArrayLike], *, max_examples: int = 100_000) -> str:
    """Describes a data set in a few lines: shapes, ranges, classes, duplicates.

    >>> print(describe({"x": np.array([[0.0], [2.0]]), "label": np.array([1, 0])}))
    2 examples, 32 bytes as arrays
    x      float64 (1)  0 to 2, mean 1, std 1
    label  int64 ()  0 to 1
    classes: 2, 1 each
      0  1
      1  1
    duplicates: none
    """
    return format_summary(summarize(data, max_examples=max_examples))


def format_summary(summary: Mapping[str, Any]) -> str:
    """Formats a summary as text."""
    lines = [f"{summary['length']:,} examples"]
    if summary["bytes"] is not None:
        lines[0] += f", {_size(summary['bytes'])} as arrays"
    if summary["read"] < summary["length"]:
        lines[0] += f"; the figures below are of {summary['read']:,}, evenly spaced"
    width = max(map(len, summary["arrays"]))
    for name, array in summary["arrays"].items():
        lines.append(f"{name:{width}}  {_array_line(name, array)}")
    classes = summary["classes"]
    if classes:
        lines += _class_lines(classes, summary["class_names"])
    if summary["duplicates"]:
        share = summary["duplicates"] / summary["read"]
        text = f"duplicates: {summary['duplicates']:,} examples equal an earlier one ({share:.2%})"
        if summary["conflicts"]:
            text += f", {summary['conflicts']:,} with another label"
        lines.append(text)
    else:
        lines.append("duplicates: none")
    if summary["skipped"]:
        number, first = len(summary["skipped"]), summary["skipped"][0]
        lines.append(f"skipped: {number:,} files that cannot be read, the first {first}")
    return "\n".join(lines)


def _array_line(name: str, array: Mapping[str, Any]) -> str:
    if "median" in array:
        line = f"text  {array['min']} to {array['max']} characters, median {array['median']:g}"
        line += f", {array['missing']:,} empty" if array["missing"] else ""
        return f"{line}, first {shorten(' '.join(array['first'].split()), 60)!r}"
    shape = f"({', '.join(map(str, array['shape']))})"
    line = f"{array['dtype']} {shape}"
    if array["sizes"] > 1:
        line += f" and {array['sizes'] - 1} other shapes"
    line += f"  {array['min']:g} to {array['max']:g}"
    if name != "label":
        mean, std = (", ".join(f"{x:.4g}" for x in array[key]) for key in ("mean", "std"))
        line += f", mean {mean}, std {std}"
        if array["dtype"] == "uint8" and len(array["shape"]) == 3:
            line += " on the scale 0 to 1"
    return line + (f", {array['missing']:,} missing (NaN)" if array["missing"] else "")


def class_counts(classes: Mapping[int, int], names: Sequence[str] | None) -> list[int]:
    """The number of examples of each class, from 0 to the last one that occurs or has a name.

    >>> class_counts({0: 5, 2: 1}, ("a", "b", "c", "d"))
    [5, 0, 1, 0]
    """
    number = max(len(names or ()), max(classes) + 1) if min(classes) >= 0 else len(classes)
    return [classes.get(label, 0) for label in range(number)]


def _class_lines(classes: Mapping[int, int], names: Sequence[str] | None) -> list[str]:
    counts = class_counts(classes, names)
    number = len(counts)
    few, many = min(counts), max(counts)
    spread = f"{few:,} each" if few == many else f"{few:,} to {many:,} each"
    lines = [f"classes: {number}, {spread}"]
    shown = list(range(number)) if number <= 30 else []
    titles = {label: str(names[label]) if names else str(label) for label in shown}
    width = max((len(title) for title in titles.values()), default=0)
    return lines + [f"  {titles[label]:{width}}  {counts[label]:,}" for label in shown]


def _size(number: float) -> str:
    if number < 1000:
        return f"{number} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        number /= 1000
        if number < 1000 or unit == "TB":
            break
    return f"{number:.3g} {unit}"
