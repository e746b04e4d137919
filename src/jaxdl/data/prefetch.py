"""Batches made ahead of time by worker threads or processes, and their transfer to devices."""

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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import ClassVar, Generic, TypeVar

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxdl._checks import check_positive
from jaxdl._extras import require

BatchT = TypeVar("BatchT")
ItemT = TypeVar("ItemT")

CLOSE_SECONDS = 10.0
"""Time that a worker process gets to end by itself before it is killed."""

_POLL_SECONDS = 0.05
_GRACE_SECONDS = 2.0


class _Failure:
    """An exception of a worker, with its traceback as text.

    SystemExit and KeyboardInterrupt become RuntimeError: a worker does not end the program.
    """

    def __init__(self, error: BaseException):
        self.text = "".join(traceback.format_exception(error))
        substitute = RuntimeError(f"a worker of the loader raised {type(error).__name__}: {error}")
        try:
            if not isinstance(error, Exception):
                raise TypeError
            self.error = pickle.dumps(error)
            pickle.loads(self.error)
        except Exception:  # an exception class that cannot be pickled
            self.error = pickle.dumps(substitute)

    def exception(self) -> Exception:
        error: Exception = pickle.loads(self.error)
        error.add_note(f"Raised in a worker of the loader. Its traceback:\n{self.text}")
        return error


class _Numbered(Generic[BatchT]):
    """Random-access data for Grain: item i is batch ``first + i``, or its failure."""

    def __init__(self, read: Callable[[int], BatchT], first: int, stop: int):
        self.read, self.first, self.stop = read, first, stop

    def __len__(self) -> int:
        return self.stop - self.first

    def __getitem__(self, index: int) -> tuple[BatchT | _Failure]:
        try:
            return (self.read(self.first + int(index)),)
        except BaseException as error:  # SystemExit would end the worker, and the loader would wait
            return (_Failure(error),)

    def __repr__(self) -> str:
        return f"batches {self.first} to {self.stop}"


def read_ahead(
    read: Callable[[int], BatchT],
    first: int,
    stop: int,
    *,
    num_workers: int,
    prefetch_factor: int = 2,
    processes: bool = False,
    timeout: float = 0.0,
    worker_init_fn: Callable[[int], None] | None = None,
) -> Iterator[BatchT]:
    """Yields ``read(first)``, …, ``read(stop - 1)`` in order, made ahead of time by workers.

    Close the iterator, or drop it, to end the workers.

    Args:
        read: number → batch, a pytree of NumPy arrays; a pure function of the number.
        first, stop: range of the batch numbers.
        num_workers: number of threads or processes, at least 1.
        prefetch_factor: batches that each worker makes ahead.
        processes: spawn processes instead of starting threads; this takes seconds, and ``read``
            is pickled.
        timeout: seconds to wait for a batch; 0 for no limit.
        worker_init_fn: called with the worker's number in each process.

    Raises:
        TimeoutError: a batch took longer than ``timeout``.
        RuntimeError: a worker process ended early, or raised SystemExit or KeyboardInterrupt; or
            this is a worker process itself.

    An exception in ``read`` is raised here, with the worker's traceback as a note.
    """
    num_workers = min(num_workers, stop - first)
    if num_workers < 1:
        return
    if processes:
        _check_not_a_worker()
    workers = _Workers(num_workers if processes else 0)
    numbered = _Numbered(read, first, stop)
    iterator = _grain_iterator(numbered, num_workers, prefetch_factor, processes, worker_init_fn)
    waiter = None
    if processes or timeout:
        waiter = concurrent.futures.ThreadPoolExecutor(1, "loader-wait")
    try:
        for _ in range(first, stop):
            if waiter is None:
                (batch,) = next(iterator)
            else:
                (batch,) = _next_in_time(waiter.submit(_next, iterator), timeout, workers)
            if isinstance(batch, _Failure):
                raise batch.exception() from None
            yield jax.tree.map(_copy, batch) if processes else batch
            del batch
    finally:
        if waiter is not None:
            waiter.shutdown(wait=False, cancel_futures=True)
        if processes:
            workers.end(iterator)
            # batches read ahead stay in shared memory until Grain's iterator is gone, which a
            # traceback or a cycle may keep
            del iterator
            gc.collect()
        else:
            _close(iterator)


def _grain_iterator(
    numbered: _Numbered[BatchT],
    num_workers: int,
    prefetch_factor: int,
    processes: bool,
    worker_init_fn: Callable[[int], None] | None,
) -> Iterator[tuple[BatchT | _Failure]]:
    grain = _import_grain()
    ahead = max(num_workers * prefetch_factor, num_workers)
    options = grain.ReadOptions(
        num_threads=0 if processes else num_workers,
        prefetch_buffer_size=0 if processes else ahead,
    )
    dataset = grain.MapDataset.source(numbered).to_iter_dataset(options)
    if processes:
        dataset = dataset.mp_prefetch(
            grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=prefetch_factor),
            worker_init_fn=_Begin(worker_init_fn),
        )
    return iter(dataset)


