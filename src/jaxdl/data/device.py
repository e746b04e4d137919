"""Batches on their way to the device."""

import collections
import itertools
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
