"""The loader: batches of any source, in an order that is a function of the epoch's number."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self, cast

import jax
import numpy as np

from jaxdl._checks import check_positive
from jaxdl.data._prefetch import Reader, fill, read_indexed, read_iterable
from jaxdl.data.combine import IterableSource, from_grain, from_iterable
from jaxdl.data.samplers import (
    Batches,
    BatchSampler,
    FixedSampler,
    Key,
    RandomSampler,
    Sampler,
    SequentialSampler,
    check_shard,
    seed_of,
)
from jaxdl.data.source import Source

Collate = Callable[[list[dict[str, Any]]], Mapping[str, Any]]
Position = dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class Loader:
    """Batches of a source: shuffled, sampled, read ahead by workers, padded, sharded.

    ``for batch in loader`` goes through an epoch, and the next time through the next one.
    ``loader.epoch(number, start)`` begins anywhere: batch k of epoch e is the same batch however
    one came to it, with any number of workers. A batch is a dictionary of NumPy arrays (B, ...).

    The last batch of an epoch is ragged where B does not divide the examples, as in PyTorch, and
    left out with ``drop_last``. With ``pad_last`` it is filled up with examples from the start of
    the epoch (of the batch itself, for a batch sampler or an iterable), and every batch has a
    ``"mask"`` (B,) float32, 0 for the filling. :func:`jaxdl.train.run` and ``evaluate`` always pad.

    Args:
        source: a :class:`~jaxdl.data.Source`; an iterable one; or whatever
            :func:`~jaxdl.data.from_grain` takes whose elements are mappings.
        batch_size: B; 1 by default.
        shuffle: a random order, new for every epoch.
        sampler: the order instead: see :mod:`jaxdl.data.samplers`; or fixed indices.
        batch_sampler: batches of indices instead: see :mod:`jaxdl.data.bucketing`.
        num_workers: threads, or processes, that read batches ahead; 0 reads in this thread.
        collate_fn: list of examples → batch; by default arrays are stacked.
        drop_last: leave out a ragged last batch.
        timeout: seconds to wait for a batch of a worker; 0 waits for ever.
        worker_init_fn: called with the worker's number in each worker process.
        multiprocessing_context: None for threads, which start at once and run alongside each other
            wherever Pillow, NumPy or a file is at work; ``"spawn"`` for processes, which take
            seconds to start and pay where the work is Python's own. ``"fork"`` deadlocks with JAX.
        prefetch_factor: batches that each worker reads ahead; 2 by default.
        key: root of the order; a JAX key or an integer.
        pad_last: see above.
        shard: (index, count): give this share of every batch, so that the shards' batches one
            after the other are the batch of a single process; ``"process"`` is this JAX process.
            B is then the size of all shares together, and the last batch is padded or dropped.
        epoch_size: examples an epoch of an iterable source, which has no length of its own.
        resident: whether :func:`jaxdl.train.run` keeps the whole source on the device; None
            decides by size, see there.

    Raises:
        ValueError: arguments that exclude each other, as in PyTorch.

    Counterpart: ``torch.utils.data.DataLoader``. Not here: ``pin_memory`` (JAX stages transfers
    itself), ``persistent_workers`` (``loader.epoch(0, num_epochs=10)`` keeps its workers), and
    ``generator`` (``key``). In a script, ``"spawn"`` needs ``if __name__ == "__main__":``.

    >>> from jaxdl.data import ArraySource
    >>> loader = Loader(ArraySource({"x": np.arange(5)}), batch_size=2)
    >>> [batch["x"].tolist() for batch in loader]
    [[0, 1], [2, 3], [4]]
    """

    source: Any
    _: dataclasses.KW_ONLY
    batch_size: int | None = None
    shuffle: bool | None = None
    sampler: Sampler | Sequence[int] | np.ndarray | None = None
    batch_sampler: Batches | None = None
    num_workers: int = 0
    collate_fn: Collate | None = None
    drop_last: bool = False
    timeout: float = 0.0
    worker_init_fn: Callable[[int], None] | None = None
    multiprocessing_context: Literal["spawn"] | None = None
    prefetch_factor: int | None = None
    key: Key = 0
    pad_last: bool = False
    shard: tuple[int, int] | Literal["process"] = (0, 1)
    epoch_size: int | None = None
    resident: bool | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", _as_source(self.source))
        object.__setattr__(self, "key", seed_of(self.key))
        if self.shard == "process":
            object.__setattr__(self, "shard", (jax.process_index(), jax.process_count()))
        _check_exclusions(self)
        _check_workers(self)
        if self.batch_sampler is None and self.batch_size is None:
            object.__setattr__(self, "batch_size", 1)
        if self.batch_size is not None:
            check_positive(batch_size=self.batch_size)
        index, count = self.share
        check_shard(index, count)
        if count > 1:
            if self.size % count:
                raise ValueError(
                    f"batch_size {self.size} must be a multiple of the {count} shards: it is the "
                    "size of a batch of all of them together."
                )
            object.__setattr__(self, "pad_last", not self.drop_last)
        object.__setattr__(self, "_next_epoch", 0)

    @property
    def share(self) -> tuple[int, int]:
        """Index and count of ``shard``."""
        return cast(tuple[int, int], self.shard)

    @property
    def is_iterable(self) -> bool:
        """Whether the source has an order of its own, and no indices."""
        return isinstance(self.source, IterableSource)

    @cached_property
    def batches(self) -> Batches:
        """Where the batches' indices come from; an iterable source has none."""
        if self.batch_sampler is not None:
            return self.batch_sampler
        sampler = self.sampler
        if sampler is None:
            number = len(self.source)
            sampler = SequentialSampler(number)
            if self.shuffle and number:
                sampler = RandomSampler(number, key=self.key)
        elif not isinstance(sampler, Sampler):
            sampler = FixedSampler(sampler)
        return BatchSampler(sampler, self.size, self.drop_last)

    @cached_property
    def size(self) -> int:
        """B, the size of a whole batch of all shards together."""
        if self.batch_size is not None:
            return self.batch_size
        sampler: Any = self.batch_sampler
        size = getattr(sampler, "batch_size", None)
        return size or max(len(batch) for batch in sampler.batches(0))

    @cached_property
    def num_examples(self) -> int:
        """Examples that an epoch hands out, filling not counted.

        Raises:
            ValueError: an iterable source without ``epoch_size``.
        """
        if self.is_iterable:
            if self.epoch_size is None:
                raise ValueError(
                    "an iterable source does not say how many examples an epoch has; pass "
                    "epoch_size= to the loader."
                )
            whole = self.epoch_size // self.size * self.size
            return whole if self.drop_last else self.epoch_size
        if isinstance(self.batches, BatchSampler):
            number = len(self.batches.sampler)
            return number // self.size * self.size if self.drop_last else number
        return sum(len(batch) for batch in self.batches.batches(0))

    def __len__(self) -> int:
        if not self.is_iterable:
            return len(self.batches)
        if self.epoch_size is None:
            raise TypeError("a loader of an iterable source has no length; pass epoch_size=.")
        return -(-self.num_examples // self.size)

    @cached_property
    def has_mask(self) -> bool:
        """Whether batches have a mask: only where one of them is filled up."""
        if self.is_iterable:
            known = self.epoch_size is not None
            return self.pad_last and not (known and self.num_examples % self.size == 0)
        return self.pad_last and self.num_examples != len(self) * self.size

    def replace(self, **changes: Any) -> "Loader":
        """This loader with other arguments."""
        return dataclasses.replace(self, **changes)

    def indices(self, epoch: int) -> list[np.ndarray]:
        """The indices of an epoch's batches, of all shards together and without filling.

        Raises:
            IndexError: a sampler gave an index that the source has not.
        """
        batches = self.batches.batches(epoch)
        for number, batch in enumerate(batches):
            if len(batch) and not 0 <= batch.min() <= batch.max() < len(self.source):
                bad = batch[(batch < 0) | (batch >= len(self.source))][0]
                raise IndexError(
                    f"the sampler gave index {bad} in batch {number} of epoch {epoch}; the source "
                    f"has {len(self.source)} examples."
                )
        return batches

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch with their filling: (len, B) int64."""
        batches = self.indices(epoch)
        return np.stack([fill(batch, self.size, batches[0]) for batch in batches])

    @cached_property
    def fingerprint(self) -> str:
        """What tells this loader's order from another's; a resumed run must share it."""
        if self.is_iterable:
            return "of the iterable"
        first = np.concatenate(self.indices(0)) if len(self) else np.zeros(0)
        return f"{zlib.crc32(first.astype(np.int64).tobytes()):08x}"

    def first_batch(self) -> dict[str, Any]:
        """Batch 0 of epoch 0, read in this thread."""
        if self.is_iterable:
            with self.epoch(0) as batches:
                return next(batches)
        return Reader(self)(0)

    def epoch(self, number: int, start: int = 0, *, num_epochs: int = 1) -> "LoaderIterator":
        """The batches from batch ``start`` of epoch ``number`` on.

        Args:
            number: of the epoch, from 0.
            start: of the batch in it, from 0.
            num_epochs: epochs to go through, with the same workers.

        Returns:
            an iterator that knows its position; close it, or use it in a ``with`` statement, where
            it may be left before its end.
        """
        return LoaderIterator(self, number, start, num_epochs)

    def __iter__(self) -> "LoaderIterator":
        number: int = self._next_epoch  # type: ignore[attr-defined]
        object.__setattr__(self, "_next_epoch", number + 1)
        return self.epoch(number)


class LoaderIterator(Iterator[dict[str, Any]]):
    """The batches of a loader from a position on; see :meth:`Loader.epoch`."""

    def __init__(self, loader: Loader, epoch: int, start: int, num_epochs: int = 1):
        self._loader, self._num_epochs = loader, num_epochs
        self._stream: Any = None
        self.restore({"epoch": epoch, "batch": start})

    def state(self) -> Position:
        """The position of the next batch: the numbers of its epoch and of it."""
        return {"epoch": self._epoch, "batch": self._batch}

    def restore(self, state: Mapping[str, int]) -> None:
        """Goes to a position; batches that were read ahead are thrown away."""
        epoch, start = int(state["epoch"]), int(state["batch"])
        if min(epoch, start) < 0:
            raise ValueError(f"a position must be 0 or greater, got {dict(state)}.")
        if not self._loader.is_iterable and start > len(self._loader):
            raise ValueError(f"an epoch has {len(self._loader)} batches, batch {start} is none.")
        self.close()
        self._epoch, self._batch = epoch, start
        make = read_iterable if self._loader.is_iterable else read_indexed
        self._stream = make(self._loader, epoch, start, self._num_epochs)

    def __next__(self) -> dict[str, Any]:
        if self._stream is None:
            raise StopIteration
        self._epoch, self._batch, batch = next(self._stream)
        return batch

    def close(self) -> None:
        """Ends the workers."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_source(source: Any) -> Any:
    if isinstance(source, Source | IterableSource):
        return source
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return from_grain(source)
    if isinstance(source, Iterable) or callable(source):
        return from_iterable(source)
    raise ValueError(
        "a loader takes a source, a sequence of examples or an iterable of them, got "
        f"{type(source).__name__}."
    )


def _check_exclusions(loader: Loader) -> None:
    """What PyTorch's DataLoader excludes."""
    if loader.sampler is not None and loader.shuffle:
        raise ValueError("sampler and shuffle exclude each other: the sampler gives the order.")
    if loader.batch_sampler is not None:
        given = {
            "batch_size": loader.batch_size is not None,
            "shuffle": loader.shuffle,
            "sampler": loader.sampler is not None,
            "drop_last": loader.drop_last,
        }
        if names := given_names(given):
            raise ValueError(f"batch_sampler and {names} exclude each other.")
        if not isinstance(loader.batch_sampler, Batches):
            raise ValueError(
                "batch_sampler must have batches(epoch) and a length, as BatchSampler, got "
                f"{type(loader.batch_sampler).__name__}."
            )
    if loader.is_iterable:
        given = {
            "shuffle": loader.shuffle,
            "sampler": loader.sampler is not None,
            "batch_sampler": loader.batch_sampler is not None,
            "num_workers": loader.num_workers > 0,
            "resident": loader.resident,
        }
        if names := given_names(given):
            raise ValueError(
                f"an iterable source and {names} exclude each other: it is read in "
                "its own order, by one. source_to_arrays(...) or a list gives it indices."
            )
    elif loader.epoch_size is not None:
        raise ValueError("epoch_size is for iterable sources; num_samples of a sampler does that.")


def given_names(fields: Mapping[str, bool | None]) -> str:
    """The names of the fields that were given, joined by "and"; empty without any."""
    return " and ".join(name for name, is_given in fields.items() if is_given)


def _check_workers(loader: Loader) -> None:
    if loader.num_workers < 0:
        raise ValueError(f"num_workers must be 0 or greater, got {loader.num_workers}.")
    if loader.timeout < 0:
        raise ValueError(f"timeout must be 0 or greater, got {loader.timeout}.")
    if loader.multiprocessing_context not in (None, "spawn"):
        raise ValueError(
            "multiprocessing_context must be None (threads) or 'spawn', got "
            f"{loader.multiprocessing_context!r}. A forked process inherits JAX's locks without "
            "the threads that hold them, and hangs."
        )
    if loader.num_workers == 0:
        given = {
            "timeout": loader.timeout > 0,
            "prefetch_factor": loader.prefetch_factor is not None,
            "multiprocessing_context": loader.multiprocessing_context is not None,
        }
        if names := given_names(given):
            raise ValueError(f"{names} need workers: set num_workers above 0.")
    if loader.prefetch_factor is not None:
        check_positive(prefetch_factor=loader.prefetch_factor)
    if loader.worker_init_fn is not None and loader.multiprocessing_context is None:
        raise ValueError(
            "worker_init_fn prepares worker processes: set multiprocessing_context='spawn'; "
            "threads share what this process has."
        )
