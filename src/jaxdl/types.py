"""The few types that every part of jaxdl shares.

State is one pytree; everything else is a function of it. A :class:`TrainState` holds no optimizer,
model or function, so any state can be jitted, vmapped, sharded, saved and compared.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import flax.struct
import jax

Array = jax.Array
PyTree = Any

IGNORE_LABEL = -100
"""A label that counts nowhere: not in the loss, not in a metric; PyTorch's ``ignore_index``."""

Batch = Mapping[str, Array]
"""Named arrays with a leading batch axis: ``"image"`` (B, H, W, C), ``"label"`` (B,) int32, …

An optional ``"mask"`` (B,) float32 is 1 for a real example and 0 for padding.
"""


class Mean(NamedTuple):
    """A mean that has not been divided yet: sums add across batches and devices.

    Attributes:
        total: sum of the values, weighted by their mask; float32, shape ().
        count: sum of the mask, the number of real examples; float32, shape ().
    """

    total: Array
    count: Array  # type: ignore[assignment]  # tuple.count gives way to the statistic


Metrics = Mapping[str, Mean | Array]
"""Named additive statistics: a :class:`Mean`, or an array of counts such as a confusion matrix."""


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and nothing else.

    Attributes:
        step: number of updates made so far; int32, shape ().
        params: trainable parameters.
        model_state: every other variable collection of the model (``batch_stats``, …), perhaps {}.
        opt_state: the state of the Optax transformation.
        key: root PRNG key; it never advances. A step's key is ``fold_in(key, step)``.
    """

    step: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: Array


class LossFn(Protocol):
    """A loss to differentiate, with the new model state and metrics as its auxiliary output."""

    def __call__(
        self, params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]: ...


UpdateFn = Callable[[PyTree, Batch], tuple[PyTree, Metrics]]
"""``(state, batch) -> (state, metrics)``; the state has a ``step`` field and keeps its form."""

EvalFn = Callable[[PyTree, Batch], Metrics]
"""``(state, batch) -> metrics``; the state does not change."""


class Network(NamedTuple):
    """The model inside a loss function and the part of a batch that it reads.

    Attributes:
        model: Linen module.
        inputs: ``batch -> x``, the argument of the model's call; pure.
        image: name of the raw inputs in the batch.
        label: name of the targets in the batch.
        options: keyword arguments of the model's call outside of training.
    """

    model: nn.Module
    inputs: Callable[[Batch], PyTree]
    image: str = "image"
    label: str = "label"
    options: Mapping[str, Any] = {"train": False}  # never changed

    def outputs(self, state: PyTree, batch: Batch) -> PyTree:
        """The outputs of the model for a batch, as in an evaluation."""
        variables = {"params": state.params, **state.model_state}
        return self.model.apply(variables, self.inputs(batch), **self.options)


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """A :class:`LossFn` with the network in it; called like the function.

    Attributes:
        fn: the loss function.
        network: the model that it calls; watching and error messages look into it.

    >>> def mse(params, model_state, batch, *, key, train): ...
    >>> loss_fn = Loss(mse, Network(nn.Dense(1), lambda batch: batch["x"], "x", "y", options={}))
    """

    fn: LossFn
    network: Network | None = None

    def __call__(
        self, params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """See :class:`LossFn`."""
        return self.fn(params, model_state, batch, key=key, train=train)


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One update, with functions for those who look inside; called like its ``update``.

    A bare function is a step too. To change the update of a step and keep the rest, use
    ``dataclasses.replace(step, update=...)``. Steps are compared and hashed by identity.

    Attributes:
        update: ``(state, batch) -> (state, metrics)``. The state is any pytree with a ``step``
            field and keeps its structure, shapes, and dtypes.
        gradients: ``(state, batch) -> gradients``; :func:`jaxdl.train.run` names the largest one
            when a loss stops being finite.
        network: the model in the loss.

    >>> step = Step(lambda state, batch: (state, {}))
    >>> step(0, {})
    (0, {})
    """

    update: UpdateFn
    gradients: Callable[[PyTree, Batch], PyTree] | None = None
    network: Network | None = None

    def __call__(self, state: PyTree, batch: Batch) -> tuple[PyTree, Metrics]:
        """The state after the update, and the metrics of the batch."""
        return self.update(state, batch)


@dataclasses.dataclass(frozen=True, eq=False)
class EvalStep:
    """The metrics of one batch, with the network that is evaluated; called like its ``fn``.

    A bare function is an evaluation step too.

    Attributes:
        fn: ``(state, batch) -> metrics``.
        network: the model that is evaluated.
    """

    fn: EvalFn
    network: Network | None = None

    def __call__(self, state: PyTree, batch: Batch) -> Metrics:
        """The metrics of the batch."""
        return self.fn(state, batch)


def as_loss(loss_fn: LossFn) -> Loss:
    """A loss function as a :class:`Loss`."""
    return loss_fn if isinstance(loss_fn, Loss) else Loss(loss_fn)


def as_step(step: Step | UpdateFn) -> Step:
    """A step or a bare function as a :class:`Step`; ``jax.jit(step)`` keeps its other fields."""
    if isinstance(step, Step):
        return step
    inner = getattr(step, "__wrapped__", None)
    return dataclasses.replace(inner, update=step) if isinstance(inner, Step) else Step(step)


def as_eval_step(eval_step: EvalStep | EvalFn) -> EvalStep:
    """An evaluation step or a bare function as an :class:`EvalStep`; see :func:`as_step`."""
    if isinstance(eval_step, EvalStep):
        return eval_step
    inner = getattr(eval_step, "__wrapped__", None)
    if isinstance(inner, EvalStep):
        return dataclasses.replace(inner, fn=eval_step)
    return EvalStep(eval_step)
