"""Samplers of indices and of batches."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from jaxdl._checks import check_positive

Key = jax.Array | int | tuple[int, ...]
"""A JAX key, or an integer seed s, which gives the order of ``jax.random.key(s)``."""


@runtime_checkable
class Sampler(Protocol):
    """An order of indices for every epoch.

    Source: ``torch.utils.data.Sampler``.
    """

    def __len__(self) -> int:
        """Number of indices in an epoch; the same for every epoch."""

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch: (len,) int64."""


class _Base:
    """Base class of samplers; ``list(sampler)`` is the order of epoch 0."""

    def __len__(self) -> int:
        raise NotImplementedError

    def order(self, epoch: int) -> np.ndarray:
        raise NotImplementedError

    def __iter__(self) -> Iterator[int]:
        return iter(self.order(0).tolist())

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self):,} indices per epoch"


def generator(key: Key, epoch: int) -> np.random.Generator:
    """The random number generator of an epoch.

    Args:
        key: a JAX key, an integer from 0, or the result of :func:`seed_of`.
        epoch: number of the epoch, from 0.

    >>> int(generator(0, 3).integers(1000)) == int(generator(jax.random.key(0), 3).integers(1000))
    True
    """
    return np.random.default_rng(np.random.SeedSequence(seed_of(key), spawn_key=(epoch,)))


def seed_of(key: Key) -> tuple[int, ...]:
    """A key as integers, which can be pickled and saved.

    Raises:
        ValueError: neither one key nor an integer in [0, 2**64).

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


@dataclasses.dataclass(frozen=True, repr=False)
class SequentialSampler(_Base):
    """Every example in the order of the source.

    Source: ``torch.utils.data.SequentialSampler``.

    >>> list(SequentialSampler(4))
    [0, 1, 2, 3]
    """

    num_examples: int

    def __len__(self) -> int:
        return self.num_examples

    def order(self, epoch: int) -> np.ndarray:
        return np.arange(self.num_examples)


@dataclasses.dataclass(frozen=True, repr=False)
class RandomSampler(_Base):
    """A new random order in every epoch.

    Args:
        num_examples: N, the length of the source.
        replacement: draw with replacement.
        num_samples: indices per epoch; N by default. Without replacement, more than N
            are consecutive permutations.
        key: root of the order; a JAX key or an integer.

    Raises:
        ValueError: a size below 1.

    Source: ``torch.utils.data.RandomSampler``.

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class SubsetRandomSampler(_Base):
    """A subset of examples in a new random order in every epoch.

    Args:
        indices: indices of the examples.
        key: root of the order.

    Source: ``torch.utils.data.SubsetRandomSampler``.

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class WeightedRandomSampler(_Base):
    """Indices drawn with probabilities proportional to weights.

    Args:
        weights: (N,), at least 0; they need not sum to 1.
        num_samples: indices per epoch.
        replacement: draw with replacement; if False, every index is drawn at most once.
        key: root of the order.

    Raises:
        ValueError: weights that are negative, not finite or all 0; without replacement, more
            samples than examples of positive weight.

    Source: ``torch.utils.data.WeightedRandomSampler``.

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
                f"{np.count_nonzero(weights)} examples of positive weight."
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


