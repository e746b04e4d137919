"""Batches of indices, batches of sequences of similar length, and their padding."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxdl.checks import check_positive
from jaxdl.data.samplers import Key, Sampler, generator, seed_of
from jaxdl.data.source import stack_examples


@runtime_checkable
class Batches(Protocol):
    """Batches of indices for every epoch, of any size; a ``batch_sampler`` of a loader."""

    def __len__(self) -> int:
        """Batches an epoch; the same for every epoch."""

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The indices of the batches of an epoch."""


class _ListedBatches:
    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches(0))  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class BatchSampler(_ListedBatches):
    """The order of a sampler, cut into batches.

    Args:
        sampler: any sampler.
        batch_size: B.
        drop_last: leave out a ragged last batch.

    Counterpart: ``torch.utils.data.BatchSampler``.

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


@dataclasses.dataclass(frozen=True, eq=False)
class BucketBatchSampler(_ListedBatches):
    """Batches of examples of similar length, so that little is padded.

    Example i belongs to the first bucket whose boundary is at least ``lengths[i]``. Every bucket
    is cut into batches, and the batches come in a random order.

    Args:
        lengths: (N,) of the sequences.
        batch_size: B; a bucket's last batch may be smaller.
        boundaries: greatest length of each bucket, rising; the last one holds the longest.
        shuffle: shuffle within the buckets and the batches among each other, anew every epoch.
        key: root of the order.
        drop_last: leave out the ragged last batch of each bucket.

    Raises:
        ValueError: boundaries that do not rise, or a sequence longer than the last one.

    Source: Khomenko et al. 2016, "Accelerating recurrent neural network training using sequence
    bucketing"; counterpart: ``torchtext.data.BucketIterator``.

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
            raise ValueError(f"boundaries must rise, got {list(self.boundaries)}.")
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


def round_up(length: int, boundaries: Sequence[int]) -> int:
    """The smallest boundary that is at least ``length``.

    Raises:
        ValueError: ``length`` is beyond the last one.

    >>> round_up(33, (32, 64, 128))
    64
    """
    for boundary in sorted(boundaries):
        if boundary >= length:
            return boundary
    raise ValueError(
        f"a sequence has length {length}, beyond the last boundary {max(boundaries)}; truncate it "
        "or add a boundary."
    )


def pad_sequences(
    sequences: Sequence[Any],
    *,
    boundaries: Sequence[int] | None = None,
    value: float = 0,
    pad_left: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of different length as one array and a mask.

    Args:
        sequences: B arrays (L_i, ...) of one dtype and trailing shape.
        boundaries: L becomes the smallest of these that is long enough, so that a compiled step
            meets few shapes; None takes the longest sequence's length.
        value: what to fill with.
        pad_left: fill before the sequence instead of after it.

    Returns:
        (B, L, ...) of the sequences' dtype, and the mask (B, L) float32: 1 for what is real.

    Raises:
        ValueError: no sequences, different trailing shapes, a sequence beyond the last boundary.

    Counterpart: ``torch.nn.utils.rnn.pad_sequence(batch_first=True)``, which has no mask and no
    boundaries.

    >>> padded, mask = pad_sequences([[1, 2, 3], [4]], boundaries=(4, 8))
    >>> padded.tolist(), mask.tolist()
    ([[1, 2, 3, 0], [4, 0, 0, 0]], [[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays or len({array.shape[1:] for array in arrays if array.ndim}) != 1:
        shapes = sorted({array.shape for array in arrays})
        raise ValueError(
            f"sequences must have shape (L, ...) with equal trailing axes, got shapes {shapes}."
        )
    longest = max(len(array) for array in arrays)
    length = longest if boundaries is None else round_up(longest, boundaries)
    dtype = np.result_type(*arrays)
    padded = np.full((len(arrays), length, *arrays[0].shape[1:]), value, dtype)
    mask = np.zeros((len(arrays), length), np.float32)
    for row, array in enumerate(arrays):
        place = slice(length - len(array), None) if pad_left else slice(len(array))
        padded[row, place], mask[row, place] = array, 1
    return padded, mask


@dataclasses.dataclass(frozen=True)
class PadCollate:
    """A collate function that pads some arrays of the examples and stacks the others.

    Args:
        names: of the arrays (L_i, ...) that are padded; ``"NAME_mask"`` (B, L) float32 and
            ``"NAME_length"`` (B,) int32 come with each.
        boundaries, value, pad_left: see :func:`pad_sequences`.

    >>> collate = PadCollate(["tokens"], boundaries=(4,))
    >>> batch = collate([{"tokens": np.array([5, 6])}, {"tokens": np.array([7])}])
    >>> batch["tokens"].tolist(), batch["tokens_length"].tolist()
    ([[5, 6, 0, 0], [7, 0, 0, 0]], [2, 1])
    """

    names: Sequence[str]
    boundaries: Sequence[int] | None = None
    value: float = 0
    pad_left: bool = False

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        batch = stack_examples(
            [{n: x for n, x in one.items() if n not in self.names} for one in examples]
        )
        for name in self.names:
            batch[name], mask = pad_sequences(
                [example[name] for example in examples],
                boundaries=self.boundaries,
                value=self.value,
                pad_left=self.pad_left,
            )
            batch[f"{name}_mask"] = mask
            batch[f"{name}_length"] = mask.sum(axis=1).astype(np.int32)
        return batch
