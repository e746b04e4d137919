"""What is in a data set: a summary in numbers, and the same as text."""

import hashlib
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.data.source import ArraySource, Example, Source, examples_of
from jaxdl.data.statistics import Moments, float_moments, merge
from jaxdl.data.views import num_bytes

_BLOCK_BYTES = 2**24  # of float64, which a block's numbers become


def summarize(data: Source | Mapping[str, Any], *, max_examples: int = 100_000) -> dict[str, Any]:
    """Goes through a set once and counts.

    Args:
        data: a source, or arrays (N, ...) by name.
        max_examples: of a larger set only so many examples are read, evenly spaced.

    Returns:
        ``"length"``, ``"read"`` (examples read), ``"bytes"`` (as arrays in memory; None with text),
        ``"class_names"``, ``"classes"`` (class index → count, where there is a ``"label"``),
        ``"duplicates"`` (examples equal to an earlier one, labels aside), ``"conflicts"`` (those of
        them with another label), ``"skipped"`` (files that were left out), and ``"arrays"``: by
        name ``"shape"`` and ``"dtype"`` of the first example, ``"sizes"`` (the number of different
        shapes), and

        - of numbers ``"min"``, ``"max"``, ``"missing"`` (NaN), ``"mean"`` and ``"std"`` (of the
          population; lists, by channel and on the scale 0 to 1, for uint8 images (H, W, C));
        - of text ``"missing"`` (empty), ``"min"``, ``"median"`` and ``"max"`` of the characters,
          and ``"first"``, the first one.

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
        else num_bytes(source),
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
    """Statistics of numbers that merge from block to block."""

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


def describe(data: Source | Mapping[str, Any], *, max_examples: int = 100_000) -> str:
    """The summary of :func:`summarize` as lines to print.

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
    """A summary as lines to print."""
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
        return f"{line}, first {textwrap.shorten(array['first'], 60, placeholder=' …')!r}"
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


def _class_lines(classes: Mapping[int, int], names: Sequence[str] | None) -> list[str]:
    number = max(len(names or ()), max(classes) + 1) if min(classes) >= 0 else len(classes)
    counts = [classes.get(label, 0) for label in range(number)]
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
