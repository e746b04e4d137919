"""Samplers: the order in which an epoch visits the examples, as a function of the epoch's number.

Nothing is carried from one epoch to the next, so the position of a loader is two integers and a run
that was stopped goes on with the very next batch. Orders are made by NumPy from the key and the
epoch; they are the same in every process, but not those of ``torch.Generator``.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxdl.checks import check_positive

Key = Any
"""A JAX key or an integer seed; the seed s gives the order of ``jax.random.key(s)``."""


@runtime_checkable
class Sampler(Protocol):
    """An order for every epoch; the counterpart of ``torch.utils.data.Sampler``."""

    def __len__(self) -> int:
        """How many indices an epoch has; the same for every epoch."""

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch: (len,) int64."""


class _Listed:
    """``list(sampler)`` gives the order of epoch 0."""

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(0).tolist())  # type: ignore[attr-defined]


def generator(key: Key, epoch: int) -> np.random.Generator:
    """The random numbers of an epoch.

    Args:
        key: a JAX key, an integer from 0, or what :func:`seed_of` gave.
        epoch: number of the epoch, from 0.

    >>> int(generator(0, 3).integers(1000)) == int(generator(jax.random.key(0), 3).integers(1000))
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed_of(key), spawn_key=(epoch,)))


def seed_of(key: Key) -> tuple[int, ...]:
    """A key as integers, which any process can rebuild and any file can hold.

    Raises:
        ValueError: neither a key nor an integer from 0.

    >>> seed_of(7)
    (0, 7)
    """
    if isinstance(key, tuple):
        return key
    if isinstance(key, int | np.integer):
        if not 0 <= key < 2**64:
            raise ValueError(f"a seed must lie in 0 to 2**64 - 1, got {key}.")
        return int(key) >> 32, int(key) & 0xFFFFFFFF
    if not hasattr(key, "dtype"):
        raise ValueError(f"key must be a JAX key or an integer, got {type(key).__name__}.")
    if jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.key_data(key)
    numbers = np.asarray(key)
    if numbers.ndim != 1 or numbers.dtype != np.uint32:
        raise ValueError(f"key must be one key, got {numbers.dtype} of shape {numbers.shape}.")
    return tuple(int(number) for number in numbers)


@dataclasses.dataclass(frozen=True)
class SequentialSampler(_Listed):
    """Every example in the order of the source.

    Counterpart: ``torch.utils.data.SequentialSampler``.

    >>> list(SequentialSampler(4))
    [0, 1, 2, 3]
    """

    num_examples: int

    def __len__(self) -> int:
        return self.num_examples

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(self.num_examples)


@dataclasses.dataclass(frozen=True)
class RandomSampler(_Listed):
    """A random order, new for every epoch.

    Args:
        num_examples: N, the length of the source.
        replacement: draw each index anew, so that some come twice and some not at all.
        num_samples: indices an epoch; N by default. More than N without replacement gives whole
            permutations one after the other.
        key: root of the order; a JAX key or an integer.

    Raises:
        ValueError: a size below 1.

    Counterpart: ``torch.utils.data.RandomSampler``.

    >>> sorted(RandomSampler(5))
    [0, 1, 2, 3, 4]
    """

    num_examples: int
    replacement: bool = False
    num_samples: int | None = None
    key: Key = 0

    def __post_init__(self) -> None:
        check_positive(num_examples=self.num_examples, num_samples=len(self))
        object.__setattr__(self, "key", seed_of(self.key))

    def __len__(self) -> int:
        return self.num_examples if self.num_samples is None else self.num_samples

    def order(self, epoch: int) -> np.ndarray:
        random = generator(self.key, epoch)
        if self.replacement:
            return random.integers(self.num_examples, size=len(self))
        rounds = -(-len(self) // self.num_examples)
        return np.concatenate([random.permutation(self.num_examples) for _ in range(rounds)])[
            : len(self)
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class SubsetRandomSampler(_Listed):
    """Some examples in a random order, new for every epoch.

    Args:
        indices: of the examples.
        key: root of the order.

    Counterpart: ``torch.utils.data.SubsetRandomSampler``.

    >>> sorted(SubsetRandomSampler([7, 3, 5]))
    [3, 5, 7]
    """

    indices: Sequence[int] | np.ndarray
    key: Key = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", _indices("indices", self.indices))
        object.__setattr__(self, "key", seed_of(self.key))

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, epoch: int) -> np.ndarray:
        return generator(self.key, epoch).permutation(self.indices)


@dataclasses.dataclass(frozen=True, eq=False)
class WeightedRandomSampler(_Listed):
    """Indices drawn with probabilities proportional to weights.

    Args:
        weights: (N,), at least 0; they need not sum to 1.
        num_samples: indices an epoch.
        replacement: draw each index anew; else an index comes at most once.
        key: root of the order.

    Raises:
        ValueError: weights that are negative, not finite or all 0; without replacement, more
            samples than examples of weight above 0.

    Counterpart: ``torch.utils.data.WeightedRandomSampler``.

    >>> list(WeightedRandomSampler([0.0, 2.0, 0.0], num_samples=3))
    [1, 1, 1]
    """

    weights: Sequence[float] | np.ndarray
    num_samples: int
    replacement: bool = True
    key: Key = 0

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, np.float64)
        if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite numbers of shape (N,), none below 0.")
        check_positive(num_samples=self.num_samples, sum_of_weights=weights.sum())
        if not self.replacement and self.num_samples > np.count_nonzero(weights):
            raise ValueError(
                f"num_samples {self.num_samples} without replacement is more than the "
                f"{np.count_nonzero(weights)} examples of weight above 0."
            )
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "key", seed_of(self.key))

    def __len__(self) -> int:
        return self.num_samples

    def order(self, epoch: int) -> np.ndarray:
        weights = np.asarray(self.weights)
        return generator(self.key, epoch).choice(
            len(weights), self.num_samples, replace=self.replacement, p=weights / weights.sum()
        )


@dataclasses.dataclass(frozen=True)
class DistributedSampler(_Listed):
    """The part of an epoch's order that one of several processes visits.

    Process r takes the indices r, r + R, r + 2R, … of the common order, which is first filled up
    to a multiple of R with its own beginning, or cut to one.

    Args:
        num_examples: N.
        num_replicas: R; the number of JAX processes by default.
        rank: r; this JAX process by default.
        shuffle: a random order, new for every epoch.
        key: root of the order; the same in every process.
        drop_last: cut instead of filling up.

    Raises:
        ValueError: a rank that is not in 0 to R − 1.

    Counterpart: ``torch.utils.data.DistributedSampler``, whose ``set_epoch`` is the argument
    ``epoch`` here. For training on a mesh, ``Loader(shard=…)`` cuts every batch instead, which
    keeps the batches those of one process.

    >>> [list(DistributedSampler(5, num_replicas=2, rank=rank, shuffle=False)) for rank in (0, 1)]
    [[0, 2, 4], [1, 3, 0]]
    """

    num_examples: int
    num_replicas: int | None = None
    rank: int | None = None
    shuffle: bool = True
    key: Key = 0
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.num_replicas is None:
            object.__setattr__(self, "num_replicas", jax.process_count())
        if self.rank is None:
            object.__setattr__(self, "rank", jax.process_index())
        check_positive(num_examples=self.num_examples, num_replicas=self._replicas)
        check_shard(self._rank, self._replicas)
        object.__setattr__(self, "key", seed_of(self.key))

    @property
    def _replicas(self) -> int:
        return self.num_replicas or 0

    @property
    def _rank(self) -> int:
        return self.rank or 0

    def __len__(self) -> int:
        if self.drop_last:
            return self.num_examples // self._replicas
        return -(-self.num_examples // self._replicas)

    def order(self, epoch: int) -> np.ndarray:
        order = np.arange(self.num_examples)
        if self.shuffle:
            order = generator(self.key, epoch).permutation(self.num_examples)
        return np.resize(order, len(self) * self._replicas)[self._rank :: self._replicas]


@dataclasses.dataclass(frozen=True, eq=False)
class FixedSampler(_Listed):
    """The given indices, in the given order, every epoch.

    >>> FixedSampler([2, 0]).order(9)
    array([2, 0])
    """

    indices: Sequence[int] | np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "indices", _indices("sampler", self.indices))

    def __len__(self) -> int:
        return len(self.indices)

    def order(self, epoch: int) -> np.ndarray:
        return np.asarray(self.indices)


def check_shard(index: int, count: int) -> None:
    """Raises ValueError unless 0 <= index < count."""
    if not 0 <= index < count:
        raise ValueError(f"a shard must lie in 0 to {count - 1}, got {index} of {count}.")


def _indices(name: str, values: Sequence[int] | np.ndarray) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be integers of shape (N,), got {array.dtype} of shape {array.shape}."
        )
    return array.astype(np.int64)
