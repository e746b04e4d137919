"""Reading ahead, padding, masking and transfer of batches."""

import atexit
import collections
import concurrent.futures
import contextlib
import gc
import itertools
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import numpy as np

from jaxdl._checks import check_positive
from jaxdl.data.source import examples_of, stack_examples

if TYPE_CHECKING:
    from jaxdl.data.loader import Loader


Read = Callable[[int], Any]


CLOSE_SECONDS = 10.0
"""How long a worker process may take to end by itself before it is killed."""


class _Failure:
    """An exception that was raised in a worker, with its traceback as text."""

    def __init__(self, error: Exception):
        self.text = "".join(traceback.format_exception(error))
        try:
            self.error = pickle.dumps(error)
            pickle.loads(self.error)
        except Exception:  # an exception of the user's own that does not pickle
            self.error = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))

    def again(self) -> Exception:
        error: Exception = pickle.loads(self.error)
        error.add_note(f"Raised in a worker of the loader. Its traceback:\n{self.text}")
        return error


class _Numbered:
    """What Grain reads from: item i is the batch ``first + i``, or how it failed."""

    def __init__(self, read: Read, first: int, stop: int):
        self.read, self.first, self.stop = read, first, stop

    def __len__(self) -> int:
        return self.stop - self.first

    def __getitem__(self, index: Any) -> tuple[Any]:
        try:
            return (self.read(self.first + int(index)),)
        except Exception as error:
            return (_Failure(error),)

    def __repr__(self) -> str:
        return f"batches {self.first} to {self.stop}"


def read_ahead(
    read: Read,
    first: int,
    stop: int,
    *,
    num_workers: int,
    prefetch_factor: int = 2,
    processes: bool = False,
    timeout: float = 0.0,
    worker_init_fn: Callable[[int], None] | None = None,
) -> Iterator[Any]:
    """``read(first)``, …, ``read(stop - 1)`` in this order, made ahead of time by workers.

    Args:
        read: number → batch, a pytree of NumPy arrays; the same from the same number, whichever
            worker makes it.
        first, stop: numbers of the batches.
        num_workers: threads or processes that read at the same time; at least 1.
        prefetch_factor: batches that each of them makes ahead.
        processes: spawn processes instead of starting threads. It takes seconds, and ``read`` is
            pickled.
        timeout: seconds to wait for a batch; 0 waits for ever.
        worker_init_fn: called with the worker's number in each process.

    Yields:
        batches. Close the iterator, or drop it, to end the workers.

    Raises:
        TimeoutError: a batch took longer than ``timeout``.
        RuntimeError: a worker process died; or this is a worker process itself.

    An exception in ``read`` is raised here, with the worker's traceback as a note.
    """
    num_workers = min(num_workers, stop - first)
    if num_workers < 1:
        return
    grain = _import_grain()
    if processes:
        _check_not_a_worker()
    numbered = grain.MapDataset.source(_Numbered(read, first, stop))
    ahead = num_workers * prefetch_factor
    options = grain.ReadOptions(
        num_threads=0 if processes else num_workers,
        prefetch_buffer_size=0 if processes else max(ahead, num_workers),
    )
    dataset = numbered.to_iter_dataset(options)
    if processes:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=prefetch_factor),
            worker_init_fn=_Begin(worker_init_fn),
        )
    workers = _Workers(num_workers if processes else 0)
    iterator = iter(dataset)
    waiter = concurrent.futures.ThreadPoolExecutor(1, "loader-timeout") if timeout else None
    try:
        for _ in range(first, stop):
            if waiter is None:
                (batch,) = _next(iterator)
            else:
                (batch,) = _next_in_time(waiter, iterator, timeout)
            workers.look()
            if isinstance(batch, _Failure):
                raise batch.again() from None
            yield jax.tree.map(_own, batch) if processes else batch
            del batch
    finally:
        if waiter is not None:
            waiter.shutdown(wait=False, cancel_futures=True)
        if processes:
            workers.end(iterator)
            # what was read ahead lies in shared memory until Grain's iterator is gone, which a
            # traceback or a cycle may keep
            del iterator
            gc.collect()
        else:
            iterator.close()


def _import_grain() -> Any:
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which nobody has parsed here
        flags.FLAGS.mark_as_parsed()
    import grain

    return grain


