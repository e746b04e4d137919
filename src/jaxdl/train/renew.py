"""The state to evaluate and to keep after averaging: the average, with statistics of its own."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import optim
from jaxdl.data import Loader
from jaxdl.train.evaluation import evaluate
from jaxdl.types import Batch, LossFn, Metrics, PyTree, TrainState

COLLECTION = "batch_stats"
TINY = 1e-20  # a statistic below it is too small to divide by


def with_averaged_params(
    loss_fn: LossFn, state: TrainState, data: Batch | Loader, *, batch_size: int | None = None
) -> TrainState:
    """The averaged weights in place of the trained ones, BatchNorm's statistics taken anew.

    :func:`jaxdl.optim.ema` and :func:`jaxdl.optim.swa` average weights; the running statistics in
    ``batch_stats`` are still those of the weights that were trained. Here the averaged model passes
    once over the data, and its statistics become the plain means over the batches. A model without
    ``batch_stats`` only gets the averaged weights.

    Args:
        loss_fn: the one that was trained; called with ``train=True``, so with its augmentation.
        state: whose ``opt_state`` keeps an average.
        data: training arrays (N, ...), or a loader.
        batch_size: examples at a time, 250 by default; a loader has its own. The variance within a
            batch depends on it: that of the training is the right one.

    Returns:
        the state with new ``params`` and ``model_state``; give it to :func:`jaxdl.train.evaluate`
        with ``make_eval(loss_fn)``.

    Raises:
        ValueError: there is no average in the state, or more than one.

    Source: ``torch.optim.swa_utils.update_bn``.
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
