"""One update, one evaluation, and the loss of a supervised model: pure functions of a state."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import losses, optim
from jaxdl.metrics import mean
from jaxdl.types import (
    IGNORE_LABEL,
    Array,
    Batch,
    EvalStep,
    Loss,
    LossFn,
    Mean,
    Metrics,
    Network,
    PyTree,
    Step,
    TrainState,
    as_loss,
)


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
    variables = init_variables(model, params_key, *inputs)
    params = variables.pop("params")
    return TrainState(jnp.zeros((), jnp.int32), params, variables, tx.init(params), root_key)


def init_variables(model: nn.Module, key: Array, *inputs: Any) -> dict[str, Any]:
    """A model's first variables. Of the inputs only shapes and dtypes count; no output is made."""
    forms = jax.eval_shape(lambda *inputs: inputs, *inputs)
    return dict(model.lazy_init(key, *forms, train=False))


def make_step(loss_fn: LossFn, tx: optax.GradientTransformation) -> Step:
    """An update step: gradient of the loss, transformed by ``tx``, added to the parameters.

    The key of a step is ``fold_in(state.key, state.step)``: nothing is carried, so a resumed run
    draws the dropout masks of the one that was never stopped. Where ``tx`` is one of
    :func:`jaxdl.optim.mixed_precision`, the loss function gets parameters in half precision.
    ``tx.update`` gets the extra arguments ``value``, ``grad`` and ``value_fn`` of the batch, for
    line searches and the like (``optax.lbfgs``, ``optax.polyak_sgd``).

    Args:
        loss_fn: see :class:`~jaxdl.types.LossFn`; called with ``train=True``.
        tx: Optax transformation, the one whose state ``state.opt_state`` is.

    Returns:
        a :class:`~jaxdl.types.Step`, ``(state, batch) -> (state, metrics)``, with ``gradients``,
        and with the ``network`` of the loss function where it has one.
    """

    def make_objective(state: TrainState, batch: Batch) -> Callable[[PyTree], tuple[Array, PyTree]]:
        """The scaled loss as a function of the parameters, with (model state, metrics)."""
        key = jax.random.fold_in(state.key, state.step)
        dtype, loss_scale = optim.precision.compute_precision(state.opt_state)

        def objective(params: PyTree) -> tuple[Array, tuple[PyTree, Metrics]]:
            if dtype is None:
                return loss_fn(params, state.model_state, batch, key=key, train=True)
            params = jax.tree.map(lambda leaf: _cast(leaf, dtype), params)
            loss, aux = loss_fn(params, state.model_state, batch, key=key, train=True)
            return loss.astype(jnp.float32) * loss_scale, aux

        return objective

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        objective = make_objective(state, batch)
        (value, aux), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
        _, loss_scale = optim.precision.compute_precision(state.opt_state)

        def value_fn(params: PyTree) -> Array:
            return make_objective(state, batch)(params)[0] / loss_scale

        params, opt_state = apply_gradients(
            tx,
            gradients,
            state.opt_state,
            state.params,
            value=value / loss_scale,
            grad=gradients,
            value_fn=value_fn,
        )
        model_state, metrics = aux
        return TrainState(state.step + 1, params, model_state, opt_state, state.key), metrics

    def gradients(state: TrainState, batch: Batch) -> PyTree:
        _, loss_scale = optim.precision.compute_precision(state.opt_state)
        scaled, _ = jax.grad(make_objective(state, batch), has_aux=True)(state.params)
        return jax.tree.map(lambda g: g / loss_scale, scaled)

    return Step(update, gradients, as_loss(loss_fn).network)


