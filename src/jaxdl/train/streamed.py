"""Batches of a loader: streamed to the device, or its source kept there where it is small."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checkpoint, checks, metrics, tree
from jaxdl.data.device import check_numeric, device_memory, to_device
from jaxdl.data.loader import Loader, given_names
from jaxdl.data.source import ArraySource
from jaxdl.data.views import num_bytes, source_to_arrays
from jaxdl.train.feed import Advanced, Feed, Indexed, Resident, all_finite_metrics, stack
from jaxdl.train.step import of_batch
from jaxdl.types import Array, Batch, EvalFn, PyTree, StepFn

RESIDENT_SHARE = 0.1
"""A loader's source stays on the device by itself if it takes no more of the device's memory."""

STEPS_AHEAD = 8
"""Streamed batches that may wait on the device for their step."""


def from_loader(step: StepFn, loader: Loader, num_epochs: int, say: Callable[[str], None]) -> Feed:
    """The feed of a loader: resident where :func:`resident_arrays` says so, else streamed."""
    fingerprint = {
        "batch size": loader.size,
        "number of examples": loader.num_examples,
        "order": loader.fingerprint,
    }
    if not len(loader):
        raise ValueError("the loader has no batches: fewer examples than batch_size?")
    arrays = resident_arrays(loader, say)
    if arrays is None:
        return Streamed(step, loader, num_epochs, fingerprint)

    def order(epoch: int) -> Array:
        return jnp.asarray(loader.order(epoch), jnp.int32)

    return Resident(step, arrays, order, loader.num_examples, fingerprint)


def resident_arrays(loader: Loader, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The whole source of a loader, where it shall lie on the device.

    ``loader.resident`` decides. Where it is None, a source does if it is one of this library's that
    hold stored data (arrays, files; not one mapped through a function, which may draw at random)
    and takes at most :data:`RESIDENT_SHARE` of the device's memory.

    Args:
        loader: with ``resident`` True, False or None.
        say: is told what was decided.

    Raises:
        ValueError: ``resident`` is True, but batches are not plain rows of the source.
    """
    given = {
        "collate_fn": loader.collate_fn is not None,
        "batch_sampler": loader.batch_sampler is not None,
        "shard": loader.share[1] != 1,
    }
    names = given_names(given)
    if loader.resident and names:
        raise ValueError(f"resident=True and {names} exclude each other.")
    if loader.resident is False or loader.is_iterable or names:
        return None
    if loader.resident is None and not _is_stored(loader.source):
        return None
    size, (memory, _) = num_bytes(loader.source), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples ({size / 1e6:,.1f} MB) are read once and stay on the "
        "device; resident=False of the loader reads them anew every epoch"
    )
    arrays = source_to_arrays(loader.source, max_bytes=memory)
    checks.check_data(arrays)
    return arrays


def _is_stored(source: Any) -> bool:
    if isinstance(source, ArraySource):
        return True
    own = type(source).__module__.startswith("jaxdl.")
    if not own or hasattr(source, "function") or hasattr(source, "data"):
        return False
    inner = getattr(source, "sources", (getattr(source, "source", None),))
    return all(one is None or _is_stored(one) for one in inner)


class Streamed:
    """Batches of a loader, transferred while the device works on those before them.

    Args:
        step: the update.
        loader: its last batch is padded.
        num_epochs: where the run ends; workers go through all of it.
        fingerprint: see :class:`Feed`.
    """

    def __init__(self, step: StepFn, loader: Loader, num_epochs: int, fingerprint: dict[str, Any]):
        self.loader = padded(loader)
        self.num_epochs, self.fingerprint = num_epochs, fingerprint
        self.rows, self.num_examples = len(loader), loader.num_examples
        self._first = self.loader.first_batch()
        checks.check_data(self._first)
        check_numeric(self._first)
        self._compiled = jax.jit(step, donate_argnums=0)
        self._finite = jax.jit(tree.all_finite)
        self._batches: Any = None
        self._peeked: Any = None
        self._next = -1

    def form(self) -> Any:
        return jax.eval_shape(lambda batch: batch, self._first)

    def compile(self, state: PyTree) -> None:
        self._compiled(checkpoint.copy(state), jax.device_put(self._first))

    def _seek(self, epoch: int, start: int) -> None:
        """Reads on from a batch of an epoch, which is the next one, or else begins there."""
        first = epoch * self.rows + start
        if first != self._next:
            self.close()
            epochs = self.num_epochs - epoch
            batches = self.loader.epoch(epoch, start, num_epochs=epochs)
            self._batches, self._next = _transferred(_checked(batches)), first

    def peek(self, epoch: int, start: int) -> Batch:
        self._seek(epoch, start)
        if self._peeked is None:
            self._peeked = next(self._batches)
        return self._peeked

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        self._seek(epoch, start)
        results = []
        state = checkpoint.copy(state)  # to be donated
        for _ in range(start, stop):
            batch = next(self._batches) if self._peeked is None else self._peeked
            self._peeked = None
            state, values = self._compiled(state, batch)
            results.append(values)
            if len(results) > STEPS_AHEAD:
                jax.block_until_ready(results[-STEPS_AHEAD])
        self._next += stop - start
        stacked = stack(results)
        return state, stacked, all_finite_metrics(stacked) and bool(self._finite(state))

    def again(self, epoch: int, start: int, stop: int) -> Iterator[Indexed]:
        indices = None if self.loader.is_iterable else self.loader.indices(epoch)
        with self.loader.epoch(epoch, start) as batches:
            for index, batch in zip(range(start, stop), batches, strict=False):
                yield jax.device_put(batch), None if indices is None else indices[index]

    def close(self) -> None:
        if self._batches is not None:
            self._batches.close()
            self._batches, self._peeked, self._next = None, None, -1


def padded(loader: Loader) -> Loader:
    """The loader with whole batches only, as a compiled step wants them."""
    return loader if loader.pad_last or loader.drop_last else loader.replace(pad_last=True)


def _transferred(batches: Iterator[Batch]) -> Any:
    """Batches on an accelerator ahead of their step; on CPU they are there already."""
    return batches if jax.default_backend() == "cpu" else to_device(batches)


def _checked(batches: Any) -> Iterator[Batch]:
    with contextlib.closing(batches):
        for batch in batches:
            if "label" in batch:
                checks.check_labels(batch["label"])
            yield batch


def sum_over_loader(eval_fn: EvalFn, state: PyTree, loader: Loader) -> Any:
    """The summed metrics of epoch 0 of a loader, filling masked."""
    sums: Any = None
    results: list[Any] = []
    with contextlib.closing(_transferred(_checked(padded(loader).epoch(0)))) as batches:
        for index, batch in enumerate(batches):
            results.append(_compiled_evaluation(eval_fn, state, batch, np.int32(index)))
            if len(results) == 4 * STEPS_AHEAD:
                sums, results = metrics.sum_over_steps(stack(results), sums), []
    return metrics.sum_over_steps(stack(results), sums) if results else sums


_compiled_evaluation = jax.jit(
    lambda eval_fn, state, batch, index: eval_fn(of_batch(state, index), batch), static_argnums=0
)


def agreed(name: str, value: int | None, loader: Loader) -> int:
    """The loader's batch size, which ``value`` may repeat but not contradict."""
    if value is not None and value != loader.size:
        raise ValueError(
            f"{name} is {value}, the loader's is {loader.size}: leave it out, the loader's counts."
        )
    return loader.size
