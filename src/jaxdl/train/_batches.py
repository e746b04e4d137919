"""Batch sources for the training loop."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, metrics, tree
from jaxdl._machine import device_memory
from jaxdl.data._prefetch import check_numeric, put_on_devices
from jaxdl.data.collate import epoch_order, num_batches, take
from jaxdl.data.combine import size_in_bytes, source_to_arrays
from jaxdl.data.loader import Loader, given_names
from jaxdl.data.source import ArraySource
from jaxdl.train.step import of_batch
from jaxdl.types import Array, Batch, EvalFn, PyTree, Step, UpdateFn

MAX_CHUNK = 1024
"""Most steps between two looks of the host at the device; the size of the metrics buffer."""


Advanced = tuple[PyTree, Any, bool]


Advance = Callable[[PyTree, Batch, Array, int, int], Advanced]


Indexed = tuple[Batch, np.ndarray | None]


class Feed(Protocol):
    """Batches for :func:`jaxdl.train.run`.

    Attributes:
        rows: batches of an epoch.
        num_examples: examples of an epoch.
        fingerprint: JSON values that a resumed run must share.
    """

    rows: int
    num_examples: int
    fingerprint: dict[str, Any]

    def form(self) -> Any:
        """Shapes and dtypes of a batch."""

    def compile(self, state: PyTree) -> None:
        """Compiles the step for this state, before the first :meth:`advance`."""

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        """Steps over batches ``start`` to ``stop``; gives state, stacked metrics, all finite.

        The state that it is given stays valid.
        """

    def again(self, epoch: int, start: int, stop: int) -> Iterator[Indexed]:
        """The same batches once more, with the indices of their examples where they have any."""

    def peek(self, epoch: int, start: int) -> Batch:
        """The batch with which the next :meth:`advance` begins."""

    def close(self) -> None:
        """Ends what reads ahead."""


class Resident:
    """Arrays on the device; a batch is gathered by index inside the compiled step.

    Args:
        step: the update.
        data: arrays (N, ...).
        order: epoch → (rows, B) int32 indices, on the device.
        num_examples: real examples of an epoch; the rest of the last batch is filling.
        fingerprint: see :class:`Feed`.
    """

    def __init__(
        self,
        step: UpdateFn,
        data: Batch,
        order: Callable[[int], Array],
        num_examples: int,
        fingerprint: dict[str, Any],
    ):
        self.step, self.data, self.num_examples = step, jax.device_put(dict(data)), num_examples
        self.fingerprint = fingerprint
        self._order_of, self._epoch, self._order = order, 0, order(0)
        self.rows = self._order.shape[0]
        self._stepped: Any = None

    def form(self) -> Any:
        return jax.eval_shape(
            lambda data, order: take(data, order, 0, self.num_examples), self.data, self._order
        )

    def compile(self, state: PyTree) -> None:
        """Compiles in the form that is quickest on this device.

        That is a loop on the device; but on CPU the gradients of XLA's own convolution are 10 to
        18 times slower inside a loop (jax-ml/jax#12868), so a step with one is called from Python.
        """
        zero = np.int32(0)
        arguments = (self.data, self._order, zero, zero, self.num_examples)
        traced = _compiled_steps.trace(self.step, state, *arguments)
        if jax.default_backend() == "cpu" and has_convolution(traced.jaxpr.jaxpr):
            self._stepped = _step_by_step(self.step, state, self.data, self._order, arguments[-1])
        else:
            _compiled_steps(self.step, state, *arguments)  # no step, but it compiles

    def _load(self, epoch: int) -> Array:
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._order_of(epoch)
        return self._order

    def advance(self, state: PyTree, epoch: int, start: int, stop: int) -> Advanced:
        order = self._load(epoch)
        if self._stepped is not None:
            return self._stepped(state, self.data, order, start, stop)
        state, buffer, finite = _compiled_steps(
            self.step, state, self.data, order, np.int32(start), np.int32(stop), self.num_examples
        )
        stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[: stop - start], buffer)
        return state, stacked, bool(finite)

    def again(self, epoch: int, start: int, stop: int) -> Iterator[Indexed]:
        order = self._load(epoch)
        for index in range(start, stop):
            yield take(self.data, order, index, self.num_examples), np.asarray(order[index])

    def peek(self, epoch: int, start: int) -> Batch:
        return _compiled_take(self.data, self._load(epoch), np.int32(start), self.num_examples)

    def close(self) -> None:
        pass


def from_arrays(step: Step, data: Batch, batch_size: int, key: Array) -> Resident:
    """The feed of plain arrays, shuffled by :func:`jaxdl.data.epoch_order`."""
    number = _checks.check_data(data)
    num_batches(number, batch_size)  # checks
    fingerprint = {
        "batch size": batch_size,
        "number of examples": number,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }
    return Resident(
        step.update,
        data,
        lambda epoch: _compiled_order(key, epoch, number, batch_size),
        number,
        fingerprint,
    )


def _steps(
    step: UpdateFn,
    state: PyTree,
    data: Batch,
    order: Array,
    start: Array,
    stop: Array,
    number: int,
) -> tuple[PyTree, Any, Array]:
    """Steps ``start`` to ``stop`` in one loop, which ends early where a metric is not finite."""
    form = jax.eval_shape(
        lambda state, data: step(state, take(data, order, 0, number))[1], state, data
    )
    buffer = jax.tree.map(lambda leaf: jnp.zeros((MAX_CHUNK, *leaf.shape), leaf.dtype), form)

    def unfinished(carry: tuple) -> Array:
        index, _, _, finite = carry
        return (index < stop) & finite

    def one_step(carry: tuple) -> tuple:
        index, state, buffer, _ = carry
        state, metrics = step(state, take(data, order, index, number))
        buffer = jax.tree.map(lambda all, one: all.at[index - start].set(one), buffer, metrics)
        return index + 1, state, buffer, tree.all_finite(metrics)

    initial = (start, state, buffer, jnp.array(True))
    _, state, buffer, finite = jax.lax.while_loop(unfinished, one_step, initial)
    # weights can break while the loss is still finite: a good state is finite as a whole
    return state, buffer, finite & tree.all_finite(state)


# not donated: the loop works on the state that it gives back, and the host may keep the old one
_compiled_steps = jax.jit(_steps, static_argnums=(0, 6))


def _step_by_step(step: UpdateFn, state: PyTree, data: Batch, order: Array, number: int) -> Advance:
    def one_step(state: PyTree, data: Batch, order: Array, index: Array) -> tuple[PyTree, Any]:
        return step(state, take(data, order, index, number))

    compiled = jax.jit(one_step, donate_argnums=0).lower(state, data, order, np.int32(0)).compile()
    check = jax.jit(tree.all_finite)

    def advance(state: PyTree, data: Batch, order: Array, start: int, stop: int) -> Advanced:
        results = []
        state = tree.copy(state)  # to be donated
        for index in range(start, stop):
            state, metrics = compiled(state, data, order, np.int32(index))
            results.append(metrics)
        stacked = stack(results)
        return state, stacked, all_finite_metrics(stacked) and bool(check(state))

    return advance


def all_finite_metrics(stacked: Any) -> bool:
    """Whether stacked metrics are finite; on the host, where their number of steps may vary."""
    return all(bool(np.isfinite(leaf).all()) for leaf in jax.tree.leaves(stacked))


def stack(results: list[Any]) -> Any:
    """Metrics of steps, brought to the host with a leading step axis."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(x) for x in leaves]), *results)


def has_convolution(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and has_convolution(inner):
                return True
    return False


_compiled_order = jax.jit(epoch_order, static_argnums=(2, 3))


_compiled_take = jax.jit(take, static_argnums=3)


RESIDENT_SHARE = 0.1
"""A loader's source stays on the device by itself if it takes no more of the device's memory."""


STEPS_AHEAD = 8
"""Streamed batches that may wait on the device for their step."""


def from_loader(step: Step, loader: Loader, num_epochs: int, say: Callable[[str], None]) -> Feed:
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
        return Streamed(step.update, loader, num_epochs, fingerprint)

    def order(epoch: int) -> Array:
        return jnp.asarray(loader.order(epoch), jnp.int32)

    return Resident(step.update, arrays, order, loader.num_examples, fingerprint)


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
    size, (memory, _) = size_in_bytes(loader.source), device_memory()
    if loader.resident is None and size > RESIDENT_SHARE * memory:
        return None
    say(
        f"{len(loader.source):,} examples ({size / 1e6:,.1f} MB) are read once and stay on the "
        "device; resident=False of the loader reads them anew every epoch"
    )
    arrays = source_to_arrays(loader.source, max_bytes=memory)
    _checks.check_data(arrays)
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

    def __init__(
        self, step: UpdateFn, loader: Loader, num_epochs: int, fingerprint: dict[str, Any]
    ):
        self.loader = padded(loader)
        self.num_epochs, self.fingerprint = num_epochs, fingerprint
        self.rows, self.num_examples = len(loader), loader.num_examples
        self._first = self.loader.first_batch()
        _checks.check_data(self._first)
        check_numeric(self._first)
        self._compiled = jax.jit(step, donate_argnums=0)
        self._finite = jax.jit(tree.all_finite)
        self._batches: Any = None
        self._peeked: Any = None
        self._next = -1

    def form(self) -> Any:
        return jax.eval_shape(lambda batch: batch, self._first)

    def compile(self, state: PyTree) -> None:
        self._compiled(tree.copy(state), jax.device_put(self._first))

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
        state = tree.copy(state)  # to be donated
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
    return batches if jax.default_backend() == "cpu" else put_on_devices(batches)


def _checked(batches: Any) -> Iterator[Batch]:
    with contextlib.closing(batches):
        for batch in batches:
            if "label" in batch:
                _checks.check_labels(batch["label"])
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
