"""Batches of a loader, streamed to the device: for training and for evaluation."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, metrics, tree
from jaxdl._jaxpr import respects_mask
from jaxdl.data.loader import Loader, LoaderIterator
from jaxdl.data.prefetch import check_numeric, put_on_devices
from jaxdl.train._batches import Advanced, Indexed, all_finite, finite_losses, stack
from jaxdl.train._programs import program
from jaxdl.train.step import check_metrics, of_batch
from jaxdl.types import (
    Array,
    Batch,
    EvalFn,
    EvalStep,
    Metrics,
    PyTree,
    Step,
)

STEPS_AHEAD = 8
"""Maximum number of streamed batches queued on the device."""


class StreamedBatches:
    """Batches of a loader, transferred while the device computes earlier ones.

    Args:
        step: the training step.
        state: initial state.
        loader: the loader; its last batch is padded unless the step does not respect ``mask``.
        num_epochs: number of epochs that the workers prepare.
        fingerprint: see :class:`~jaxdl.train._batches.Batches`.
    """

    def __init__(
        self,
        step: Step,
        state: PyTree,
        loader: Loader,
        num_epochs: int,
        fingerprint: dict[str, object],
    ):
        self._ignore_label = step.ignore_label
        self.loader = padded(loader)
        self.num_epochs, self.fingerprint = num_epochs, fingerprint
        self.num_batches, self.num_examples = len(loader), loader.num_examples
        self._first = self.loader.first_batch()
        if self.loader.has_mask and not respects_mask(step.update, state, cast(Batch, self._first)):
            self.loader = loader.replace(pad_last=False)
            self._first = self.loader.first_batch()
        _checks.check_data(self._first, ignore_label=step.ignore_label)
        check_numeric(self._first)
        self._compiled = jax.jit(step.update, donate_argnums=0)
        self._batches: Generator[Batch, None, None] | None = None
        self._peeked: Batch | None = None
        self._next = -1

    def form(self) -> Batch:
        form: Batch = jax.eval_shape(lambda batch: batch, self._first)
        return form

    def compile(self, state: PyTree) -> None:
        self._compiled(tree.copy(state), jax.device_put(self._first))

    def _seek(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        """Moves to a batch of an epoch, restarting the loader unless it is the next one."""
        first = epoch * self.num_batches + start
        if first != self._next or self._batches is None:
            self.close()
            epochs = self.num_epochs - epoch
            batches = self.loader.epoch(epoch, start, num_epochs=epochs)
            self._batches, self._next = _transferred(_checked(batches, self._ignore_label)), first
        return self._batches

    def peek(self, epoch: int, start: int) -> Batch:
        batches = self._seek(epoch, start)
        if self._peeked is None:
            self._peeked = next(batches)
        return self._peeked

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        batches = self._seek(epoch, start)
        results = []
        state = tree.copy(state)  # to be donated
        for _ in range(start, stop):
            batch = next(batches) if self._peeked is None else self._peeked
            self._peeked = None
            state, values = self._compiled(state, batch)
            results.append(values)
            if len(results) > STEPS_AHEAD:
                jax.block_until_ready(results[-STEPS_AHEAD])
        self._next += stop - start
        stacked = stack(results)
        return state, stacked, finite_losses(stacked) and bool(all_finite(state))

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
    """Returns a loader whose batches all have the same shape."""
    return loader if loader.pad_last or loader.drop_last else loader.replace(pad_last=True)


def _transferred(batches: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
    """Prefetches batches to an accelerator; on CPU returns them unchanged."""
    return batches if jax.default_backend() == "cpu" else put_on_devices(batches)


def _checked(batches: LoaderIterator, ignore_label: int | None) -> Generator[Batch, None, None]:
    with contextlib.closing(batches):
        for batch in batches:
            if "label" in batch:
                _checks.check_labels(batch["label"], ignore_label=ignore_label)
            yield cast(Batch, batch)


def sum_over_loader(eval_step: EvalStep, state: PyTree, loader: Loader) -> Metrics | None:
    """Sums metrics over epoch 0 of a loader with padding masked; None if it has no batches."""
    sums: Metrics | None = None
    results: list[Metrics] = []
    evaluate = program(_make_evaluation, eval_step.fn)
    with contextlib.closing(_evaluation_batches(eval_step, state, padded(loader))) as batches:
        for index, batch in enumerate(batches):
            results.append(evaluate(state, batch, np.int32(index)))
            if len(results) == 4 * STEPS_AHEAD:
                sums, results = metrics.sum_over_steps(stack(results), sums), []
    return metrics.sum_over_steps(stack(results), sums) if results else sums


def _evaluation_batches(
    eval_step: EvalStep, state: PyTree, loader: Loader
) -> Generator[Batch, None, None]:
    """Yields the batches of epoch 0, unpadded if the function does not respect ``mask``."""

    def stream(loader: Loader) -> Generator[Batch, None, None]:
        return _transferred(_checked(loader.epoch(0), eval_step.ignore_label))

    batches = stream(loader)
    first = next(batches, None)
    is_padded = loader.has_mask and first is not None
    if is_padded and not program(_make_check, eval_step.fn)(state, first):
        batches.close()
        batches = stream(loader.replace(pad_last=False))
        first = next(batches)
    with contextlib.closing(batches):
        yield from itertools.chain([] if first is None else [first], batches)


def _make_check(eval_fn: EvalFn) -> Callable[[PyTree, Batch], Array]:
    return lambda state, batch: jnp.array(respects_mask(eval_fn, state, batch))


def _make_evaluation(eval_fn: EvalFn) -> Callable[[PyTree, Batch, Array], Metrics]:
    def evaluate(state: PyTree, batch: Batch, index: Array) -> Metrics:
        values = eval_fn(of_batch(state, index), batch)
        check_metrics(values)
        return values

    return evaluate