@dataclasses.dataclass(frozen=True, repr=False)
class DistributedSampler(_Base):
    """One process's part of an epoch's order.

    Process r takes the indices r, r + R, r + 2R, … of the common order, which is first padded
    to a multiple of R from its beginning, or truncated to one.

    Args:
        num_examples: N.
        num_replicas: R; the number of JAX processes by default.
        rank: r; this JAX process by default.
        shuffle: use a new random order in every epoch.
        key: root of the order; the same in every process.
        drop_last: truncate the order instead of padding it.

    Raises:
        ValueError: a rank outside 0 to R − 1.

    Source: ``torch.utils.data.DistributedSampler``, whose ``set_epoch`` is the argument
    ``epoch`` here. For training on a mesh, ``Loader(shard=…)`` cuts every batch instead, so that
    the batches are those of a single process.

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


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FixedSampler(_Base):
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


@runtime_checkable
class Batches(Protocol):
    """Batches of indices of any size, for a loader's ``batch_sampler``."""

    def __len__(self) -> int:
        """Number of batches in an epoch; the same for every epoch."""

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The indices of the batches of an epoch."""


class _BaseBatches:
    """Base class of batch samplers; ``list(sampler)`` is the batches of epoch 0."""

    def __len__(self) -> int:
        raise NotImplementedError

    def batches(self, epoch: int) -> list[np.ndarray]:
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches(0))

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {len(self):,} batches per epoch"


@dataclasses.dataclass(frozen=True, repr=False)
class BatchSampler(_BaseBatches):
    """Splits the order of a sampler into batches.

    Args:
        sampler: any sampler.
        batch_size: B.
        drop_last: drop a ragged last batch.

    Source: ``torch.utils.data.BatchSampler``.

    >>> from jaxdl.data import SequentialSampler
    >>> list(BatchSampler(SequentialSampler(5), batch_size=2, drop_last=False))
    [[0, 1], [2, 3], [4]]
    """

    sampler: Sampler
    batch_size: int
    drop_last: bool = False

    def __post_init__(self) -> None:
        check_positive(batch_size=self.batch_size)

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.sampler) // self.batch_size
        return -(-len(self.sampler) // self.batch_size)

    def batches(self, epoch: int) -> list[np.ndarray]:
        order = self.sampler.order(epoch)
        size = self.batch_size
        return [order[start * size : (start + 1) * size] for start in range(len(self))]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BucketBatchSampler(_BaseBatches):
    """Batches of examples of similar length, which need little padding.

    Example i belongs to the first bucket whose boundary is at least ``lengths[i]``. Every bucket
    is split into batches, which are shuffled.

    Args:
        lengths: (N,) of the sequences.
        batch_size: B; a bucket's last batch may be smaller.
        boundaries: maximum length of each bucket, increasing; the last one for the longest example.
        shuffle: shuffle the examples of each bucket and the batches, in every epoch.
        key: root of the order.
        drop_last: drop the ragged last batch of each bucket.

    Raises:
        ValueError: boundaries that do not increase, or a sequence longer than the last one.

    Source: Khomenko et al. 2016, "Accelerating recurrent neural network training using sequence
    bucketing"; ``torchtext.data.BucketIterator``.

    >>> list(BucketBatchSampler([3, 9, 2, 8, 1], 2, boundaries=[4, 10], shuffle=False))
    [[0, 2], [4], [1, 3]]
    """

    lengths: Sequence[int] | np.ndarray
    batch_size: int
    boundaries: Sequence[int]
    shuffle: bool = True
    key: Key = 0
    drop_last: bool = False

    def __post_init__(self) -> None:
        check_positive(batch_size=self.batch_size)
        lengths, boundaries = np.asarray(self.lengths), np.asarray(self.boundaries)
        if not len(boundaries) or (np.diff(boundaries) <= 0).any():
            raise ValueError(f"boundaries must increase, got {list(self.boundaries)}.")
        if not len(lengths) or lengths.max() > boundaries[-1]:
            longest = lengths.max() if len(lengths) else "none"
            raise ValueError(
                f"the longest sequence is {longest}, the last boundary {boundaries[-1]}; "
                "truncate the sequences or add a boundary."
            )
        object.__setattr__(self, "lengths", lengths)
        object.__setattr__(self, "key", seed_of(self.key))

    def _buckets(self) -> list[np.ndarray]:
        bucket = np.searchsorted(np.asarray(self.boundaries), np.asarray(self.lengths))
        return [np.flatnonzero(bucket == number) for number in range(len(self.boundaries))]

    def __len__(self) -> int:
        size = self.batch_size
        if self.drop_last:
            return sum(len(bucket) // size for bucket in self._buckets())
        return sum(-(-len(bucket) // size) for bucket in self._buckets())

    def batches(self, epoch: int) -> list[np.ndarray]:
        random = generator(self.key, epoch)
        batches = []
        for bucket in self._buckets():
            order = random.permutation(bucket) if self.shuffle else bucket
            stop = len(order) // self.batch_size * self.batch_size if self.drop_last else len(order)
            batches += [
                order[start : min(start + self.batch_size, stop)]
                for start in range(0, stop, self.batch_size)
            ]
        if self.shuffle:
            batches = [batches[number] for number in random.permutation(len(batches))]
        return batches
