"""One update, one evaluation, and the loss of a supervised model: pure functions of a state."""

import dataclasses
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.core import DenyList

from jaxdl import optim, transforms
from jaxdl.data.loader import Loader
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
    as_key,
    as_loss,
    call_options,
)

Transform = Callable[[Array], Array]
"""Arrays (B, ...) → arrays (B, ...)."""

Augment = Callable[[Array, Array], Array]
"""``(key, example) -> example``."""

PerExample = Callable[[PyTree, PyTree], Array]
"""``(outputs, targets) -> values (B,)``, or (B, T) for tokens."""

Result = tuple[Array, tuple[PyTree, Metrics]]
"""Loss, new model state and metrics."""

Mixed = tuple[Array, Array]
"""Partner (B,) of every example, and the weight of the example's target."""

SOWN = "losses"
"""The collection of the losses that a model sows."""


def init_state(
    model: nn.Module | Loss,
    tx: optax.GradientTransformation,
    key: Array | int,
    *inputs: PyTree,
) -> TrainState:
    """Initializes the parameters, model state, and optimizer state.

    Args:
        model: a Linen module, called as ``model(*inputs)``, with ``train=False`` if it has that
            argument; or a loss function of :func:`supervised`, which defines the model, names, and
            preprocessing.
        tx: Optax transformation.
        key: PRNG key or integer seed; half of it draws the weights, the other becomes the state's
            root key.
        *inputs: example inputs as the model sees them (preprocessed); for a loss function, the
            data: arrays (N, ...) by name, or a loader. Only shapes and dtypes matter.

    Returns:
        a :class:`~jaxdl.types.TrainState` at step 0. Same key, same machine: same weights.

    Raises:
        ValueError: a loss function without a model, or data that lack its inputs.

    >>> from jaxdl import losses, models, train
    >>> model, tx = models.MLP((3,)), optax.sgd(0.1)
    >>> state = init_state(model, tx, 0, jnp.zeros((1, 4)))
    >>> loss_fn = train.supervised(model, losses.cross_entropy)
    >>> same = init_state(loss_fn, tx, 0, {"image": jnp.zeros((20, 4)), "label": jnp.zeros(20)})
    >>> bool((state.params["Dense_0"]["kernel"] == same.params["Dense_0"]["kernel"]).all())
    True
    """
    if isinstance(model, Loss):
        model, inputs = _read_loss(model, inputs)
    params_key, root_key = jax.random.split(as_key(key))
    variables = init_variables(model, params_key, *inputs)
    params = variables.pop("params", {})
    return TrainState(jnp.zeros((), jnp.int32), params, variables, tx.init(params), root_key)


def _read_loss(loss_fn: Loss, data: tuple[PyTree, ...]) -> tuple[nn.Module, tuple[PyTree, ...]]:
    """Returns the model of a loss function and the shapes of its inputs for some data."""
    if loss_fn.network is None:
        raise ValueError("the loss function has no network: pass init_state its model and inputs.")
    batch = data[0] if len(data) == 1 else None
    if isinstance(batch, Loader):
        batch = batch.first_batch()
    if not isinstance(batch, Mapping):
        raise ValueError(
            "with a loss function, init_state takes the data: arrays by name, such as "
            f"{{'image': ...}}, or a loader; got {', '.join(type(x).__name__ for x in data)}."
        )
    rows = {
        name: jax.ShapeDtypeStruct((1, *array.shape[1:]), array.dtype)
        for name, array in batch.items()
    }
    return loss_fn.network.model, jax.eval_shape(loss_fn.network.arguments, rows)


def init_variables(model: nn.Module, key: Array, *inputs: PyTree) -> dict[str, PyTree]:
    """Initializes a model's variables without sown values; only shapes of the inputs matter."""
    forms = jax.eval_shape(lambda *inputs: inputs, *inputs)
    kept = DenyList((SOWN, "intermediates"))
    return dict(model.lazy_init(key, *forms, mutable=kept, **call_options(model, train=False)))