def _import_grain() -> ModuleType:
    require("grain", "reading ahead")
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain reads absl flags, which nothing has parsed here
        flags.FLAGS.mark_as_parsed()
    import grain

    return grain


def _check_not_a_worker() -> None:
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "A worker process of a loader imports the main script, and the script starts the "
            "loader again. Put the script's body under `if __name__ == '__main__':`, or use "
            "threads (multiprocessing_context=None)."
        )


def _next(iterator: Iterator[ItemT]) -> ItemT:
    try:
        return next(iterator)
    except RuntimeError as error:
        if "terminated unexpectedly" in str(error):
            raise RuntimeError(
                f"{error} If the error above it says that a worker imports the main script, put "
                "the script's body under `if __name__ == '__main__':`."
            ) from error
        raise


def _next_in_time(
    future: "concurrent.futures.Future[ItemT]", timeout: float, workers: "_Workers"
) -> ItemT:
    """Waits for a batch while the workers live and the time is not over."""
    start = time.monotonic()
    ended = None
    while True:
        workers.look()
        with contextlib.suppress(concurrent.futures.TimeoutError):
            return future.result(_POLL_SECONDS)
        if future.done():  # a TimeoutError of the worker itself
            return future.result()
        now = time.monotonic()
        if timeout and now - start > timeout:
            raise TimeoutError(
                f"the loader waited {timeout:g} s for a batch and none came. Raise timeout=, or "
                "look at what the workers read."
            )
        # Grain notices a worker that failed, but not one that ended with exit code 0
        codes = [child.exitcode for child in workers.processes if child.exitcode is not None]
        ended = None if not codes else now if ended is None else ended
        if ended is not None and now - ended > _GRACE_SECONDS:
            raise RuntimeError(
                f"a worker process of the loader ended with exit code {codes[0]} before it had "
                "read its batches; see its messages above, or use threads "
                "(multiprocessing_context=None)."
            )


def _copy(leaf: object) -> object:
    """A copy of an array that lies in shared memory, which is freed with the worker's batch."""
    return np.array(leaf) if isinstance(leaf, np.ndarray) else leaf


class _Begin:
    """Prepares a worker process."""

    def __init__(self, function: Callable[[int], None] | None):
        self.function = function

    def __call__(self, index: int, _: int) -> None:
        """Prepares a worker process."""
        # Ctrl-C reaches the whole process group; the main process ends its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_parent, daemon=True).start()
        jax.config.update("jax_platforms", "cpu")  # the accelerator is the main process's
        atexit.register(os._exit, 0)  # JAX's own clean-up takes longer than all the rest
        if self.function is not None:
            try:
                self.function(index)
            except BaseException as error:
                raise _Failure(error).exception() from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class _Workers:
    """The processes that Grain starts for one iterator.

    Args:
        count: number of processes to expect.
    """

    known: ClassVar[weakref.WeakSet[BaseProcess]] = weakref.WeakSet()  # of all iterators

    def __init__(self, count: int):
        self.count, self.before = count, set(multiprocessing.active_children())
        self.processes: list[BaseProcess] = []

    def look(self) -> None:
        """Records processes that have been started."""
        if len(self.processes) == self.count:
            return
        for child in multiprocessing.active_children():
            if child not in self.before and child not in self.known:
                self.known.add(child)
                self.processes.append(child)

    def end(self, iterator: Iterator[object]) -> None:
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


def _close(iterator: object) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def _close_quietly(iterator: object) -> None:
    with contextlib.suppress(Exception):
        _close(iterator)


def put_on_devices(
    batches: Iterable[Mapping[str, ArrayLike]],
    size: int = 2,
    sharding: jax.sharding.Sharding | None = None,
) -> Generator[dict[str, jax.Array], None, None]:
    """Batches on the device, transferred ahead of their use.

    Args:
        batches: of NumPy arrays (B, ...), e.g. a loader.
        size: number of batches that are transferred ahead.
        sharding: distribution of the arrays over devices, of several processes too: each process
            passes its own share (``Loader(shard="process")``). None uses the default device.

    Yields:
        JAX arrays by name.

    Raises:
        ValueError: an array of strings or objects.

    Source: ``flax.jax_utils.prefetch_to_device``.

    >>> [batch["x"].device.platform for batch in put_on_devices([{"x": np.zeros(3)}])]
    ['cpu']
    """
    check_positive(size=size)

    def put(batch: Mapping[str, ArrayLike]) -> dict[str, jax.Array]:
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
        _close(iterator)


def check_numeric(batch: Mapping[str, ArrayLike]) -> None:
    """Raises ValueError if a batch holds strings or objects."""
    for name, array in batch.items():
        if np.asarray(array).dtype.kind in "OSU":
            raise ValueError(
                f"{name!r} holds strings or objects, which cannot go to a device; encode it, or "
                "leave it out with map_source."
            )
