"""Evaluation and prediction over a data set."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import _checks, metrics, optim
from jaxdl.data.collate import sequential_order, take
from jaxdl.data.loader import Loader
from jaxdl.train._batches import Arrays, agreed, ragged_batch
from jaxdl.train._programs import program
from jaxdl.train._streaming import padded, sum_over_loader
from jaxdl.train.debug import check_classes
from jaxdl.train.step import check_metrics, of_batch
from jaxdl.types import (
    Array,
    Batch,
    EvalFn,
    EvalStep,
    LossFn,
    Metrics,
    PyTree,
    TrainState,
    as_eval_step,
)

EVAL_BATCH_SIZE = 250
"""Examples at a time in an evaluation of arrays."""


def evaluate(
    eval_fn: EvalStep | EvalFn,
    state: PyTree,
    data: Arrays | Loader,
    *,
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Evaluates a data set; each example counts once, whatever the batch size.

    Args:
        eval_fn: evaluation step, see :func:`jaxdl.train.make_eval`; compiled once per function and
            shape.
        state: its first argument.
        data: arrays (M, ...), or a loader, whose epoch 0 is streamed.
        batch_size: examples per batch, 250 by default. A loader has its own.

    Returns:
        Floats by name, and nested lists for counts such as a confusion matrix.

    Raises:
        ValueError: invalid data, or a label outside the range of the model's outputs.

    >>> from jaxdl import metrics
    >>> def eval_fn(state, batch):
    ...     return {"loss": metrics.mean(state * batch["x"], batch.get("mask"))}
    >>> evaluate(eval_fn, jnp.float32(2), {"x": jnp.array([1.0, 2.0, 6.0])}, batch_size=2)
    {'loss': 6.0}
    """
    eval_step = as_eval_step(eval_fn)
    if isinstance(data, Loader):
        return evaluate_checked(eval_step, state, data, agreed("batch_size", batch_size, data))
    _checks.check_data(data, ignore_label=eval_step.ignore_label)
    batch_size = EVAL_BATCH_SIZE if batch_size is None else batch_size
    _checks.check_positive(batch_size=batch_size)
    return evaluate_checked(eval_step, state, data, batch_size)


def evaluate_checked(
    eval_step: EvalStep, state: PyTree, data: Arrays | Loader, batch_size: int
) -> dict[str, Any]:
    """:func:`evaluate` of data that :func:`prepare` gave; also what ``run`` calls every epoch."""
    if isinstance(data, Loader):
        results = metrics.result(sum_over_loader(eval_step, state, data) or {})
    else:
        scan = program(_make_scan, eval_step.fn, static_argnums=2)
        stacked = scan(state, dict(data), batch_size)
        results = metrics.result(metrics.sum_over_steps(stacked))
    if np.isnan([value for value in results.values() if isinstance(value, float)]).any():
        network = eval_step.network
        if not isinstance(data, Loader):
            check_classes(network, state, data)
        elif network is not None:
            with padded(data).epoch(0) as batches:
                for batch in batches:
                    check_classes(network, state, cast(Batch, batch))
    return results


def scan_evaluation(eval_fn: EvalFn, state: PyTree, data: Batch, batch_size: int) -> Metrics:
    """The metrics of every batch, with a leading axis; pure. Arrays (M, ...), M at least 1."""
    number = next(iter(data.values())).shape[0]
    order = sequential_order(number, min(batch_size, number))
    last = ragged_batch(eval_fn, state, data, order, number)
    counted = number if last is None else order.size  # masks nothing
    whole = order.shape[0] - (last is not None)

    def evaluate(batch: Batch, index: Array | int) -> Metrics:
        values = eval_fn(of_batch(state, index), batch)
        check_metrics(values)
        return values

    def one_batch(_: None, index: Array) -> tuple[None, Metrics]:
        return None, evaluate(take(data, order, index, counted), index)

    stacked: Metrics = jax.lax.scan(one_batch, None, jnp.arange(whole))[1]
    return stacked if last is None else append_row(stacked, evaluate(last, whole))


def append_row(stacked: Metrics, values: Metrics) -> Metrics:
    """Stacked metrics with those of one more batch at their end."""
    longer: Metrics = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), stacked, values)
    return longer


def _make_scan(eval_fn: EvalFn) -> Callable[[PyTree, Batch, int], Metrics]:
    return functools.partial(scan_evaluation, eval_fn)