def apply_gradients(
    tx: optax.GradientTransformation,
    gradients: PyTree,
    opt_state: PyTree,
    params: PyTree,
    **extra_args: Any,
) -> tuple[PyTree, PyTree]:
    """The parameters and the optimizer state after one update.

    Args:
        tx: Optax transformation.
        gradients: in the form of ``params``.
        opt_state: its state.
        params: the parameters.
        **extra_args: for transformations that take them; see ``optax.with_extra_args_support``.

    Raises:
        ValueError: ``tx`` takes an extra argument that is not among these.
    """
    try:
        tx = optax.with_extra_args_support(tx)
        updates, opt_state = tx.update(gradients, opt_state, params, **extra_args)
    except TypeError as error:
        missing = re.search(r"missing .*keyword-only arguments?: (.*)", str(error))
        if missing is None:
            raise
        passed = f"only {', '.join(extra_args)}" if extra_args else "no extra argument"
        raise ValueError(
            f"the optimizer takes the extra argument {missing[1]}, and this step passes {passed}: "
            "choose another optimizer or write a step that calls tx.update with it."
        ) from error
    return optax.apply_updates(params, updates), opt_state


def _cast(leaf: Array, dtype: Any) -> Array:
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def make_eval(loss_fn: LossFn, *, averaged: bool = False) -> EvalStep:
    """The loss function's metrics with ``train=False``: running statistics, no dropout, float32.

    Args:
        loss_fn: see :class:`~jaxdl.types.LossFn`.
        averaged: evaluate the average of the weights that :func:`jaxdl.optim.ema` or
            :func:`jaxdl.optim.swa` keeps, not the weights themselves.

    Returns:
        an :class:`~jaxdl.types.EvalStep`, ``(state, batch) -> metrics``. Random numbers of an
        evaluation, such as a VAE's codes, are drawn with ``fold_in(state.key, state.step)``;
        :func:`jaxdl.train.evaluate` gives every batch its own ``state.key``.
    """

    def eval_fn(state: TrainState, batch: Batch) -> Metrics:
        key = jax.random.fold_in(state.key, state.step)
        params = optim.averaged_params(state.opt_state) if averaged else state.params
        _, (_, metrics) = loss_fn(params, state.model_state, batch, key=key, train=False)
        return metrics

    return EvalStep(eval_fn, as_loss(loss_fn).network)


def of_batch(state: PyTree, index: Any) -> PyTree:
    """The state as an evaluation shows it to its batch of that index: with a key of its own."""
    if not (dataclasses.is_dataclass(state) and hasattr(state, "key")):
        return state
    return dataclasses.replace(state, key=jax.random.fold_in(state.key, index))  # type: ignore[type-var]


def apply_model(
    model: nn.Module,
    params: PyTree,
    model_state: PyTree,
    *inputs: Array,
    mask: Array | None,
    key: Array,
    train: bool,
) -> tuple[Any, PyTree]:
    """Outputs and new model state; a model whose call has a ``mask`` parameter gets the mask."""
    takes_mask = "mask" in inspect.signature(type(model).__call__).parameters
    options: dict[str, Any] = {"mask": mask} if takes_mask else {}
    return model.apply(
        {"params": params, **model_state},
        *inputs,
        train=train,
        mutable=list(model_state),
        rngs={"dropout": key},
        **options,
    )


