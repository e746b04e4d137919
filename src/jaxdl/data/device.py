"""Batches on their way to the device."""

import collections
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from jaxdl.checks import check_positive


def to_device(
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

    >>> [batch["x"].device.platform for batch in to_device([{"x": np.zeros(3)}])]
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


def num_cores() -> int:
    """CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def device_memory() -> tuple[int, int | None]:
    """The memory of the first device in bytes, and what of it is in use.

    A CPU's is the machine's, of which the use is not known (None); where the system does not say
    how much it has, 8 GB are assumed.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(statistics["bytes_limit"]), int(statistics.get("bytes_in_use", 0))
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 8 * 10**9, None