def make_step(loss_fn: LossFn, tx: optax.GradientTransformation) -> Step:
    """An update step: gradient of the loss, transformed by ``tx``, added to the parameters.

    The key of a step is ``fold_in(state.key, state.step)``, so that a resumed run draws the same
    dropout masks as an uninterrupted one. If ``tx`` is from :func:`jaxdl.optim.mixed_precision`,
    the loss function receives parameters in half precision. If it takes them, ``tx.update`` gets
    ``value``, ``grad`` and ``value_fn``, e.g. for ``optax.lbfgs``.

    Args:
        loss_fn: see :class:`~jaxdl.types.LossFn`; called with ``train=True``.
        tx: the Optax transformation that created ``state.opt_state``.

    Returns:
        a :class:`~jaxdl.types.Step`, ``(state, batch) -> (state, metrics)``, with ``gradients``,
        and the ``network`` of the loss function, if any.

    Raises:
        ValueError: when called, a loss function that does not return
            ``(loss, (model_state, metrics))``.

    >>> from jaxdl import losses, models, train
    >>> model, tx = models.MLP((2,)), optax.sgd(0.1)
    >>> step = make_step(train.supervised(model, losses.cross_entropy), tx)
    >>> batch = {"image": jnp.eye(4), "label": jnp.arange(4) % 2}
    >>> state, metrics = jax.jit(step)(train.init_state(model, tx, 0, batch["image"]), batch)
    >>> int(state.step), float(metrics["loss"].count)
    (1, 4.0)
    """

    def make_objective(state: TrainState, batch: Batch) -> Callable[[PyTree], Result]:
        """Makes the loss, times the loss scale, a function of the parameters."""
        key = jax.random.fold_in(state.key, state.step)
        dtype, loss_scale = optim.precision.compute_precision(state.opt_state)

        def objective(params: PyTree) -> Result:
            if dtype is not None:
                params = jax.tree.map(lambda leaf: _cast(leaf, dtype), params)
            result = loss_fn(params, state.model_state, batch, key=key, train=True)
            loss, aux = checked_result(result)
            return loss if dtype is None else loss.astype(jnp.float32) * loss_scale, aux

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
            grad=jax.tree.map(lambda g: g / loss_scale, gradients),
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
    **extra_args: object,
) -> tuple[PyTree, PyTree]:
    """Applies one update to the parameters and the optimizer state.

    Args:
        tx: Optax transformation.
        gradients: pytree with the structure of ``params``.
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


def checked_result(result: PyTree) -> Result:
    """Checks that the result of a loss function has the form of :class:`~jaxdl.types.LossFn`."""
    match result:
        case (loss, (model_state, Mapping() as metrics)) if jnp.ndim(loss) == 0:
            check_metrics(metrics)
            return jnp.asarray(loss), (model_state, metrics)
        case (loss, (_, Mapping())):
            raise ValueError(
                f"the loss must be a scalar, got shape {jnp.shape(loss)}: return "
                "total / count of metrics.mean(values, batch.get('mask'))."
            )
    raise ValueError(
        "a loss function must return (loss, (model_state, metrics)), see jaxdl.LossFn; got "
        f"{_describe(result)}."
    )


def _describe(result: PyTree) -> str:
    if isinstance(result, tuple):
        return f"({', '.join(_describe(item) for item in result)})"
    return f"an array {result.shape}" if hasattr(result, "shape") else type(result).__name__


def check_metrics(metrics: Metrics) -> None:
    """Raises ValueError unless every metric is a ``Mean`` or an array of counts with axes."""
    for name, metric in metrics.items():
        if not isinstance(metric, Mean) and jnp.ndim(metric) == 0:
            raise ValueError(
                f"the metric {name!r} is a plain scalar, and metrics are summed over batches: "
                "return metrics.mean(values, batch.get('mask')) of its values (B,)."
            )


def _cast(leaf: Array, dtype: jnp.dtype) -> Array:
    return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def make_eval(loss_fn: LossFn, *, averaged: bool = False) -> EvalStep:
    """Makes an evaluation step: the loss function's metrics with ``train=False``, in float32.

    Args:
        loss_fn: see :class:`~jaxdl.types.LossFn`.
        averaged: evaluate the averaged weights of :func:`jaxdl.optim.ema` or
            :func:`jaxdl.optim.swa` instead of the weights themselves.

    Returns:
        an :class:`~jaxdl.types.EvalStep`, ``(state, batch) -> metrics``. Random numbers of an
        evaluation, such as a VAE's codes, are drawn with ``fold_in(state.key, state.step)``;
        :func:`jaxdl.train.evaluate` gives every batch its own ``state.key``.

    Raises:
        ValueError: when called, as :func:`make_step`, or if the state holds no average.

    >>> from jaxdl import losses, models, train
    >>> model = models.MLP((2,))
    >>> eval_fn = make_eval(train.supervised(model, losses.cross_entropy))
    >>> batch = {"image": jnp.zeros((4, 3)), "label": jnp.arange(4) % 2}
    >>> state = train.init_state(model, optax.sgd(0.1), 0, batch["image"])
    >>> float(jax.jit(eval_fn)(state, batch)["loss"].count)
    4.0
    """

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        key = jax.random.fold_in(state.key, state.step)
        params = optim.averaged_params(state.opt_state) if averaged else state.params
        result = loss_fn(params, state.model_state, batch, key=key, train=False)
        return checked_result(result)[1][1]

    return EvalStep(evaluate, as_loss(loss_fn).network)


def of_batch(state: PyTree, index: Array | int) -> PyTree:
    """Returns the state with the key of a batch of the evaluation."""
    if not (dataclasses.is_dataclass(state) and hasattr(state, "key")):
        return state
    return dataclasses.replace(cast(TrainState, state), key=jax.random.fold_in(state.key, index))


def apply_model(
    model: nn.Module,
    params: PyTree,
    model_state: PyTree,
    *inputs: PyTree,
    mask: Array | None = None,
    key: Array | None = None,
    train: bool = False,
    rngs: Sequence[str] = ("dropout",),
) -> tuple[PyTree, PyTree]:
    """Applies a model and returns its outputs and new state.

    Args:
        model: Linen module, called with those of ``train``, ``deterministic`` (not train), and
            ``mask`` that it accepts.
        params: parameters.
        model_state: other variable collections; may be empty.
        *inputs: arguments of the call.
        mask: mask of the batch, which excludes padding from the statistics of BatchNorm.
        key: PRNG key of the random streams; None if the model is deterministic.
        train: training mode.
        rngs: names of the random streams.

    Returns:
        The outputs, and the new model state, with the structure of ``model_state``. Losses that the
        model sows are dropped; :func:`supervised` adds them.

    >>> from jaxdl import models
    >>> model = models.MLP((3,), dropout_rate=0.5)
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    >>> logits, model_state = apply_model(
    ...     model, params, {}, jnp.zeros((2, 4)), key=jax.random.key(1), train=True
    ... )
    >>> logits.shape, model_state
    ((2, 3), {})
    """
    options = call_options(model, train=train, mask=mask)
    outputs, model_state, _ = _forward(
        model, params, model_state, inputs, options=options, key=key, rngs=rngs
    )
    return outputs, model_state


def _forward(
    model: nn.Module,
    params: PyTree,
    model_state: PyTree,
    inputs: tuple[PyTree, ...],
    *,
    options: Mapping[str, PyTree],
    key: Array | None,
    rngs: Sequence[str],
) -> tuple[PyTree, PyTree, list[Array]]:
    """Returns outputs, new model state, and the losses that the model sowed."""
    outputs, changed = model.apply(
        {"params": params, **model_state},
        *inputs,
        mutable=[*model_state, SOWN],
        rngs=None if key is None else {name: _stream_key(key, name) for name in rngs},
        **options,
    )
    changed = dict(changed)
    return outputs, changed, jax.tree.leaves(changed.pop(SOWN, {}))


def _stream_key(key: Array, name: str) -> Array:
    return key if name == "dropout" else jax.random.fold_in(key, zlib.crc32(name.encode()))


def supervised(
    model: nn.Module,
    loss: PerExample,
    *,
    metrics: Mapping[str, PerExample] | None = None,
    preprocess: Transform | Mapping[str, Transform] | None = None,
    augment: Augment | Mapping[str, Augment] | None = None,
    mix: transforms.mixing.Mix | None = None,
    weights: Callable[[PyTree], Array] | None = None,
    penalty: Callable[[PyTree], Array] | None = None,
    ignore_label: int | None = IGNORE_LABEL,
    inputs: str | Sequence[str] = "image",
    targets: str | Sequence[str] = "label",
    rngs: Sequence[str] = ("dropout",),
) -> Loss:
    """Makes the loss function of a model with targets.

    Args:
        model: Linen module, called with those of ``train``, ``deterministic``, and ``mask`` that it
            accepts; ``mask`` excludes padding from the statistics of BatchNorm. Scalars sown into
            the collection ``"losses"``, e.g. ``self.sow("losses", "balance", value)``, are added to
            the differentiated loss; their sum is the metric ``sown_loss``.
        loss: ``(outputs, targets (B, ...)) -> (B,)`` losses, or (B, T) for tokens.
        metrics: further functions of outputs and targets, by name, e.g. ``{"accuracy": accuracy}``.
        preprocess: function of a batch of inputs, applied on the device; for several inputs,
            functions by input name.
        augment: ``(key, example) -> example``, applied to each example with its own key, only in
            training, before ``preprocess``; for several inputs, functions by input name.
        mix: ``(key, inputs) -> (inputs, partner (B,), weight)``, applied only in training, after
            ``preprocess``, e.g. :func:`jaxdl.transforms.mixup` or ``cutmix``. The loss is
            ``weight`` times that of the example's target plus ``1 - weight`` times that of its
            partner's. Padding is never a partner.
        weights: ``targets -> (B,)``, weights of the mean loss, e.g.
            :func:`jaxdl.losses.label_weights`. By default each weight is 1, or 0 for the label
            ``ignore_label``.
        penalty: ``params -> ()``, e.g. :func:`jaxdl.losses.l1_penalty`, added to the differentiated
            loss, only in training. The metric ``loss`` does not include it.
        ignore_label: class label excluded from all means, or None. Class labels are integer
            targets; if the outputs have the same shape, as in regression, -100 is a number.
            Pass the same one to the loss: ``partial(losses.cross_entropy, ignore_label=255)``.
        inputs: name of the model's input in the batch, or names of its inputs in order.
        targets: name of the targets in the batch. With several names, ``loss`` and ``metrics``
            receive a dictionary of targets, and no label is ignored.
        rngs: names of the model's random streams.

    Returns:
        A :class:`~jaxdl.types.Loss`: the masked mean of the losses (0 if all examples are masked),
        the new model state, and the metrics ``"loss"`` and ``metrics``, each a
        :class:`~jaxdl.types.Mean`.

    Raises:
        ValueError: a metric named ``"loss"``, or functions for unknown inputs. When called: a batch
            without these names, or losses that are not one per example.

    >>> from jaxdl import losses, metrics, models, train, transforms
    >>> loss_fn = supervised(
    ...     models.MLP((10,)),
    ...     losses.cross_entropy,
    ...     metrics={"accuracy": metrics.accuracy},
    ...     preprocess=transforms.to_float,
    ... )
    >>> batch = {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8), "label": jnp.arange(4)}
    >>> state = train.init_state(loss_fn, optax.sgd(0.1), 0, batch)
    >>> sorted(jax.eval_shape(train.make_eval(loss_fn), state, batch))
    ['accuracy', 'loss']
    """
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    _check_names(names, targets, metrics or {})
    preprocesses = _by_name("preprocess", preprocess, names)
    augments = _by_name("augment", augment, names)
    if mix is not None and len(names) > 1:
        raise ValueError(f"mix takes a model with one input, got the inputs {list(names)}.")

    def read(batch: Batch) -> PyTree:
        x = inputs_of(batch)
        return x if len(x) > 1 else x[0]

    def inputs_of(batch: Batch, key: Array | None = None) -> tuple[Array, ...]:
        raw = _pick("inputs", names, batch)
        return _transform(preprocesses, raw if key is None else _augment(augments, key, raw))

    def loss_fn(
        params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
    ) -> Result:
        model_key, augment_key = jax.random.split(key)
        y, mask, mixed = _pick_targets(targets, batch), batch.get("mask"), None
        x = inputs_of(batch, augment_key if train else None)
        if train and mix is not None:
            x, mixed = _mix(mix, jax.random.fold_in(augment_key, 1), x, mask)
        options = call_options(model, train=train, mask=mask)
        outputs, model_state, sown = _forward_in_precision(
            model, params, model_state, x, options=options, key=model_key, rngs=rngs
        )
        mean = _measure_loss(loss, outputs, y, mask, ignore_label, weights=weights, mixed=mixed)
        value, results = _divide(mean), {"loss": mean}
        for name, function in (metrics or {}).items():
            results[name] = _measure(name, function, outputs, y, mask, ignore_label)
        if sown:
            results["sown_loss"] = Mean(sum(sown) * mean.count, mean.count)
        if train:
            value = _add_to_loss(value, sown, None if penalty is None else penalty(params))
        return value, (model_state, results)

    label = targets if isinstance(targets, str) else targets[0]
    return Loss(loss_fn, Network(model, read, names[0], label, ignore_label))


def _add_to_loss(value: Array, sown: list[Array], penalty: Array | None) -> Array:
    """Adds sown losses and the penalty to the mean loss."""
    if sown:
        value = value + sum(sown)
    return value if penalty is None else value + penalty


def _check_names(
    inputs: Sequence[str], targets: str | Sequence[str], metrics: Mapping[str, PerExample]
) -> None:
    if "mask" in inputs or "mask" in ([targets] if isinstance(targets, str) else targets):
        raise ValueError("'mask' is the batch's mask of padding: give inputs and targets others.")
    reserved = sorted({"loss", "sown_loss"} & set(metrics))
    if reserved:
        raise ValueError(f"a metric cannot be called {reserved[0]!r}: that is the trained loss.")


def _by_name(option: str, given: PyTree, names: Sequence[str]) -> dict[str, PyTree]:
    """Maps the inputs to the functions of an option."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(names) > 1:
            raise ValueError(
                f"with several inputs, {option} must be functions by name, e.g. "
                f"{{{names[0]!r}: function}}."
            )
        return {names[0]: given}
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ValueError(f"{option} is for the inputs {list(names)}, got {unknown[0]!r}.")
    return dict(given)