def predict(
    apply: Callable[[PyTree, Array], PyTree],
    state: PyTree,
    inputs: ArrayLike,
    *,
    batch_size: int = EVAL_BATCH_SIZE,
) -> PyTree:
    """The outputs of a model for any number of inputs, a batch at a time.

    Args:
        apply: ``(state, inputs (B, ...)) -> outputs``, arrays (B, ...); compiled once per function
            and for few batch sizes: the last batch is padded to a power of 2.
        state: its first argument.
        inputs: (N, ...).
        batch_size: inputs at a time.

    Returns:
        (N, ...) outputs, one array or a tree of them.

    >>> predict(lambda scale, x: scale * x, 2.0, jnp.arange(3), batch_size=2)
    Array([0., 2., 4.], dtype=float32, weak_type=True)
    """
    _checks.check_count(batch_size=batch_size)
    inputs, compiled, pieces = np.asarray(inputs), jax.jit(apply), []
    for start in range(0, max(len(inputs), 1), batch_size):
        piece = inputs[start : start + batch_size]
        size = min(batch_size, 1 << max(len(piece) - 1, 0).bit_length())
        padding = [(0, size - len(piece))] + [(0, 0)] * (inputs.ndim - 1)
        outputs = compiled(state, np.pad(piece, padding))
        pieces.append(jax.tree.map(lambda leaf, n=len(piece): leaf[:n], outputs))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


COLLECTION = "batch_stats"


TINY = 1e-20  # a statistic below it is too small to divide by


def with_averaged_params(
    loss_fn: LossFn, state: TrainState, data: Batch | Loader, *, batch_size: int | None = None
) -> TrainState:
    """Returns the state with averaged parameters and recomputed BatchNorm statistics.

    :func:`jaxdl.optim.ema` and :func:`jaxdl.optim.swa` average parameters, while the running
    statistics in ``batch_stats`` belong to the trained ones. This function applies the averaged
    model once to the data and replaces the statistics by their means over the batches. Without
    ``batch_stats``, it only replaces the parameters.

    Args:
        loss_fn: the loss function of the training; called with ``train=True``, so it augments.
        state: training state whose ``opt_state`` contains averaged parameters.
        data: training arrays (N, ...), or a loader.
        batch_size: examples per batch, 250 by default; a loader has its own. Use that of the
            training, since batch variances depend on it.

    Returns:
        The state with new ``params`` and ``model_state``, e.g. for :func:`jaxdl.train.evaluate`
        with ``make_eval(loss_fn)``.

    Raises:
        ValueError: the state contains no averaged parameters, or more than one set.

    Source: ``torch.optim.swa_utils.update_bn``.

    >>> from jaxdl import losses, models, train
    >>> model, tx = models.MLP((4,), 2), optim.ema(optim.sgd(0.1), 0.9)
    >>> data = {"image": jnp.ones((8, 3)), "label": jnp.zeros(8, jnp.int32)}
    >>> loss_fn = train.supervised(model, losses.cross_entropy)
    >>> state = train.init_state(model, tx, 0, data["image"])
    >>> state, _ = jax.jit(train.make_step(loss_fn, tx))(state, data)
    >>> averaged = with_averaged_params(loss_fn, state, data)
    >>> averaged.params["Dense_0"]["bias"].shape
    (4,)
    """
    state = replace(state, params=optim.averaged_params(state.opt_state))
    stats = state.model_state.get(COLLECTION)
    if not stats:
        return state
    leaves, structure = jax.tree.flatten(stats)

    def follow(state: TrainState, batch: Batch, before: list[jax.Array]) -> list[jax.Array]:
        """The running statistics after this batch, from the ones before it."""
        _, (model_state, _) = loss_fn(
            state.params,
            {**state.model_state, COLLECTION: jax.tree.unflatten(structure, before)},
            batch,
            key=jax.random.fold_in(state.key, state.step),
            train=True,
        )
        return jax.tree.leaves(model_state[COLLECTION])

    def statistics(state: TrainState, batch: Batch) -> Metrics:
        # after = (1 - m) * before + m * batch, whatever a layer's m is; 0 where it counts nothing.
        # From 0 that is m * batch; m shows from a start of the same size, which cancels nothing.
        from_zero = follow(state, batch, [jnp.zeros_like(leaf) for leaf in leaves])
        starts = [jnp.where(jnp.abs(zero) > TINY, zero, jnp.ones_like(zero)) for zero in from_zero]
        from_start = follow(state, batch, starts)
        sums = {}
        for index, (zero, start, after) in enumerate(
            zip(from_zero, starts, from_start, strict=True)
        ):
            momentum = 1.0 - (after - zero) / start
            counted = momentum > 1e-6
            sums[f"total {index}"] = jnp.where(counted, zero / jnp.where(counted, momentum, 1), 0)
            sums[f"count {index}"] = counted.astype(jnp.int32)
        return sums

    sums = evaluate(statistics, state, data, batch_size=batch_size)

    def renewed(index: int, leaf: jax.Array) -> jax.Array:
        total, count = (np.asarray(sums[f"{what} {index}"]) for what in ("total", "count"))
        mean = np.where(count > 0, total / np.maximum(count, 1), np.asarray(leaf))
        return jnp.asarray(mean, leaf.dtype)

    new: PyTree = [renewed(index, leaf) for index, leaf in enumerate(leaves)]
    model_state = {**state.model_state, COLLECTION: jax.tree.unflatten(structure, new)}
    return replace(state, model_state=model_state)
