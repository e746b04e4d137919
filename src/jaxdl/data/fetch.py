"""What a loader does for one batch: look up its indices, read the examples, pad, mask, share."""

import collections
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.data.source import examples_of, stack_examples
from jaxdl.data.stream import read_ahead

if TYPE_CHECKING:
    from jaxdl.data.loader import Loader


class Reader:
    """Reads a batch by its number, counted through all epochs; it is sent to worker processes."""

    def __init__(self, loader: "Loader"):
        self.loader = loader.replace(key=loader.key)  # without what the original has cached
        self.rows = len(loader)
        self.plans: dict[int, list[np.ndarray]] = {}

    def __call__(self, number: int) -> dict[str, Any]:
        epoch, index = divmod(number, self.rows)
        plan = self.plans.get(epoch)
        if plan is None:
            plan = self.loader.indices(epoch)
            near = {e: known for e, known in self.plans.items() if abs(e - epoch) == 1}
            self.plans = {**near, epoch: plan}
        loader, indices = self.loader, plan[index]
        number_real = len(indices)
        if loader.pad_last:
            indices = fill(indices, loader.size, plan[0] if loader.batch_sampler is None else None)
        indices = _share(indices, loader.share)
        if loader.collate_fn is None:
            batch = dict(loader.source.__getitems__(indices))
        else:
            batch = dict(loader.collate_fn(examples_of(loader.source, indices)))
        return _with_mask(batch, number_real, loader) if loader.has_mask else batch


def read_indexed(loader: "Loader", epoch: int, start: int, num_epochs: int) -> Iterator[tuple]:
    """Batches of a source with indices: yields the next one's epoch and number, and the batch."""
    rows = len(loader)
    first, stop = epoch * rows + start, (epoch + num_epochs) * rows
    read = Reader(loader)
    batches: Iterable[Any]
    if loader.num_workers == 0:
        batches = map(read, range(first, stop))
    else:
        batches = read_ahead(
            read,
            first,
            stop,
            num_workers=loader.num_workers,
            prefetch_factor=loader.prefetch_factor or 2,
            processes=loader.multiprocessing_context == "spawn",
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
        )
    for number, batch in zip(range(first, stop), batches, strict=True):
        yield *divmod(number + 1, rows), batch


def read_iterable(loader: "Loader", epoch: int, start: int, num_epochs: int) -> Iterator[tuple]:
    """The same of an iterable source, which is skipped through up to the start."""
    for number in range(epoch, epoch + num_epochs):
        elements = iter(itertools.islice(loader.source, loader.epoch_size))
        skip = start if number == epoch else 0  # a stream can only be read again up to there
        collections.deque(itertools.islice(elements, skip * loader.size), maxlen=0)
        for index in itertools.count(skip):
            examples = list(itertools.islice(elements, loader.size))
            if not examples or (loader.drop_last and len(examples) < loader.size):
                break
            number_real = len(examples)
            if loader.pad_last:
                examples = [examples[i % number_real] for i in range(loader.size)]
            examples = _share(examples, loader.share)
            batch = dict((loader.collate_fn or stack_examples)(examples))
            yield number, index + 1, _with_mask(batch, number_real, loader)
        if loader.epoch_size is not None and index < len(loader):
            raise ValueError(
                f"the iterable ended after {index} batches, epoch_size {loader.epoch_size} makes "
                f"{len(loader)}; make epoch_size smaller."
            )


def fill(indices: np.ndarray, size: int, first: np.ndarray | None) -> np.ndarray:
    """A short batch, filled up from the epoch's first one, or with itself."""
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


def _share(sequence: Any, share: tuple[int, int]) -> Any:
    index, count = share
    size = len(sequence) // count
    return sequence[index * size : (index + 1) * size] if count > 1 else sequence


def _with_mask(batch: dict[str, Any], number_real: int, loader: "Loader") -> dict[str, Any]:
    if loader.has_mask:
        real = _share((np.arange(loader.size) < number_real).astype(np.float32), loader.share)
        mask = batch.get("mask")
        batch["mask"] = real if mask is None else mask * real.reshape(-1, *[1] * (mask.ndim - 1))
    return batch