def supervised(
    model: nn.Module,
    loss: Callable[[Any, Array], Array],
    *,
    metrics: Mapping[str, Callable[[Any, Array], Array]] | None = None,
    preprocess: Callable[[Array], Array] | None = None,
    augment: Callable[[Array, Array], Array] | None = None,
    mix: Callable[[Array, Array], tuple[Array, Array, Array]] | None = None,
    weights: Callable[[Array], Array] | None = None,
    penalty: Callable[[PyTree], Array] | None = None,
    ignore_label: int = IGNORE_LABEL,
    inputs: str = "image",
    targets: str = "label",
) -> Loss:
    """The loss function of a model that maps inputs to outputs which are compared with targets.

    Args:
        model: Linen module, ``model(x, train=...)``. A model whose call has a ``mask`` parameter
            (one with BatchNorm, say) also gets the batch's mask, so that padding stays out of its
            statistics.
        loss: ``(outputs, targets (B, ...)) -> (B,)`` losses, or (B, T) for tokens.
        metrics: more functions of the same kind, by name, ``{"accuracy": accuracy}``.
        preprocess: applied to the inputs of every batch, on the device.
        augment: ``(key, example) -> example``, applied to every example with a key of its own, in
            training only, before ``preprocess``.
        mix: ``(key, inputs) -> (inputs, partner (B,), weight)``, in training only, after
            ``preprocess``: :func:`jaxdl.transforms.mixup` or ``cutmix``. The loss is
            ``weight`` times that of an example's own target and the rest of its partner's.
        weights: ``targets -> (B,)``, by whose sum the loss is divided;
            :func:`jaxdl.losses.label_weights` for classes of unequal weight. By default every
            example counts 1, and one whose label is ``ignore_label`` nothing.
        penalty: ``params -> ()``, added to the loss that is differentiated, in training only:
            :func:`jaxdl.losses.l1_penalty`. The metric ``loss`` is without it.
        ignore_label: the integer target that counts in no mean. Give the loss the same one where
            it is not -100: ``partial(losses.cross_entropy, ignore_label=0)``.
        inputs: name of the inputs in the batch.
        targets: name of the targets in the batch.

    Returns:
        a :class:`~jaxdl.types.Loss`: the masked mean of the losses, the new model state, and the
        metrics ``"loss"`` and those given, as :class:`~jaxdl.types.Mean`.
    """
    per_example = {"loss": loss, **(metrics or {})}

    def loss_fn(
        params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        x, y, mask = batch[inputs], batch[targets], batch.get("mask")
        dropout_key, augment_key = jax.random.split(key)
        partner, share = None, None
        if train and augment is not None:
            x = jax.vmap(augment)(jax.random.split(augment_key, x.shape[0]), x)
        if preprocess is not None:
            x = preprocess(x)
        if train and mix is not None:
            x, partner, share = mix(jax.random.fold_in(augment_key, 1), x)
        x = _cast(x, dtype) if (dtype := _half(params)) is not None else x
        outputs, model_state = apply_model(
            model, params, model_state, x, mask=mask, key=dropout_key, train=train
        )
        if dtype is not None:
            outputs = jax.tree.map(lambda leaf: _cast(leaf, jnp.float32), outputs)
        results: dict[str, Mean] = {}
        for name, function in per_example.items():
            values = function(outputs, y)
            if values.ndim == 0 or values.shape != y.shape[: values.ndim]:
                expected = f"({y.shape[0]})" if y.ndim == 1 else f"({y.shape[0]}) or {y.shape}"
                raise ValueError(
                    f"per-example {name} must have shape {expected}, got {values.shape}: losses "
                    "and metrics are not reduced."
                )
            counted = _counted(y, mask, ignore_label) if values.shape == y.shape else mask
            if name == "loss" and partner is not None and share is not None:
                values = losses.with_mixed_labels(function, outputs, y, y[partner], share)
            results[name] = mean(values, counted)
            if name == "loss" and weights is not None:
                results[name] = results[name]._replace(count=mean(weights(y), counted).total)
        total, count = results["loss"]
        value = total / count
        if train and penalty is not None:
            value = value + penalty(params)
        return value, (model_state, results)

    def read(batch: Batch) -> Array:
        return batch[inputs] if preprocess is None else preprocess(batch[inputs])

    return Loss(loss_fn, Network(model, read, inputs, targets))


def _counted(targets: Array, mask: Array | None, ignore_label: int) -> Array | None:
    """The mask without the targets that are to be ignored; None where all count."""
    if not jnp.issubdtype(targets.dtype, jnp.signedinteger):
        return mask
    labelled = (targets != ignore_label).astype(jnp.float32)
    if mask is None:
        return labelled
    return labelled * mask.reshape(mask.shape + (1,) * (labelled.ndim - mask.ndim))


def _half(params: PyTree) -> Any:
    """The dtype of parameters in half precision, else None."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(params)}
    return next((dtype for dtype in dtypes if dtype in (jnp.bfloat16, jnp.float16)), None)
