"""Where and why a loss stopped being finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optim, tree
from jaxdl.data.batches import take
from jaxdl.types import Array, Batch, PyTree, StepFn


def find_non_finite(
    step: StepFn, state: PyTree, data: Batch, order: Array, start: int, stop: int
) -> tuple[PyTree, Any, str]:
    """Repeats steps one by one from a good state until something is not finite.

    Args:
        step: the update.
        state: a finite state, the one before batch ``start``.
        data: arrays (N, ...).
        order: (num_batches, B) indices of the epoch.
        start: first batch to repeat.
        stop: the batch after the last one.

    Returns:
        the last good state, the metrics of the good steps before it (stacked), and a sentence that
        names step, batch and largest gradient.
    """

    @jax.jit
    def repeat(state: PyTree, data: Batch, order: Array, index: Any) -> tuple:
        new, metrics = step(state, take(data, order, index))
        return new, metrics, tree.all_finite((new, metrics))

    good_metrics = []
    for index in range(start, stop):
        new, metrics, finite = repeat(state, data, order, index)
        if not finite:
            break
        state = new
        good_metrics.append(metrics)
    empty = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), metrics)
    stacked = jax.tree.map(
        lambda first, *rest: np.stack(rest) if rest else first, empty, *good_metrics
    )
    if finite:
        return state, stacked, "a metric was not finite, but repeating the steps gave finite ones"
    bad = [
        name
        for name, metric in metrics.items()
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metric))
    ]
    what = f"{' and '.join(bad)} stopped being finite" if bad else "a weight stopped being finite"
    indices = np.asarray(order[index]).tolist()
    examples = ", ".join(map(str, indices[:8])) + (", …" if len(indices) > 8 else "")
    sentence = f"{what} at step {int(state.step)}, batch {index} of the epoch (examples {examples})"
    if hasattr(step, "gradients"):
        gradients = jax.jit(step.gradients)(state, take(data, order, index))
        sentence += f"; {_largest(gradients)}"
    rates = ", ".join(f"{name} {rate:g}" for name, rate in optim.learning_rates(state).items())
    return state, stacked, sentence + (f"; {rates}" if rates else "")


def _largest(gradients: PyTree) -> str:
    sizes = {
        name: float(jnp.max(jnp.abs(leaf))) for name, leaf in tree.named_leaves(gradients).items()
    }
    name = max(sizes, key=lambda name: np.nan_to_num(sizes[name], nan=np.inf, posinf=np.inf))
    return f"the largest gradient is {sizes[name]:g}, in {name}"
