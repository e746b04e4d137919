"""The few types that every part of jaxdl shares.

State is one pytree; everything else is a function of it. A :class:`TrainState` holds no optimizer,
model or function, so any state can be jitted, vmapped, sharded, saved and compared.
"""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jaxdl._text import plural

Array = jax.Array
PyTree = Any

IGNORE_LABEL = -100
"""Label that is excluded from the loss and all metrics; PyTorch's ``ignore_index``."""

Batch = Mapping[str, Array]
"""Named arrays with a leading batch axis: ``"image"`` (B, H, W, C), ``"label"`` (B,) int32, …

An optional ``"mask"`` (B,) or (B, T, ...) is 1 for a real example or token and 0 for padding.
"""


class Mean(NamedTuple):
    """A mean that has not been divided yet: sums add across batches and devices.

    Attributes:
        total: sum of the values, weighted by their mask; float32, shape ().
        count: sum of the mask, the number of real examples; float32, shape ().

    >>> batches = [Mean(6.0, 2.0), Mean(3.0, 1.0)]  # the second batch has one real example
    >>> total, count = map(sum, zip(*batches))
    >>> total / count
    3.0
    """

    total: Array
    count: Array  # type: ignore[assignment]  # tuple.count gives way to the statistic


Metrics = Mapping[str, Mean | Array]
"""Named additive statistics: a :class:`Mean`, or an array of counts such as a confusion matrix."""


Row = dict[str, Any]
"""A row of a history: floats, counts and arrays by name."""


@flax.struct.dataclass
class TrainState:
    """Everything that training changes, and nothing else.

    Attributes:
        step: number of updates made so far; int32, shape ().
        params: trainable parameters.
        model_state: all other variable collections (``batch_stats``, …); may be empty.
        opt_state: the state of the Optax transformation.
        key: root PRNG key; it never advances. A step's key is ``fold_in(key, step)``.

    >>> TrainState(jnp.array(7), {"w": jnp.zeros((3, 2))}, {}, (), jax.random.key(0))
    TrainState: step 7
      params: 6 values in 1 array
      model_state: empty
      opt_state: empty
    """

    step: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    key: Array

    def __repr__(self) -> str:
        return describe_state(self)


def describe_state(state: Any) -> str:
    """A state in a few lines: its step, and the number of values in every other field but the key.

    The arrays may be traced, deleted, or only forms.
    """
    lines = [type(state).__name__]
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if field.name == "step":
            lines[0] += f": step {_describe_step(value)}"
        elif dataclasses.is_dataclass(value):
            first, *rest = describe_state(value).splitlines()
            lines += [f"  {field.name}: {first}", *(f"  {line}" for line in rest)]
        elif field.name != "key":
            lines.append(f"  {field.name}: {_describe_leaves(jax.tree.leaves(value))}")
    return "\n".join(lines)


def _describe_step(step: Any) -> str:
    concrete = isinstance(step, jax.Array) and not isinstance(step, jax.core.Tracer)
    if concrete and (step.is_deleted() or step.ndim):
        return f"{step.dtype}{list(step.shape)}"
    return str(step)


def _describe_leaves(leaves: list[Any]) -> str:
    if not leaves:
        return "empty"
    number = sum(math.prod(getattr(leaf, "shape", ())) for leaf in leaves)
    return f"{plural(number, 'value')} in {plural(len(leaves), 'array')}"


