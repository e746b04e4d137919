"""Splits of data into parts: at random, by class, in folds, by a condition.

Each function takes arrays (N, ...) by name or a :class:`~jaxdl.data.source.Source` and returns
parts of the same kind. Every example is in exactly one part.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

import numpy as np

from jaxdl.data.combine import labels_of, subset
from jaxdl.data.samplers import Key, seed_of
from jaxdl.data.source import ArraySource, Source
from jaxdl.types import Array

Data = TypeVar("Data", bound="Mapping[str, Array | np.ndarray] | Source")


def split_lengths(num_examples: int, lengths: Sequence[float]) -> list[int]:
    """Converts fractions or counts to counts, by PyTorch's rule.

    A fraction becomes floor(fraction · N); the remaining examples go to the first parts, one each.

    Args:
        num_examples: N.
        lengths: fractions that sum to 1, or counts that sum to N.

    Raises:
        ValueError: they sum to something else, or one is negative.

    Source: ``torch.utils.data.random_split``.

    >>> split_lengths(60_000, [0.8, 0.2]), split_lengths(10, [0.33, 0.33, 0.34])
    ([48000, 12000], [4, 3, 3])
    """
    if not lengths or min(lengths) < 0:
        raise ValueError(f"lengths must be at least one number of 0 or more, got {list(lengths)}.")
    if all(isinstance(length, int | np.integer) for length in lengths):
        counts = [int(length) for length in lengths]
        if sum(counts) != num_examples:
            raise ValueError(
                f"lengths must sum to {num_examples:,} examples, or to 1 as fractions, got "
                f"{counts} with the sum {sum(counts):,}."
            )
        return counts
    if not math.isclose(sum(lengths), 1):
        raise ValueError(
            f"fractions must sum to 1, got {list(lengths)} with the sum {sum(lengths):g}."
        )
    # 0.29 · 100 is 28.999999999999996; PyTorch takes its floor too.
    counts = [math.floor(length * num_examples) for length in lengths]
    for index in range(num_examples - sum(counts)):
        counts[index % len(counts)] += 1
    return counts


def random_split(
    data: Data, lengths: Sequence[float], key: Key, *, stratify: str | None = None
) -> tuple[Data, ...]:
    """Splits data randomly into parts.

    Args:
        data: arrays (N, ...) by name, or a source.
        lengths: fractions that sum to 1, or counts that sum to N. A fraction becomes
            floor(fraction · N); the remaining examples go to the first parts, one each.
        key: PRNG key, or a number.
        stratify: name of an array of class indices (N,), e.g. ``"label"``. Every part then has the
            same proportion of each class, exact to one example for two parts.

    Returns:
        One part per length, its examples in random order.

    Raises:
        ValueError: lengths that do not sum to 1 or N, or no such array.

    Source: ``torch.utils.data.random_split``; ``sklearn.model_selection.train_test_split``.

    >>> parts = random_split({"x": np.arange(10)}, [0.8, 0.2], 0)
    >>> [len(part["x"]) for part in parts], sorted(np.concatenate([p["x"] for p in parts]))[:3]
    ([8, 2], [np.int64(0), np.int64(1), np.int64(2)])
    """
    number = _length(data)
    counts = split_lengths(number, lengths)
    order = _permutation(key, number)
    if stratify is None:
        return tuple(_take(data, part) for part in np.split(order, np.cumsum(counts)[:-1]))
    labels = _labels(data, stratify)
    rest, parts = order, []
    for count in counts[:-1]:
        # sorted by class, every n-th example: each class contributes its share, rounded
        rest = rest[np.argsort(labels[rest], kind="stable")]
        marks = np.arange(len(rest) + 1) * count // max(len(rest), 1)
        taken = np.diff(marks) > 0
        parts.append(rest[taken])
        rest = rest[~taken]
    mixed = np.argsort(order)  # back into random order
    return tuple(_take(data, part[np.argsort(mixed[part])]) for part in [*parts, rest])


def k_fold(
    data: Data, num_folds: int, key: Key | None = None, *, stratify: str | None = None
) -> list[tuple[Data, Data]]:
    """Splits data into the folds of a cross-validation.

    Every example is in the validation part of exactly one fold. The sizes differ by at most one;
    the first folds are the larger ones.

    Args:
        data: arrays (N, ...) by name, or a source.
        num_folds: k, between 2 and N.
        key: PRNG key, or a number, to shuffle the examples; None keeps their order.
        stratify: name of an array of class indices (N,). Every fold then has the same proportion
            of each class, exact to one example.

    Returns:
        k pairs (training, validation); both parts keep the order of the data.

    Raises:
        ValueError: k out of range; with ``stratify``, more folds than examples of any class.

    Source: ``sklearn.model_selection.KFold`` and ``StratifiedKFold``; without a key, the folds are
    the same.

    >>> [fold[1]["x"].tolist() for fold in k_fold({"x": np.arange(5)}, 2)]
    [[0, 1, 2], [3, 4]]
    """
    number = _length(data)
    if not 2 <= num_folds <= number:
        raise ValueError(f"num_folds must lie in 2 to {number} (the examples), got {num_folds}.")
    fold = np.empty(number, np.int64)
    if stratify is None:
        order = np.arange(number) if key is None else _permutation(key, number)
        for index, part in enumerate(np.array_split(order, num_folds)):
            fold[part] = index
    else:
        labels = _labels(data, stratify)
        _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        classes = np.argsort(np.argsort(first))[inverse]  # numbered as they appear
        if num_folds > np.bincount(classes).max():
            raise ValueError(
                f"num_folds is {num_folds}, more than the examples of any class "
                f"({np.bincount(classes).max()})."
            )
        order = np.argsort(classes, kind="stable")
        fold[order] = np.arange(number) % num_folds
        for index in range(len(first)):
            members = np.flatnonzero(classes == index)
            folds = np.sort(fold[members])
            if key is not None:
                folds = folds[_permutation(key, len(folds), index)]
            fold[members] = folds
    return [
        (_take(data, np.flatnonzero(fold != index)), _take(data, np.flatnonzero(fold == index)))
        for index in range(num_folds)
    ]


def select(data: Data, condition: Callable[[dict[str, np.ndarray]], bool | np.bool]) -> Data:
    """Selects the examples for which a condition holds, in order; reads each example once.

    Args:
        data: arrays (N, ...) by name, or a source.
        condition: maps an example to True if it is to be kept.

    Raises:
        ValueError: no example satisfies the condition.

    >>> select({"label": np.array([3, 1, 3])}, lambda one: one["label"] == 3)
    {'label': array([3, 3])}
    """
    from tqdm import tqdm

    source = ArraySource(data) if isinstance(data, Mapping) else data
    rows = tqdm(range(len(source)), desc="selecting", leave=False, delay=2)
    chosen = [row for row in rows if bool(condition(source[row]))]
    if not chosen:
        raise ValueError(f"none of the {len(source)} examples satisfies the condition.")
    return _take(data, np.array(chosen))


def _permutation(key: Key, number: int, part: int = 0) -> np.ndarray:
    # the last two numbers separate this from the orders of samplers with the same key
    return np.random.default_rng((*seed_of(key), 0x5917, part)).permutation(number)


def _length(data: Mapping[str, Array | np.ndarray] | Source) -> int:
    return len(ArraySource(data) if isinstance(data, Mapping) else data)


def _labels(data: Mapping[str, Array | np.ndarray] | Source, name: str) -> np.ndarray:
    labels = labels_of(ArraySource(data) if isinstance(data, Mapping) else data, name)
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"stratify needs class indices of shape (N,), got {name!r} of {labels.dtype} "
            f"{labels.shape}."
        )
    return labels


def _take(data: Data, indices: np.ndarray) -> Data:
    if isinstance(data, Mapping):
        return cast(Data, {name: array[indices] for name, array in data.items()})
    return cast(Data, subset(data, indices))
