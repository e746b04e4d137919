"""The loader: batches of any source, in an order that is a function of the epoch's number."""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, Self, cast

import jax
import numpy as np

from jaxdl._checks import check_positive
from jaxdl.data._batch_reader import (
    BatchReader,
    Collate,
    Numbered,
    Shape,
    check_plan,
    fill,
    read_stream,
)
from jaxdl.data.combine import IterableSource, from_grain, from_iterable
from jaxdl.data.prefetch import read_ahead
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
from jaxdl.data.source import ArraySource, Example, Source, describe_spec


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Loader:
    """Batches of a source: shuffled, sampled, read ahead by workers, padded, sharded.

    Each ``for batch in loader`` is one epoch, and the next loop the next one.
    ``loader.epoch(epoch, start)`` begins anywhere: batch k of epoch e is the same batch on every
    way to it, with any number of workers. A batch is a dictionary of NumPy arrays (B, ...).

    If B does not divide the number of examples, the last batch of an epoch is smaller, as in
    PyTorch; ``drop_last`` leaves it out. ``pad_last`` fills it up with examples from the start of
    the epoch (of the batch itself for a batch sampler or an iterable) and adds ``"mask"`` (B,)
    float32, 0 for filling, to every batch. :func:`jaxdl.train.run` and ``evaluate`` always pad.

    Args:
        source: a :class:`~jaxdl.data.Source`; arrays (N, ...) by name; an iterable of examples; or
            any object that :func:`~jaxdl.data.from_grain` takes whose elements are mappings.
        batch_size: B; 1 by default.
        shuffle: use a random order, new for every epoch.
        sampler: order of the examples, mutually exclusive with ``shuffle``: a sampler of
            :mod:`jaxdl.data.samplers`, or fixed indices.
        batch_sampler: batches of indices, mutually exclusive with ``batch_size``, ``shuffle``,
            ``sampler`` and ``drop_last``: e.g. :class:`~jaxdl.data.BucketBatchSampler`.
        num_workers: threads or processes that read batches ahead; 0 reads in this thread.
        collate_fn: list of examples → batch; by default arrays are stacked.
        drop_last: leave out a ragged last batch.
        timeout: seconds to wait for a batch of a worker; 0 for no limit.
        worker_init_fn: called with the worker's number in each worker process.
        multiprocessing_context: None for threads, which start at once and run side by side in
            Pillow, NumPy and file access; ``"spawn"`` for processes, which take seconds to start
            and help if most of the work is Python code. ``"fork"`` deadlocks with JAX.
        prefetch_factor: batches that each worker reads ahead; 2 by default.
        key: root of the order; a JAX key or an integer.
        pad_last: fill up the last batch; see above.
        shard: (index, count): keep this share of every batch, such that the shards' batches in a
            row are the batch of a single process; ``"process"`` for this JAX process. B counts all
            shares together, and the last batch is padded or dropped. A shard alone is a part of a
            batch: train on all of them together, with ``put_on_devices`` and a
            sharding. ``train.run`` refuses a sharded loader, as each process would train on its own
            share without averaging.
        epoch_size: examples per epoch of an iterable source, which has no length.
        resident: keep the whole source on the device in :func:`jaxdl.train.run`; None decides by
            size, see there.

    Raises:
        ValueError: mutually exclusive arguments, or an argument out of range.

    Source: ``torch.utils.data.DataLoader``. Absent: ``pin_memory`` (JAX stages transfers itself),
    ``persistent_workers`` (``loader.epoch(0, num_epochs=10)`` keeps its workers) and ``generator``
    (``key``). In a script, ``"spawn"`` needs ``if __name__ == "__main__":``.

    >>> loader = Loader({"x": np.arange(5)}, batch_size=2)
    >>> [batch["x"].tolist() for batch in loader]
    [[0, 1], [2, 3], [4]]
    >>> loader
    Loader: 3 batches of 2 in order, x () int64
      from ArraySource: 5 examples, x () int64
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
        set_field = object.__setattr__
        set_field(self, "source", _as_source(self.source))
        set_field(self, "key", seed_of(self.key))
        if self.shard == "process":
            set_field(self, "shard", (jax.process_index(), jax.process_count()))
        _check_exclusions(self)
        _check_workers(self)
        if self.batch_sampler is None and self.batch_size is None:
            set_field(self, "batch_size", 1)
        if self.batch_size is not None:
            check_positive(batch_size=self.batch_size)
        check_shard(*self.share)
        if self.share[1] > 1:
            if self.size % self.share[1]:
                raise ValueError(
                    f"batch_size {self.size} must be a multiple of the {self.share[1]} shards: it "
                    "is the size of a batch of all of them together."
                )
            set_field(self, "pad_last", not self.drop_last)
        set_field(self, "_next_epoch", 0)

    # Sizes

    @property
    def share(self) -> tuple[int, int]:
        """Index and count of ``shard``."""
        return cast(tuple[int, int], self.shard)

    @property
    def is_iterable(self) -> bool:
        """True if the source has its own order and no indices."""
        return isinstance(self.source, IterableSource)

    @cached_property
    def size(self) -> int:
        """B, the size of a whole batch of all shards together."""
        if self.batch_size is not None:
            return self.batch_size
        size: int | None = getattr(self.batch_sampler, "batch_size", None)
        return size or max(len(batch) for batch in self.batches.batches(0))

    @cached_property
    def num_examples(self) -> int:
        """Number of examples in an epoch, without filling.

        Raises:
            ValueError: an iterable source without ``epoch_size``.
        """
        if self.is_iterable:
            if self.epoch_size is None:
                raise ValueError("an iterable has no length: pass epoch_size= to the loader.")
            return self._whole(self.epoch_size)
        if isinstance(self.batches, BatchSampler):
            return self._whole(len(self.batches.sampler))
        return sum(len(batch) for batch in self.batches.batches(0))

    def _whole(self, number: int) -> int:
        return number // self.size * self.size if self.drop_last else number

    def __len__(self) -> int:
        if not self.is_iterable:
            return len(self.batches)
        if self.epoch_size is None:
            raise TypeError("a loader of an iterable source has no length; pass epoch_size.")
        return -(-self.num_examples // self.size)

    @cached_property
    def has_mask(self) -> bool:
        """True if batches have a mask: only where one of them is filled up."""
        if self.is_iterable:
            known = self.epoch_size is not None
            return self.pad_last and not (known and self.num_examples % self.size == 0)
        return self.pad_last and self.num_examples != len(self) * self.size

    def __repr__(self) -> str:
        try:
            number = f"{len(self):,} batches"
        except TypeError:
            number = "batches"
        order = "shuffled" if self.shuffle else "in order"
        for name in ("sampler", "batch_sampler"):
            if getattr(self, name) is not None:
                order = f"by {type(getattr(self, name)).__name__}"
        workers = f", {self.num_workers} workers" if self.num_workers else ""
        return (
            f"Loader: {number} of {self.size} {order}, {describe_spec(self.source)}{workers}\n"
            f"  from {self.source!r}"
        )

    # Order

    @cached_property
    def batches(self) -> Batches:
        """Indices of the batches; an iterable source has none."""
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

    def indices(self, epoch: int) -> list[np.ndarray]:
        """The indices of an epoch's batches, of all shards together and without filling.

        Raises:
            IndexError: a sampler gave an index out of range.
        """
        return check_plan(self.batches.batches(epoch), epoch, len(self.source))

    def order(self, epoch: int) -> np.ndarray:
        """The indices of an epoch with their filling: (len, B) int64."""
        batches = self.indices(epoch)
        return np.stack([fill(batch, self.size, batches[0]) for batch in batches])

    @cached_property
    def fingerprint(self) -> str:
        """Checksum of the order; a resumed run must have the same."""
        if self.is_iterable:
            return "of the iterable"
        first = np.concatenate(self.indices(0)) if len(self) else np.zeros(0)
        return f"{zlib.crc32(first.astype(np.int64).tobytes()):08x}"

    # Reading

    def replace(self, **changes: Any) -> "Loader":
        """This loader with other arguments."""
        return dataclasses.replace(self, **changes)

    def first_batch(self) -> Example:
        """Batch 0 of epoch 0, read in this thread."""
        if self.is_iterable:
            with self.epoch(0) as batches:
                return next(batches)
        return self._reader()(0)

    def epoch(self, epoch: int, start: int = 0, *, num_epochs: int = 1) -> "LoaderIterator":
        """The batches from batch ``start`` of epoch ``epoch`` on.

        Args:
            epoch: number of the epoch, from 0.
            start: of the batch in it, from 0.
            num_epochs: epochs to read, with the same workers.

        Returns:
            an iterator with a position; close it, or use it in a ``with`` statement, if the loop
            may end early.
        """
        return LoaderIterator(self, epoch, start, num_epochs)

    def __iter__(self) -> "LoaderIterator":
        number: int = self.__dict__["_next_epoch"]
        object.__setattr__(self, "_next_epoch", number + 1)
        return self.epoch(number)

    def _shape(self) -> Shape:
        return Shape(self.size, self.pad_last, self.has_mask, self.share)

    def _reader(self) -> BatchReader:
        fill_from_epoch = self.batch_sampler is None
        return BatchReader(
            self.source, self.batches, self._shape(), self.collate_fn, fill_from_epoch
        )

    def _read(self, epoch: int, start: int, num_epochs: int) -> Iterator[Numbered]:
        """Yields batches with the epoch and number of the next one."""
        if self.is_iterable:
            yield from read_stream(
                self.source,
                self._shape(),
                collate_fn=self.collate_fn,
                drop_last=self.drop_last,
                epoch_size=self.epoch_size,
                first=(epoch, start),
                num_epochs=num_epochs,
            )
            return
        count = len(self)
        first, stop = epoch * count + start, (epoch + num_epochs) * count
        batches: Iterable[Example]
        if self.num_workers == 0:
            batches = map(self._reader(), range(first, stop))
        else:
            batches = read_ahead(
                self._reader(),
                first,
                stop,
                num_workers=self.num_workers,
                prefetch_factor=self.prefetch_factor or 2,
                processes=self.multiprocessing_context == "spawn",
                timeout=self.timeout,
                worker_init_fn=self.worker_init_fn,
            )
        for number, batch in zip(range(first, stop), batches, strict=True):
            yield *divmod(number + 1, count), batch


class LoaderIterator(Iterator[Example]):
    """The batches of a loader from a position on; see :meth:`Loader.epoch`."""

    def __init__(self, loader: Loader, epoch: int, start: int, num_epochs: int = 1):
        self._loader, self._num_epochs = loader, num_epochs
        self._stream: Any = None
        self.restore({"epoch": epoch, "batch": start})

    def state(self) -> dict[str, int]:
        """The position of the next batch: ``"epoch"`` and ``"batch"``."""
        return {"epoch": self._epoch, "batch": self._batch}

    def restore(self, state: Mapping[str, int]) -> None:
        """Moves to a position; batches that were read ahead are discarded.

        Raises:
            ValueError: a position out of range.
        """
        epoch, start = int(state["epoch"]), int(state["batch"])
        if min(epoch, start) < 0:
            raise ValueError(f"a position must be 0 or greater, got {dict(state)}.")
        if not self._loader.is_iterable and start > len(self._loader):
            raise ValueError(
                f"batch {start} is out of range: an epoch has {len(self._loader)} batches."
            )
        self.close()
        self._epoch, self._batch = epoch, start
        self._stream = self._loader._read(epoch, start, self._num_epochs)

    def __next__(self) -> Example:
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


def _as_source(source: object) -> Source | IterableSource:
    if isinstance(source, Source | IterableSource):
        return source
    if isinstance(source, Mapping) and source and all(isinstance(name, str) for name in source):
        return ArraySource(source)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return from_grain(source)
    if isinstance(source, Iterable) or callable(source):
        return from_iterable(source)
    raise ValueError(
        "source must be a source, arrays by name such as {'x': ...}, a sequence of examples or an "
        f"iterable of them, got {type(source).__name__}."
    )


def _check_exclusions(loader: Loader) -> None:
    """Raises ValueError for the combinations that PyTorch's DataLoader refuses."""
    if loader.sampler is not None and loader.shuffle:
        raise ValueError("sampler and shuffle are mutually exclusive: the sampler is the order.")
    if loader.batch_sampler is not None:
        given = {
            "batch_size": loader.batch_size is not None,
            "shuffle": loader.shuffle,
            "sampler": loader.sampler is not None,
            "drop_last": loader.drop_last,
        }
        if names := given_names(given):
            raise ValueError(f"batch_sampler and {names} are mutually exclusive.")
        if not isinstance(loader.batch_sampler, Batches):
            raise ValueError(
                "batch_sampler must have batches(epoch) and a length, like BatchSampler, got "
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
                f"an iterable source and {names} are mutually exclusive: it is read in its own "
                "order by one thread. A list of its examples has indices."
            )
    elif loader.epoch_size is not None:
        raise ValueError(
            "epoch_size is for iterable sources; pass a sampler with num_samples instead."
        )


def given_names(fields: Mapping[str, bool | None]) -> str:
    """The names of the fields that are set, joined by "and"."""
    return " and ".join(name for name, is_given in fields.items() if is_given)


def _check_workers(loader: Loader) -> None:
    for name in ("num_workers", "timeout"):
        if getattr(loader, name) < 0:
            raise ValueError(f"{name} must be 0 or greater, got {getattr(loader, name)}.")
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
            raise ValueError(f"{names} needs workers: set num_workers above 0.")
    if loader.prefetch_factor is not None:
        check_positive(prefetch_factor=loader.prefetch_factor)
    if loader.worker_init_fn is not None and loader.multiprocessing_context is None:
        raise ValueError(
            "worker_init_fn prepares worker processes: set multiprocessing_context='spawn'; "
            "threads share this process's state."
        )
