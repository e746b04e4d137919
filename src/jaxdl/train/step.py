"""One update, one evaluation, and the loss of a supervised model: pure functions of a state."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl.checks import check_shape
from jaxdl.metrics import mean
from jaxdl.types import Array, Batch, EvalFn, LossFn, Mean, Metrics, PyTree, StepFn, TrainState


def init_state(
    model: nn.Module, tx: optax.GradientTransformation, key: Array, *inputs: Any
) -> TrainState:
    """Initial parameters, model state and optimizer state.

    Args:
        model: a Linen module called as ``model(*inputs, train=...)``.
        tx: Optax transformation.
        key: PRNG key; half of it draws the weights, the other becomes the state's root key.
        *inputs: example inputs as the model sees them (preprocessed); only shapes and dtypes count.

    Returns:
        a :class:`~jaxdl.types.TrainState` at step 0. Same key, same machine: same weights.
    """
    params_key, root_key = jax.random.split(key)
    variables = dict(model.init(params_key, *inputs, train=False))
    params = variables.pop("params")
    return TrainState(jnp.zeros((), jnp.int32), params, variables, tx.init(params), root_key)


def make_step(loss_fn: LossFn, tx: optax.GradientTransformation) -> StepFn:
    """An update step: gradient of the loss, transformed by ``tx``, added to the parameters.

    The key of a step is ``fold_in(state.key, state.step)``: nothing is carried, so a resumed run
    draws the dropout masks of the one that was never stopped.

    Args:
        loss_fn: see :class:`~jaxdl.types.LossFn`; called with ``train=True``.
        tx: Optax transformation, the one whose state ``state.opt_state`` is.

    Returns:
        ``step(state, batch) -> (state, metrics)``, with ``step.gradients(state, batch)`` beside it.
    """

    def differentiate(state: TrainState, batch: Batch) -> tuple[PyTree, PyTree, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            return loss_fn(params, state.model_state, batch, key=key, train=True)

        gradients, (model_state, metrics) = jax.grad(objective, has_aux=True)(state.params)
        return gradients, model_state, metrics

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradients, model_state, metrics = differentiate(state, batch)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, model_state, opt_state, state.key), metrics

    def gradients(state: TrainState, batch: Batch) -> PyTree:
        return differentiate(state, batch)[0]

    step.gradients = gradients  # type: ignore[attr-defined]
    return step


def make_eval(loss_fn: LossFn) -> EvalFn:
    """The loss function's metrics with ``train=False``: running statistics, no dropout.

    Returns:
        ``eval_fn(state, batch) -> metrics``.
    """

    def eval_fn(state: TrainState, batch: Batch) -> Metrics:
        key = jax.random.fold_in(state.key, state.step)
        _, (_, metrics) = loss_fn(state.params, state.model_state, batch, key=key, train=False)
        return metrics

    return eval_fn


def supervised(
    model: nn.Module,
    loss: Callable[[Array, Array], Array],
    *,
    metrics: Mapping[str, Callable[[Array, Array], Array]] | None = None,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    inputs: str = "image",
    targets: str = "label",
) -> LossFn:
    """The loss function of a model that maps inputs to outputs which are compared with targets.

    Args:
        model: Linen module, ``model(x, train=...)``. A model whose call has a ``mask`` parameter
            (one with BatchNorm, say) also gets the batch's mask, so that padding stays out of its
            statistics.
        loss: ``(outputs (B, ...), targets (B, ...)) -> (B,)`` losses.
        metrics: more per-example functions of the same kind, by name, ``{"accuracy": accuracy}``.
        preprocess: applied to the inputs of every batch, on the device.
        augment: ``(key, example) -> example``, applied to every example with a key of its own, in
            training only, before ``preprocess``.
        inputs: name of the inputs in the batch.
        targets: name of the targets in the batch.

    Returns:
        a :class:`~jaxdl.types.LossFn`: the masked mean of the losses, the new model state, and the
        metrics ``"loss"`` and those given, as :class:`~jaxdl.types.Mean`.
    """
    per_example = {"loss": loss, **(metrics or {})}
    takes_mask = "mask" in inspect.signature(type(model).__call__).parameters

    def loss_fn(
        params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        x, mask = batch[inputs], batch.get("mask")
        dropout_key, augment_key = jax.random.split(key)
        if train and augment is not None:
            x = jax.vmap(augment)(jax.random.split(augment_key, x.shape[0]), x)
        if preprocess is not None:
            x = preprocess(x)
        options: dict[str, Any] = {"train": train} | ({"mask": mask} if takes_mask else {})
        outputs, model_state = model.apply(
            {"params": params, **model_state},
            x,
            mutable=list(model_state),
            rngs={"dropout": dropout_key},
            **options,
        )
        results: dict[str, Mean | Array] = {}
        for name, function in per_example.items():
            values = function(outputs, batch[targets])
            check_shape(f"per-example {name}", values, (x.shape[0],))
            results[name] = mean(values, mask)
        total, count = results["loss"]
        return total / count, (model_state, results)

    return loss_fn
