"""Reading ahead with Grain: threads or worker processes that make numbered batches, in order."""

import atexit
import concurrent.futures
import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax
import numpy as np

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