class LossFn(Protocol):
    """A loss function, the argument of :func:`jaxdl.train.make_step` and ``make_eval``.

    It is called as ``loss_fn(params, model_state, batch, key=key, train=train)`` and returns
    ``(loss, (model_state, metrics))``:

    * ``params`` are differentiated. ``model_state`` holds the other variable collections of the
      model, such as ``batch_stats``, and may be empty; the new one has the same structure.
    * ``batch`` may hold a ``"mask"``: 0 for the padding of a ragged last batch, which must not
      count. ``metrics.mean(values, batch.get("mask"))`` takes values that are not reduced.
    * ``key`` is new in every step; split it for several random draws. ``train`` is False in
      evaluation.
    * ``loss`` is a scalar. ``metrics`` are sums, added over batches before they are divided:
      a :class:`Mean` each, or an array of counts. A plain scalar is refused.

    :func:`jaxdl.train.apply_model` does variables, random streams, and mutable collections:

    >>> import jax.numpy as jnp, optax
    >>> from jaxdl import losses, metrics, models, train
    >>> model = models.MLP((8, 4), dropout_rate=0.1)
    >>> def loss_fn(params, model_state, batch, *, key, train):
    ...     noise_key, dropout_key = jax.random.split(key)
    ...     x = batch["image"].astype(jnp.float32) / 255
    ...     if train:
    ...         x += 0.1 * jax.random.normal(noise_key, x.shape)
    ...     mask = batch.get("mask")
    ...     logits, model_state = apply_model(
    ...         model, params, model_state, x, mask=mask, key=dropout_key, train=train
    ...     )
    ...     loss = metrics.mean(losses.cross_entropy(logits, batch["label"]), mask)
    ...     accuracy = metrics.mean(metrics.accuracy(logits, batch["label"]), mask)
    ...     return loss.total / loss.count, (model_state, {"loss": loss, "accuracy": accuracy})
    >>> apply_model, tx = train.apply_model, optax.sgd(0.1)
    >>> state = train.init_state(model, tx, 0, jnp.zeros((1, 8, 8, 1)))
    >>> batch = {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8), "label": jnp.arange(4)}
    >>> state, values = jax.jit(train.make_step(loss_fn, tx))(state, batch)
    >>> int(state.step), float(values["loss"].count)
    (1, 4.0)
    """

    def __call__(
        self, params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """The loss, shape (), with the new model state and the metrics."""


UpdateFn = Callable[[PyTree, Batch], tuple[PyTree, Metrics]]
"""``(state, batch) -> (state, metrics)``; the state has a ``step`` field and keeps its form."""

EvalFn = Callable[[PyTree, Batch], Metrics]
"""``(state, batch) -> metrics``; the state does not change."""


def call_options(model: nn.Module, *, train: bool, mask: Array | None = None) -> dict[str, Any]:
    """The keyword arguments among train, deterministic and mask that a model's call takes.

    >>> call_options(nn.Dropout(0.5), train=True)
    {'deterministic': False}
    """
    parameters = inspect.signature(type(model).__call__).parameters.values()
    names = {parameter.name for parameter in parameters}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    options: dict[str, Any] = {}
    if "train" in names or (takes_any and "deterministic" not in names):
        options["train"] = train
    if "deterministic" in names:
        options["deterministic"] = not train
    if "mask" in names:
        options["mask"] = mask
    return options


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """The model inside a loss function and the part of a batch that it reads.

    Attributes:
        model: Linen module.
        inputs: ``batch -> x``, the argument of the model's call, or a tuple of arguments; pure.
        image: name of the raw inputs in the batch, the first one of several.
        label: name of the targets in the batch, the first one of several.
        ignore_label: class label excluded from the loss and all metrics, or None.

    >>> network = Network(nn.Dense(1), lambda batch: batch["x"] / 255, image="x", label="y")
    >>> network.inputs({"x": 51.0})
    0.2
    """

    model: nn.Module
    inputs: Callable[[Batch], PyTree]
    image: str = "image"
    label: str = "label"
    ignore_label: int | None = IGNORE_LABEL

    def arguments(self, batch: Batch) -> tuple[PyTree, ...]:
        """The positional arguments of the model's call."""
        inputs = self.inputs(batch)
        return inputs if isinstance(inputs, tuple) else (inputs,)

    def options(self, batch: Batch) -> dict[str, Any]:
        """The keyword arguments of the model's call in an evaluation."""
        return call_options(self.model, train=False, mask=batch.get("mask"))

    def outputs(self, state: PyTree, batch: Batch) -> PyTree:
        """The outputs of the model for a batch, as in an evaluation."""
        variables = {"params": state.params, **state.model_state}
        return self.model.apply(variables, *self.arguments(batch), **self.options(batch))


@dataclasses.dataclass(frozen=True, eq=False)
class Loss:
    """A :class:`LossFn` with the network in it; called like the function.

    Attributes:
        fn: the loss function.
        network: the model that it calls; watching and error messages look into it.

    >>> def mse(params, model_state, batch, *, key, train): ...
    >>> loss_fn = Loss(mse, Network(nn.Dense(1), lambda batch: batch["x"], "x", "y"))
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
    """One update, with optional parts for inspection; called like its ``update``.

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

    @property
    def ignore_label(self) -> int | None:
        """Class label excluded from the loss and all metrics, or None."""
        return IGNORE_LABEL if self.network is None else self.network.ignore_label

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

    >>> eval_step = EvalStep(lambda state, batch: {"loss": Mean(state, 1.0)})
    >>> eval_step(0.5, {})["loss"].total
    0.5
    """

    fn: EvalFn
    network: Network | None = None

    @property
    def ignore_label(self) -> int | None:
        """Class label excluded from the loss and all metrics, or None."""
        return IGNORE_LABEL if self.network is None else self.network.ignore_label

    def __call__(self, state: PyTree, batch: Batch) -> Metrics:
        """The metrics of the batch."""
        return self.fn(state, batch)


def as_key(key: Array | int) -> Array:
    """A PRNG key: the one given, or that of an integer seed, traced or not.

    >>> bool(as_key(3) == jax.random.key(3))
    True
    """
    is_seed = jnp.ndim(key) == 0 and jnp.issubdtype(jax.dtypes.result_type(key), jnp.integer)
    return jax.random.key(key) if is_seed else jnp.asarray(key)


def as_loss(loss_fn: LossFn) -> Loss:
    """A loss function as a :class:`Loss`.

    >>> def mse(params, model_state, batch, *, key, train): ...
    >>> as_loss(mse).network is None
    True
    """
    return loss_fn if isinstance(loss_fn, Loss) else Loss(loss_fn)


def as_step(step: Step | UpdateFn) -> Step:
    """A step or a bare function as a :class:`Step`; ``jax.jit(step)`` keeps its other fields.

    >>> as_step(lambda state, batch: (state + 1, {}))(0, {})
    (1, {})
    """
    if isinstance(step, Step):
        return step
    inner = getattr(step, "__wrapped__", None)
    return dataclasses.replace(inner, update=step) if isinstance(inner, Step) else Step(step)


def as_eval_step(eval_step: EvalStep | EvalFn) -> EvalStep:
    """An evaluation step or a bare function as an :class:`EvalStep`; see :func:`as_step`.

    >>> as_eval_step(lambda state, batch: {"loss": Mean(state, 1.0)})(0.5, {})
    {'loss': Mean(total=0.5, count=1.0)}
    """
    if isinstance(eval_step, EvalStep):
        return eval_step
    inner = getattr(eval_step, "__wrapped__", None)
    if isinstance(inner, EvalStep):
        return dataclasses.replace(inner, fn=eval_step)
    return EvalStep(eval_step)
