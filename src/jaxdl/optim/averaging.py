"""Averages of the weights: EMA and SWA."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_fraction, check_positive
from jaxdl.types import Array, PyTree


class AverageState(NamedTuple):
    """Weights averaged over the steps.

    Attributes:
        inner: the optimizer's state.
        average: like the parameters.
        count: number of updates seen.
    """

    inner: PyTree
    average: PyTree
    count: Array  # type: ignore[assignment]  # tuple.count gives way


def ema(
    tx: optax.GradientTransformation, decay: float = 0.999, *, start: int = 0
) -> optax.GradientTransformation:
    r"""Keeps an exponential moving average of the weights: :math:`a \leftarrow d a + (1 - d) w`.

    Evaluate it with ``make_eval(loss_fn, averaged=True)`` or take it by :func:`averaged_params`.

    Args:
        tx: optimizer; it trains the weights themselves, as without this.
        decay: d.
        start: number of updates after which the average begins, equal to the weights then.

    Source: ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn``.
    """
    check_fraction(decay=decay)

    def weight(count: Array) -> Array:
        return jnp.where(count <= start + 1, 1.0, 1.0 - decay)

    return _averaged(tx, weight)


def swa(
    tx: optax.GradientTransformation, *, start: int = 0, every: int = 1
) -> optax.GradientTransformation:
    """Keeps the plain mean of the weights after every ``every``-th update past ``start``.

    Args:
        tx: optimizer.
        start: number of updates before the average begins.
        every: updates between two of the weights that are averaged; an epoch's, usually.

    Source: ``torch.optim.swa_utils.AveragedModel``; Izmailov et al. 2018. BatchNorm's running
    statistics are those of the trained weights.
    """
    check_positive(every=every)

    def weight(count: Array) -> Array:
        taken = jnp.maximum(count - start, 0)  # since the average began
        number = jnp.maximum(taken // every, 1)
        return jnp.where(
            taken == 0, 1.0, jnp.where(taken % every == 0, 1.0 / number, jnp.zeros(()))
        )

    return _averaged(tx, weight)


def _averaged(
    tx: optax.GradientTransformation, weight: Callable[[Array], Array]
) -> optax.GradientTransformation:
    """``average += weight(number of updates) * (new weights - average)``."""

    def init(params: PyTree) -> AverageState:
        copy = jax.tree.map(jnp.array, params)  # not the same buffers: both are donated
        return AverageState(tx.init(params), copy, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: AverageState, params: PyTree = None
    ) -> tuple[PyTree, AverageState]:
        if params is None:
            raise ValueError("an average of the weights needs them: tx.update(g, state, params).")
        updates, inner = tx.update(updates, state.inner, params)
        count = state.count + 1
        share = weight(count)
        average = jax.tree.map(
            lambda a, p, u: (a + share * (p + u - a)).astype(a.dtype),
            state.average,
            params,
            updates,
        )
        return updates, AverageState(inner, average, count)

    return optax.GradientTransformation(init, update)


def averaged_params(state: PyTree) -> PyTree:
    """The averaged weights in a state that :func:`ema` or :func:`swa` keeps.

    Args:
        state: an ``opt_state``, or a ``TrainState``.

    Raises:
        ValueError: there is no average, or more than one.
    """
    found = nodes(state, AverageState)
    if len(found) != 1:
        raise ValueError(
            f"the state holds {len(found)} averages of the weights, expected 1: wrap the optimizer "
            "in optim.ema or optim.swa."
        )
    return found[0].average


def nodes(state: PyTree, kind: type) -> list[Any]:
    """The nodes of a kind in a tree, also those inside one another."""
    found = []
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind)):
        if isinstance(node, kind):
            found += [node, *nodes(node.inner, kind)]  # type: ignore[attr-defined]
    return found