def _pick(option: str, names: Sequence[str], batch: Batch) -> dict[str, Array]:
    for name in names:
        if name not in batch:
            raise ValueError(
                f"the batch has no {name!r}, only {sorted(batch)}: set {option}= of supervised."
            )
    return {name: batch[name] for name in names}


def _pick_targets(targets: str | Sequence[str], batch: Batch) -> PyTree:
    if isinstance(targets, str):
        return _pick("targets", [targets], batch)[targets]
    return _pick("targets", targets, batch)


def _augment(functions: Mapping[str, Augment], key: Array, x: dict[str, Array]) -> dict[str, Array]:
    """Augments every example of every input with its own key."""
    augmented = dict(x)
    for name, function in functions.items():
        input_key = key if len(x) == 1 else _stream_key(key, name)
        keys = jax.random.split(input_key, x[name].shape[0])
        augmented[name] = jax.vmap(function)(keys, x[name])
    return augmented


def _transform(functions: Mapping[str, Transform], x: Mapping[str, Array]) -> tuple[Array, ...]:
    return tuple(functions[name](x[name]) if name in functions else x[name] for name in x)


def _mix(
    mix: transforms.mixing.Mix, key: Array, inputs: tuple[Array, ...], mask: Array | None
) -> tuple[tuple[Array, ...], Mixed]:
    """Mixes examples; padding is first replaced by real examples, so that it is never mixed in."""
    (x,) = inputs
    if mask is None:
        x, partner, weight = mix(key, x)
        return (x,), (partner, weight)
    real = (mask > 0).reshape(mask.shape[0], -1).any(axis=1)
    rows = jnp.arange(real.shape[0])
    real_rows = jnp.argsort(~real, stable=True)
    filled = jnp.where(real, rows, real_rows[rows % jnp.maximum(real.sum(), 1)])
    x, partner, weight = mix(key, x[filled])
    return (x,), (filled[partner], weight)