def _check_not_a_worker() -> None:
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "A worker process of a loader imports the main script, and the script starts the "
            "loader again. Put what the script does under `if __name__ == '__main__':`, or use "
            "threads (multiprocessing_context=None)."
        )


def _next(iterator: Iterator[Any]) -> Any:
    try:
        return next(iterator)
    except RuntimeError as error:
        if "terminated unexpectedly" in str(error):
            raise RuntimeError(
                f"{error} If the error above it says that a worker imports the main script, put "
                "what the script does under `if __name__ == '__main__':`."
            ) from error
        raise


def _next_in_time(
    waiter: concurrent.futures.Executor, iterator: Iterator[Any], timeout: float
) -> Any:
    future = waiter.submit(_next, iterator)
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError:
        if future.done():  # the worker itself raised it
            raise
        raise TimeoutError(
            f"the loader waited {timeout:g} s for a batch and none came. Raise timeout=, or look "
            "at what the workers read."
        ) from None


def _own(leaf: Any) -> Any:
    """A batch of a worker lies in shared memory, which is freed with it: users keep batches."""
    return np.array(leaf) if isinstance(leaf, np.ndarray) else leaf


class _Begin:
    """What a worker process does first."""

    def __init__(self, function: Callable[[int], None] | None):
        self.function = function

    def __call__(self, index: int, _: int) -> None:
        # Ctrl-C reaches the whole group; the main process decides what becomes of its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        jax.config.update("jax_platforms", "cpu")  # the accelerator is the main process's
        atexit.register(os._exit, 0)  # taking JAX apart takes longer than all the rest
        if self.function is not None:
            self.function(index)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Workers:
    """The processes that Grain starts for one iterator, so that none is left behind.

    Args:
        number: how many there will be.
    """

    known: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()  # those of all iterators

    def __init__(self, number: int):
        self.number, self.before = number, set(multiprocessing.active_children())
        self.processes: list[Any] = []

    def look(self) -> None:
        """Takes note of processes that have been started."""
        if len(self.processes) == self.number:
            return
        for child in multiprocessing.active_children():
            if child not in self.before and child not in self.known:
                self.known.add(child)
                self.processes.append(child)

    def end(self, iterator: Any) -> None:
        """Closes Grain's iterator; a process that does not end by itself is killed."""
        closing = threading.Thread(target=_close_quietly, args=(iterator,), daemon=True)
        closing.start()
        deadline = time.monotonic() + CLOSE_SECONDS
        closing.join(CLOSE_SECONDS)
        self.look()
        for child in self.processes:
            child.join(max(0.0, deadline - time.monotonic()))
            if child.is_alive():
                child.kill()
                child.join()


def _close_quietly(iterator: Any) -> None:
    with contextlib.suppress(Exception):
        iterator.close()


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


def put_on_devices(
    batches: Iterable[Mapping[str, Any]],
    size: int = 2,
    sharding: jax.sharding.Sharding | None = None,
) -> Iterator[dict[str, jax.Array]]:
    """Batches on the device, transferred ahead of their use.

    Args:
        batches: of NumPy arrays (B, ...), such as a loader.
        size: batches that are on their way or there and wait.
        sharding: how arrays are spread over devices, of several processes too: each gives its own
            share (``Loader(shard="process")``). None takes the default device.

    Yields:
        JAX arrays by name.

    Raises:
        ValueError: an array of strings or objects.

    Source: ``flax.jax_utils.prefetch_to_device``.

    >>> [batch["x"].device.platform for batch in put_on_devices([{"x": np.zeros(3)}])]
    ['cpu']
    """
    check_positive(size=size)

    def put(batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        check_numeric(batch)
        if sharding is None:
            return jax.device_put(dict(batch))
        return {
            name: jax.make_array_from_process_local_data(sharding, np.asarray(array))
            for name, array in batch.items()
        }

    iterator = iter(batches)
    try:
        waiting = collections.deque(put(batch) for batch in itertools.islice(iterator, size))
        while waiting:
            yield waiting.popleft()
            waiting.extend(put(batch) for batch in itertools.islice(iterator, 1))
    finally:
        getattr(iterator, "close", lambda: None)()


def check_numeric(batch: Mapping[str, Any]) -> None:
    """Raises ValueError where a batch holds strings or objects."""
    for name, array in batch.items():
        if np.asarray(array).dtype.kind in "OSU":
            raise ValueError(
                f"{name!r} holds strings or objects, which no device takes; encode it or leave it "
                "out with map_source."
            )
