"""How batches come to the step; here, from arrays on the device."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checkpoint, checks, tree
from jaxdl.data.batches import epoch_order, num_batches, take
from jaxdl.types import Array, Batch, PyTree, StepFn

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
        step: StepFn,
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


def from_arrays(step: StepFn, data: Batch, batch_size: int, key: Array) -> Resident:
    """The feed of plain arrays, shuffled by :func:`jaxdl.data.epoch_order`."""
    number = checks.check_data(data)
    num_batches(number, batch_size)  # checks
    fingerprint = {
        "batch size": batch_size,
        "number of examples": number,
        "order key": np.asarray(jax.random.key_data(key)).tolist(),
    }
    return Resident(
        step,
        data,
        lambda epoch: _compiled_order(key, epoch, number, batch_size),
        number,
        fingerprint,
    )


def _steps(
    step: StepFn,
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


def _step_by_step(step: StepFn, state: PyTree, data: Batch, order: Array, number: int) -> Advance:
    def one_step(state: PyTree, data: Batch, order: Array, index: Array) -> tuple[PyTree, Any]:
        return step(state, take(data, order, index, number))

    compiled = jax.jit(one_step, donate_argnums=0).lower(state, data, order, np.int32(0)).compile()
    check = jax.jit(tree.all_finite)

    def advance(state: PyTree, data: Batch, order: Array, start: int, stop: int) -> Advanced:
        results = []
        state = checkpoint.copy(state)  # to be donated
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