def _forward_in_precision(
    model: nn.Module, params: PyTree, model_state: PyTree, x: tuple[Array, ...], **options: PyTree
) -> tuple[PyTree, PyTree, list[Array]]:
    """:func:`_forward` of inputs in the precision of the parameters; results are float32 then."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(params)}
    half = next((dtype for dtype in dtypes if dtype in (jnp.bfloat16, jnp.float16)), None)
    if half is not None:
        x = tuple(_cast(leaf, half) for leaf in x)
    outputs, model_state, sown = _forward(model, params, model_state, x, **options)
    if half is not None:
        outputs, sown = jax.tree.map(lambda leaf: _cast(leaf, jnp.float32), (outputs, sown))
    if any(jnp.ndim(value) for value in sown):
        raise ValueError(
            f"a value sown into {SOWN!r} must be a scalar, got shapes "
            f"{[jnp.shape(value) for value in sown]}."
        )
    return outputs, model_state, sown


def _measure(
    name: str,
    function: PerExample,
    outputs: PyTree,
    y: PyTree,
    mask: Array | None,
    ignore_label: int | None,
) -> Mean:
    """Computes the masked mean of a function of outputs and targets."""
    values = function(outputs, y)
    leaves = list(y.values()) if isinstance(y, dict) else [y]
    if not jnp.ndim(values) or all(values.shape != x.shape[: values.ndim] for x in leaves):
        number = leaves[0].shape[0]
        expected = {f"({number})", *(str(x.shape) for x in leaves if x.ndim > 1)}
        raise ValueError(
            f"per-example {name} must have shape {' or '.join(sorted(expected, key=len))}, got "
            f"{jnp.shape(values)}: losses and metrics are not reduced."
        )
    return mean(values, _counted(values, outputs, y, mask, ignore_label))


def _measure_loss(
    loss: PerExample,
    outputs: PyTree,
    y: PyTree,
    mask: Array | None,
    ignore_label: int | None,
    *,
    weights: Callable[[PyTree], Array] | None,
    mixed: Mixed | None,
) -> Mean:
    """Computes the weighted mean loss, including that of mixed partners."""

    def against(y: PyTree) -> Mean:
        result = _measure("loss", loss, outputs, y, mask, ignore_label)
        if weights is None:
            return result
        values = weights(y)
        counted = _counted(values, outputs, y, mask, ignore_label)
        return result._replace(count=mean(values, counted).total)

    own = against(y)
    if mixed is None:
        return own
    partner, share = mixed
    other = against(jax.tree.map(lambda leaf: leaf[partner], y))
    return Mean(
        share * own.total + (1 - share) * other.total,
        own.count + (1 - share) * (other.count - own.count),  # exact if they are equal
    )


def _counted(
    values: Array, outputs: PyTree, y: PyTree, mask: Array | None, ignore_label: int | None
) -> Array | None:
    """Returns the mask of the values, 0 for ignored class labels; None if nothing is masked."""
    if ignore_label is None or isinstance(y, dict) or values.shape != y.shape:
        return mask
    if not jnp.issubdtype(y.dtype, jnp.integer):
        return mask
    is_regression = getattr(outputs, "shape", None) in (y.shape, (*y.shape, 1))
    limits = jnp.iinfo(y.dtype)
    if (is_regression and ignore_label == IGNORE_LABEL) or not (
        limits.min <= ignore_label <= limits.max
    ):
        return mask
    labeled: Array = (y != ignore_label).astype(jnp.float32)
    if mask is None:
        return labeled
    valid: Array = labeled * mask.reshape(mask.shape + (1,) * (labeled.ndim - mask.ndim))
    return valid


def _divide(value: Mean) -> Array:
    """Divides total by count; 0 with gradient 0 if the count is 0."""
    return jnp.where(value.count > 0, value.total / jnp.where(value.count > 0, value.count, 1), 0)
