"""Batches of an epoch for the training loop: resident on the device, or streamed."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, tree
from jaxdl._jaxpr import has_convolution, respects_mask
from jaxdl.data.collate import take, take_rows
from jaxdl.data.loader import Loader
from jaxdl.data.source import Gather
from jaxdl.train._programs import program
from jaxdl.types import (
    Array,
    Batch,
    Metrics,
    PyTree,
    UpdateFn,
)

Arrays = Mapping[str, Any]
"""Arrays (N, ...) by name, of NumPy or JAX."""

Say = Callable[[str], None]

MAX_CHUNK = 1024
"""Maximum number of steps per call of the device, and length of the metrics buffer."""


Advanced = tuple[PyTree, Metrics, bool]
"""State, stacked metrics, and whether state and losses are finite."""

Indexed = tuple[Batch, np.ndarray | None]
"""A batch, and the indices of its examples if they are known."""

Carry = tuple[Array, PyTree, Metrics, Array]
"""Batch index, state, buffer of metrics, and whether the losses are finite."""


class Batches(Protocol):
    """The batches that :func:`jaxdl.train.run` trains on, with the compiled step.

    Attributes:
        num_batches: batches of an epoch.
        num_examples: examples of an epoch.
        fingerprint: JSON values that a resumed run must share.
    """

    num_batches: int
    num_examples: int
    fingerprint: dict[str, object]

    def form(self) -> Batch:
        """Shapes and dtypes of a batch."""

    def compile(self, state: PyTree) -> None:
        """Compiles the step for this state, before the first :meth:`advance`."""

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        """Steps over batches ``start`` to ``stop - 1`` of an epoch. ``state`` is not donated."""

    def again(self, epoch: int, start: int, stop: int) -> Iterator[Indexed]:
        """Yields the batches of a range again."""

    def peek(self, epoch: int, start: int) -> Batch:
        """Returns the first batch of the next :meth:`advance`."""

    def close(self) -> None:
        """Stops reading ahead."""


def check_mapping(name: str, data: object) -> None:
    """Raises ValueError unless data are named arrays."""
    if not isinstance(data, Mapping):
        hint = "; pass one split, e.g. dataset.train" if hasattr(data, "train") else ""
        raise ValueError(
            f"{name} must be a mapping of arrays such as {{'image': …, 'label': …}} or a "
            f"data.Loader, got {type(data).__name__}{hint}."
        )
    if not data:
        raise ValueError(f"{name} holds no arrays; expected a mapping such as {{'image': …}}.")


def length_of(data: Arrays) -> int:
    """Number of examples."""
    first = next(iter(data.values()))
    return _checks.shape_of("data", first)[0] if jnp.ndim(first) else 0


_compiled_take = jax.jit(take, static_argnums=(3, 4))


class ResidentBatches:
    """Arrays on the device; a batch is gathered by index inside the compiled step.

    Args:
        step: the training step; if it does not respect ``mask``, the last batch is not padded.
        state: initial state.
        data: arrays (N, ...).
        order: epoch → (num_batches, B) int32 indices, on the device.
        num_examples: real examples of an epoch; the rest of the last batch is padding.
        fingerprint: see :class:`Batches`.
        gather: cuts a batch from ``data``; None takes rows.
    """

    def __init__(
        self,
        step: UpdateFn,
        state: PyTree,
        data: Arrays,
        order: Callable[[int], Array],
        num_examples: int,
        fingerprint: dict[str, object],
        gather: Gather | None = None,
    ):
        self.gather = gather
        self.step, self.data, self.num_examples = step, jax.device_put(dict(data)), num_examples
        self.fingerprint = fingerprint
        self._order_of, self._epoch, self._order = order, 0, order(0)
        self.num_batches = self._order.shape[0]
        ragged = ragged_batch(step, state, self.data, self._order, num_examples, gather)
        self._rest = 0 if ragged is None else num_examples % self._order.shape[1]
        # as many as to mask nothing, if the last batch has its own shape
        self._counted = num_examples if ragged is None else self._order.size
        self._steps = program(_make_steps, step, static_argnums=(5, 6))
        self._compiled_last: Callable[..., tuple[PyTree, Metrics]] | None = None
        self._single: Callable[..., tuple[PyTree, Metrics]] | None = None

    def form(self) -> Batch:
        form: Batch = jax.eval_shape(
            lambda data, order: take(data, order, 0, self._counted, self.gather),
            self.data,
            self._order,
        )
        return form

    def compile(self, state: PyTree) -> None:
        """Compiles the faster of two forms: a loop on the device, or a call per step.

        On CPU the gradients of XLA's convolution are 10 to 18 times slower inside a loop
        (jax-ml/jax#12868), so a step with a convolution is called from Python.
        """
        zero = np.int32(0)
        arguments = (state, self.data, self._order, zero, zero, self._counted, self.gather)
        traced = self._steps.trace(*arguments)
        if jax.default_backend() == "cpu" and has_convolution(traced.jaxpr.jaxpr):
            self._single = _compile_single_step(
                self.step, state, self.data, self._order, self._counted, self.gather
            )
        else:
            self._steps(*arguments)  # makes no step, but compiles
        if self._rest:
            last = self._batch(self._order, self.num_batches - 1)
            self._compiled_last = jax.jit(self.step).lower(state, last).compile()

    def _load(self, epoch: int) -> Array:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return self._order

    def _batch(self, order: Array, index: int) -> Batch:
        if self._rest and index == self.num_batches - 1:
            return take_rows(self.data, order[index, : self._rest], self.gather)
        batch: Batch = _compiled_take(self.data, order, np.int32(index), self._counted, self.gather)
        return batch

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        order = self._load(epoch)
        if self._compiled_last is None or stop < self.num_batches:
            return self._advance_whole(state, order, start, stop)
        results = []
        if start < stop - 1:
            state, stacked, finite = self._advance_whole(state, order, start, stop - 1)
            if not finite:
                return state, stacked, False
            results.append(stacked)
        state, values = self._compiled_last(state, self._batch(order, stop - 1))
        results.append(stack([values]))
        stacked = jax.tree.map(lambda *parts: np.concatenate(parts), *results)
        return state, stacked, finite_losses(stacked) and bool(all_finite(state))

    def _advance_whole(self, state: PyTree, order: Array, start: int, stop: int) -> Advanced:
        """Steps over batches that all have the same shape."""
        if self._single is not None:
            return self._advance_singly(self._single, state, order, start, stop)
        state, buffer, finite = self._steps(
            state,
            self.data,
            order,
            np.int32(start),
            np.int32(stop),
            self._counted,
            self.gather,
        )
        stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[: stop - start], buffer)
        return state, stacked, bool(finite)

    def _advance_singly(
        self,
        single: Callable[..., tuple[PyTree, Metrics]],
        state: PyTree,
        order: Array,
        start: int,
        stop: int,
    ) -> Advanced:
        results = []
        state = tree.copy(state)  # to be donated
        for index in range(start, stop):
            state, values = single(state, self.data, order, np.int32(index))
            results.append(values)
        stacked = stack(results)
        return state, stacked, finite_losses(stacked) and bool(all_finite(state))

    def again(self, epoch: int, start: int, stop: int) -> Iterator[Indexed]:
        order = self._load(epoch)
        for index in range(start, stop):
            yield self._batch(order, index), np.asarray(order[index])

    def peek(self, epoch: int, start: int) -> Batch:
        return self._batch(self._load(epoch), start)

    def close(self) -> None:
        pass


def ragged_batch(
    function: Callable[[PyTree, Batch], PyTree],
    state: PyTree,
    data: Batch,
    order: Array,
    num_examples: int,
    gather: Gather | None = None,
) -> Batch | None:
    """Returns the unpadded last batch if a function does not respect ``mask``; else None."""
    rest = num_examples % order.shape[1]
    if not rest:
        return None
    form = jax.eval_shape(
        lambda data, order: take(data, order, 0, num_examples, gather), data, order
    )
    if respects_mask(function, state, form):
        return None
    return take_rows(data, order[-1, :rest], gather)


def _make_steps(step: UpdateFn) -> Callable[..., tuple[PyTree, Metrics, Array]]:
    """Creates a loop over steps ``start`` to ``stop - 1`` that ends early on a non-finite loss."""

    def steps(
        state: PyTree,
        data: Batch,
        order: Array,
        start: Array,
        stop: Array,
        num_examples: int,
        gather: Gather | None,
    ) -> tuple[PyTree, Metrics, Array]:
        def batch(data: Batch, index: Array | int) -> Batch:
            return take(data, order, index, num_examples, gather)

        form = jax.eval_shape(lambda state, data: step(state, batch(data, 0))[1], state, data)
        buffer = jax.tree.map(lambda leaf: jnp.zeros((MAX_CHUNK, *leaf.shape), leaf.dtype), form)

        def unfinished(carry: Carry) -> Array:
            index, _, _, finite = carry
            return (index < stop) & finite

        def one_step(carry: Carry) -> Carry:
            index, state, buffer, _ = carry
            state, values = step(state, batch(data, index))
            buffer = jax.tree.map(lambda all, one: all.at[index - start].set(one), buffer, values)
            return index + 1, state, buffer, tree.all_finite(losses_of(values))

        initial = (start, state, buffer, jnp.array(True))
        _, state, buffer, finite = jax.lax.while_loop(unfinished, one_step, initial)
        # weights can become non-finite before the loss does, so check the whole state
        return state, buffer, finite & tree.all_finite(state)

    # not donated: the caller may keep the state
    return steps


def _compile_single_step(
    step: UpdateFn,
    state: PyTree,
    data: Batch,
    order: Array,
    num_examples: int,
    gather: Gather | None,
) -> Callable[..., tuple[PyTree, Metrics]]:
    def one_step(state: PyTree, data: Batch, order: Array, index: Array) -> tuple[PyTree, Metrics]:
        return step(state, take(data, order, index, num_examples, gather))

    return jax.jit(one_step, donate_argnums=0).lower(state, data, order, np.int32(0)).compile()


all_finite = jax.jit(tree.all_finite)


def losses_of(values: Metrics) -> Metrics:
    """Selects the metrics that must be finite: ``loss``, ``generator_loss``, …

    Others may be infinite, e.g. the PSNR of a perfect image.
    """
    return {name: metric for name, metric in values.items() if name.endswith("loss")}


def finite_losses(stacked: Metrics) -> bool:
    """Returns True if the losses of some steps are finite; on the host."""
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(losses_of(stacked)))


def stack(results: list[Metrics]) -> Metrics:
    """Stacks the metrics of steps along a leading axis, on the host."""
    stacked: Metrics = jax.tree.map(
        lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *results
    )
    return stacked


def agreed(name: str, value: int | None, loader: Loader) -> int:
    """Returns the loader's batch size; raises ValueError if ``value`` differs from it."""
    if value is not None and value != loader.size:
        raise ValueError(f"{name} is {value}, but the loader's is {loader.size}: omit it.")
    return loader.size
