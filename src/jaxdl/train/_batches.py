"""Batches of an epoch for the training loop: resident on the device, or streamed."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, metrics, tree
from jaxdl._jaxpr import has_convolution, respects_mask
from jaxdl._machine import device_memory
from jaxdl.data.collate import epoch_order, num_batches, take, take_rows
from jaxdl.data.combine import compact_form, is_stored, size_in_bytes, source_to_arrays
from jaxdl.data.loader import Loader, LoaderIterator, given_names
from jaxdl.data.prefetch import check_numeric, put_on_devices
from jaxdl.data.samplers import seed_of
from jaxdl.data.source import Gather
from jaxdl.train._programs import program
from jaxdl.train.step import check_metrics, of_batch
from jaxdl.types import (
    IGNORE_LABEL,
    Array,
    Batch,
    EvalFn,
    EvalStep,
    Metrics,
    PyTree,
    Step,
    UpdateFn,
    as_key,
)

Arrays = Mapping[str, Any]
"""Arrays (N, ...) by name, of NumPy or JAX."""

Say = Callable[[str], None]

MAX_CHUNK = 1024
"""Maximum number of steps per call of the device, and length of the metrics buffer."""

RESIDENT_SHARE = 0.1
"""A loader's source stays on the device if it takes at most this share of the device's memory."""

STEPS_AHEAD = 8
"""Maximum number of streamed batches queued on the device."""

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


def count_batches(data: Arrays | Loader, batch_size: int | None, key: Array | int | None) -> int:
    """Returns the number of batches per epoch, after checks that do not read values."""
    if isinstance(data, Loader):
        check_unsharded(data)
        agreed("batch_size", batch_size, data)
        if not (data.num_examples and len(data)):
            raise ValueError("the loader has no batches: are there fewer examples than batch_size?")
        return len(data)
    check_mapping("data", data)
    if batch_size is None or key is None:
        raise ValueError("training on arrays needs batch_size and key, the root of their order.")
    return num_batches(length_of(data), batch_size)


def check_unsharded(loader: Loader) -> None:
    """Raises ValueError if a loader is sharded."""
    if loader.share[1] != 1:
        raise ValueError(
            "train.run does not take a loader with shard=: every process would train on its shard "
            "alone. Omit shard."
        )


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


def make_batches(
    step: Step,
    state: PyTree,
    data: Arrays | Loader,
    batch_size: int | None,
    key: Array | int | None,
    *,
    num_epochs: int,
    say: Say,
) -> Batches:
    """Creates the batches of a run; the data must have passed :func:`count_batches`.

    Args:
        step: the training step.
        state: initial state.
        data: arrays, shuffled by ``epoch_order``; or a loader, whose source is kept on the
            device if :func:`resident_arrays` allows it.
        batch_size: batch size for arrays.
        key: root key of the order of arrays, or an integer seed.
        num_epochs: number of epochs of the whole run, including a partial last one.
        say: logs whether the data are resident or streamed.
    """
    if not isinstance(data, Loader):
        return _shuffled(step, state, data, cast(int, batch_size), as_key(cast(Array, key)))
    if key is not None and seed_of(key) != data.key:
        raise ValueError("the order is the loader's: omit key, or pass the loader's own.")
    fingerprint: dict[str, object] = {
        "batch size": data.size,
        "number of examples": data.num_examples,
        "order": data.fingerprint,
    }
    gather: Gather | None
    arrays, gather = compact_arrays(data, say) or (
        resident_arrays(data, say, step.ignore_label),
        None,
    )
    if arrays is None:
        return StreamedBatches(step, state, data, num_epochs, fingerprint)

    def order(epoch: int) -> Array:
        return jnp.asarray(data.order(epoch), jnp.int32)

    return ResidentBatches(
        step.update, state, arrays, order, data.num_examples, fingerprint, gather
    )


def _shuffled(step: Step, state: PyTree, data: Arrays, batch_size: int, key: Array) -> Batches:
    number = _checks.check_data(data, ignore_label=step.ignore_label)
    fingerprint: dict[str, object] = {
        "batch size": batch_size,
        "number of examples": number,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }

    def order(epoch: int) -> Array:
        indices: Array = _compiled_order(key, epoch, number, batch_size)
        return indices

    return ResidentBatches(step.update, state, data, order, number, fingerprint)


_compiled_order = jax.jit(epoch_order, static_argnums=(2, 3))
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
        return state, stacked, finite_losses(stacked) and bool(_compiled_all_finite(state))

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
        return state, stacked, finite_losses(stacked) and bool(_compiled_all_finite(state))

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


_compiled_all_finite = jax.jit(tree.all_finite)


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


def compact_arrays(loader: Loader, say: Say) -> tuple[dict[str, np.ndarray], Gather] | None:
    """Returns a source's arrays and the function that slices batches from them on the device.

    None if the source has no such form (:func:`jaxdl.data.combine.compact_form`) or should not
    be resident; see :func:`resident_arrays`.
    """
    if not _takes_rows(loader):
        return None
    form = compact_form(loader.source)
    if form is None:
        return None
    size, (memory, _) = sum(array.nbytes for array in form[0].values()), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples are cut on the device from {size / 1e6:,.1f} MB; "
        "Loader(resident=False) reads them every epoch"
    )
    return form


def resident_arrays(
    loader: Loader, say: Say, ignore_label: int | None = IGNORE_LABEL
) -> dict[str, np.ndarray] | None:
    """Loads the whole source of a loader if it should be resident on the device; else None.

    If ``loader.resident`` is None, sources of stored data (arrays and files, but not sources
    mapped through a function, which may be random) are resident if they take at most
    :data:`RESIDENT_SHARE` of the device's memory.

    Args:
        loader: with ``resident`` True, False or None.
        say: logs the decision.
        ignore_label: class label that may be out of range.

    Raises:
        ValueError: ``resident`` is True, but batches are not rows of the source.
    """
    if not _takes_rows(loader) or (loader.resident is None and not is_stored(loader.source)):
        return None
    size, (memory, _) = size_in_bytes(loader.source), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples ({size / 1e6:,.1f} MB) are read once and stay on the "
        "device; Loader(resident=False) reads them every epoch"
    )
    arrays = source_to_arrays(loader.source, max_bytes=memory)
    _checks.check_data(arrays, ignore_label=ignore_label)
    return arrays


def _takes_rows(loader: Loader) -> bool:
    """Returns True if every batch consists of rows of an indexable source."""
    given = {
        "collate_fn": loader.collate_fn is not None,
        "batch_sampler": loader.batch_sampler is not None,
        "shard": loader.share[1] != 1,
    }
    names = given_names(given)
    if loader.resident and names:
        raise ValueError(f"resident=True and {names} are mutually exclusive.")
    return not (loader.resident is False or loader.is_iterable or names)


class StreamedBatches:
    """Batches of a loader, transferred while the device computes earlier ones.

    Args:
        step: the training step.
        state: initial state.
        loader: the loader; its last batch is padded unless the step does not respect ``mask``.
        num_epochs: number of epochs that the workers prepare.
        fingerprint: see :class:`Batches`.
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
        return state, stacked, finite_losses(stacked) and bool(_compiled_all_finite(state))

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


def agreed(name: str, value: int | None, loader: Loader) -> int:
    """Returns the loader's batch size; raises ValueError if ``value`` differs from it."""
    if value is not None and value != loader.size:
        raise ValueError(f"{name} is {value}, but the loader's is {loader.size}: omit it.")
    return loader.size
