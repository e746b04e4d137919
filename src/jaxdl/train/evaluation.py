"""Evaluation: the metrics of a whole data set, and a model's outputs for it."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import checks, metrics
from jaxdl.data.batches import sequential_order, take
from jaxdl.data.loader import Loader
from jaxdl.train.diagnose import check_classes
from jaxdl.train.step import of_batch
from jaxdl.train.streamed import agreed, padded, resident_arrays, sum_over_loader
from jaxdl.types import Array, Batch, EvalFn, PyTree

EVAL_BATCH_SIZE = 250
"""Examples at a time in an evaluation of arrays."""

Data = Mapping[str, Any]


def evaluate(
    eval_fn: EvalFn, state: PyTree, data: Data | Loader, *, batch_size: int | None = None
) -> dict[str, Any]:
    """The metrics of a whole data set: every example counts once, whatever the batch size.

    Args:
        eval_fn: see :func:`jaxdl.train.make_eval`; compiled once for each function and shape.
        state: what it evaluates.
        data: arrays (M, ...); or a loader, whose epoch 0 is evaluated as it streams.
        batch_size: examples at a time, 250 by default; a larger one costs memory. A loader has
            its own.

    Returns:
        floats by name, and nested lists for counts such as a confusion matrix.

    Raises:
        ValueError: data that cannot be evaluated, or a label beyond the model's outputs.
    """
    if isinstance(data, Loader):
        return evaluate_checked(eval_fn, state, data, agreed("batch_size", batch_size, data))
    checks.check_data(data)
    batch_size = EVAL_BATCH_SIZE if batch_size is None else batch_size
    checks.check_positive(batch_size=batch_size)
    return evaluate_checked(eval_fn, state, data, batch_size)


def evaluate_checked(
    eval_fn: EvalFn, state: PyTree, data: Data | Loader, batch_size: int
) -> dict[str, Any]:
    """:func:`evaluate` of data that :func:`prepare` gave; also what ``run`` calls every epoch."""
    if isinstance(data, Loader):
        results = metrics.result(sum_over_loader(eval_fn, state, data))
    else:
        stacked = _compiled_evaluation(eval_fn, state, dict(data), batch_size)
        results = metrics.result(metrics.sum_over_steps(stacked))
    if np.isnan([value for value in results.values() if isinstance(value, float)]).any():
        network = getattr(eval_fn, "network", None)
        if not isinstance(data, Loader):
            check_classes(network, state, data)
        elif network is not None:
            with padded(data).epoch(0) as batches:
                for batch in batches:
                    check_classes(network, state, batch)
    return results


def scan_evaluation(eval_fn: EvalFn, state: PyTree, data: Batch, batch_size: int) -> Any:
    """The metrics of every batch, with a leading axis; pure. Arrays (M, ...), M at least 1."""
    number = next(iter(data.values())).shape[0]
    order = sequential_order(number, min(batch_size, number))

    def one_batch(_: None, index: Array) -> tuple[None, Any]:
        return None, eval_fn(of_batch(state, index), take(data, order, index))

    return jax.lax.scan(one_batch, None, jnp.arange(order.shape[0]))[1]


_compiled_evaluation = jax.jit(scan_evaluation, static_argnums=(0, 3))


def predict(
    apply: Callable[[PyTree, Array], Any], state: PyTree, inputs: Any, *, batch_size: int = 250
) -> Array:
    """The outputs of a model for any number of inputs, a batch at a time.

    Args:
        apply: ``(state, inputs (B, ...)) -> outputs (B, ...)``, compiled here.
        state: its first argument.
        inputs: (N, ...).
        batch_size: inputs at a time.

    Returns:
        (N, ...) outputs.
    """
    checks.check_positive(batch_size=batch_size)
    number = len(inputs)

    @jax.jit
    def scan(state: PyTree, inputs: Array) -> Array:
        order = sequential_order(number, min(batch_size, number))
        _, outputs = jax.lax.scan(lambda _, rows: (None, apply(state, inputs[rows])), None, order)
        return outputs.reshape(-1, *outputs.shape[2:])[:number]

    return scan(state, inputs)


def prepare(
    data: Data | Loader | None, batch_size: int | None, say: Callable[[str], None]
) -> tuple[Data | Loader | None, int]:
    """The evaluation set on the device, unless it streams; and its batch size."""
    if isinstance(data, Loader):
        batch_size = agreed("eval_batch_size", batch_size, data)
        arrays = resident_arrays(data, say)
        if arrays is None:
            return data, batch_size
        order = np.concatenate(data.indices(0))
        data = {name: array[order] for name, array in arrays.items()}
    batch_size = EVAL_BATCH_SIZE if batch_size is None else batch_size
    checks.check_positive(eval_batch_size=batch_size)
    if data is not None:
        checks.check_data(data)
        data = jax.device_put(dict(data))
    return data, batch_size
