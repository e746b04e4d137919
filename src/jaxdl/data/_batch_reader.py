"""Batches by number: read by index, filled up, masked and sharded."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from jaxdl.data.combine import IterableSource
from jaxdl.data.samplers import Batches
from jaxdl.data.source import Example, Source, examples_of, stack_examples

Collate = Callable[[list[Example]], Mapping[str, np.ndarray]]
"""Examples → batch."""

Numbered = tuple[int, int, Example]
"""Epoch and number of the next batch, and this batch."""

SequenceT = TypeVar("SequenceT", np.ndarray, list[Example])


@dataclasses.dataclass(frozen=True)
class Shape:
    """Common form of a loader's batches.

    Attributes:
        size: B, of all shards together.
        pad: fill up a batch of fewer than B examples.
        has_mask: add ``"mask"`` (B,), 0 for filling.
        shard: (index, count) of the share of each batch that is kept.
    """

    size: int
    pad: bool
    has_mask: bool
    shard: tuple[int, int]

    def share(self, sequence: SequenceT) -> SequenceT:
        """Selects the rows of a batch that belong to this shard."""
        index, count = self.shard
        size = len(sequence) // count
        return sequence[index * size : (index + 1) * size] if count > 1 else sequence

    def with_mask(self, batch: Example, num_real: int) -> Example:
        """Adds a mask of 1 for the first ``num_real`` rows and 0 for the others."""
        if self.has_mask:
            real = self.share((np.arange(self.size) < num_real).astype(np.float32))
            mask = batch.get("mask")
            if mask is not None:
                real = mask * real.reshape(-1, *[1] * (mask.ndim - 1))
            batch["mask"] = real
        return batch


class BatchReader:
    """Reads batches of an indexed source by number, counted over all epochs.

    It is pickled for worker processes. Each keeps the plans of the epochs next to each other that
    its batches belong to.

    Args:
        source: of the examples.
        batches: indices of the batches of an epoch.
        shape: form of the batches.
        collate_fn: examples → batch; None stacks arrays.
        fill_from_epoch: fill up a short batch with the first examples of the epoch, instead of its
            own.
    """

    def __init__(
        self,
        source: Source,
        batches: Batches,
        shape: Shape,
        collate_fn: Collate | None,
        fill_from_epoch: bool,
    ):
        self.source, self.batches, self.shape = source, batches, shape
        self.collate_fn, self.fill_from_epoch = collate_fn, fill_from_epoch
        self.num_batches = len(batches)
        self._plans: dict[int, list[np.ndarray]] = {}

    def __call__(self, number: int) -> Example:
        """Reads the batch of a number counted over all epochs."""
        epoch, index = divmod(number, self.num_batches)
        plan = self._plan(epoch)
        indices = plan[index]
        num_real = len(indices)
        if self.shape.pad:
            indices = fill(indices, self.shape.size, plan[0] if self.fill_from_epoch else None)
        indices = self.shape.share(indices)
        if self.collate_fn is None:
            batch = dict(self.source.__getitems__(indices))
        else:
            batch = dict(self.collate_fn(examples_of(self.source, indices)))
        return self.shape.with_mask(batch, num_real)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        plan = self._plans.get(epoch)
        if plan is None:
            plan = check_plan(self.batches.batches(epoch), epoch, len(self.source))
            near = {e: known for e, known in self._plans.items() if abs(e - epoch) == 1}
            self._plans = {**near, epoch: plan}
        return plan


def check_plan(batches: list[np.ndarray], epoch: int, length: int) -> list[np.ndarray]:
    """Returns the indices of an epoch's batches if all lie in [0, length).

    Raises:
        IndexError: an index out of range.
    """
    for number, batch in enumerate(batches):
        if len(batch) and not 0 <= batch.min() <= batch.max() < length:
            bad = batch[(batch < 0) | (batch >= length)][0]
            raise IndexError(
                f"the sampler gave index {bad} in batch {number} of epoch {epoch}; the source has "
                f"{length} examples."
            )
    return batches


def fill(indices: np.ndarray, size: int, first: np.ndarray | None) -> np.ndarray:
    """Fills up a short batch from the first batch of the epoch, or by repetition.

    Raises:
        ValueError: an empty batch, or one of more than ``size``.
    """
    if len(indices) == size:
        return indices
    if len(indices) > size or not len(indices):
        raise ValueError(
            f"the batch sampler gave a batch of {len(indices)} indices; to be padded, batches must "
            f"have 1 to {size}, the size of its largest in epoch 0 or its batch_size."
        )
    return np.concatenate(
        [indices, np.resize(indices if first is None else first, size - len(indices))]
    )


def read_stream(
    source: IterableSource,
    shape: Shape,
    *,
    collate_fn: Collate | None,
    drop_last: bool,
    epoch_size: int | None,
    first: tuple[int, int],
    num_epochs: int,
) -> Iterator[Numbered]:
    """Reads batches of an iterable source after skipping to the first one.

    Args:
        source: of the examples, in its own order.
        shape: form of the batches.
        collate_fn: examples → batch; None stacks arrays.
        drop_last: leave out a ragged last batch.
        epoch_size: examples per epoch; None reads to the end.
        first: epoch and number of the first batch.
        num_epochs: number of epochs.

    Raises:
        ValueError: the source ended before ``epoch_size`` examples.
    """
    for epoch in range(first[0], first[0] + num_epochs):
        elements = iter(itertools.islice(source, epoch_size))
        skip = first[1] if epoch == first[0] else 0
        collections.deque(itertools.islice(elements, skip * shape.size), maxlen=0)
        for index in itertools.count(skip):
            examples = list(itertools.islice(elements, shape.size))
            if not examples or (drop_last and len(examples) < shape.size):
                break
            num_real = len(examples)
            if shape.pad:
                examples = [examples[i % num_real] for i in range(shape.size)]
            batch = dict((collate_fn or stack_examples)(shape.share(examples)))
            yield epoch, index + 1, shape.with_mask(batch, num_real)
        if epoch_size is None:
            continue
        expected = epoch_size // shape.size if drop_last else -(-epoch_size // shape.size)
        if index < expected:
            raise ValueError(
                f"the iterable ended after {index} batches; epoch_size {epoch_size} makes "
                f"{expected}. Pass a smaller epoch_size."
            )
