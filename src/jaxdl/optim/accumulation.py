"""Gradient accumulation over several batches, closed at the end of every epoch."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_count
from jaxdl.types import Array, PyTree


class AccumulationState(NamedTuple):
    """The state of :func:`accumulate`.

    Attributes:
        inner: the optimizer's state.
        mean: mean gradient of the batches since the last update, float32.
        num_accumulated: number of these batches.
        batch: index of the next batch in its epoch.
        num_batches: batches per epoch; 0 if unknown.
    """

    inner: PyTree
    mean: PyTree
    num_accumulated: Array
    batch: Array
    num_batches: Array


def accumulate(
    tx: optax.GradientTransformation, every: int
) -> optax.GradientTransformationExtraArgs:
    """Makes one update from the mean gradient of ``every`` batches.

    The last batch of an epoch makes an update too, from the batches since the last one. That takes
    :func:`begin_epoch` at the start of each epoch, which ``train.run`` and ``train.fit`` call;
    without it, batches are counted across epochs.

    Args:
        tx: optimizer; its schedules count updates.
        every: batches per update, at least 1.

    Source: ``optax.MultiSteps``; Lightning's ``accumulate_grad_batches``, which divides the sum at
    an epoch's end by ``every``, not by the number of batches.

    >>> tx = accumulate(optax.sgd(1.0), every=2)
    >>> state = tx.init(jnp.zeros(()))
    >>> updates, state = tx.update(jnp.float32(1.0), state)
    >>> print(updates, tx.update(jnp.float32(3.0), state)[0])
    0.0 -2.0
    """
    check_count(accumulate=every)
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> AccumulationState:
        mean = optax.tree.zeros_like(params, dtype=jnp.float32)
        counts = [jnp.zeros((), jnp.int32) for _ in range(3)]  # not one buffer: all are donated
        return AccumulationState(tx.init(params), mean, *counts)

    def update(
        updates: PyTree, state: AccumulationState, params: PyTree = None, **extra_args: object
    ) -> tuple[PyTree, AccumulationState]:
        number = state.num_accumulated + 1
        mean = jax.tree.map(lambda g, m: m + (g - m) / number, updates, state.mean)
        now, inner = tx.update(
            optax.tree.cast_like(mean, updates), state.inner, params, **extra_args
        )
        batch, ends_epoch = _next_batch(state)
        due = (number >= every) | ends_epoch
        return jax.tree.map(lambda u: jnp.where(due, u, 0), now), AccumulationState(
            inner=jax.tree.map(lambda new, old: jnp.where(due, new, old), inner, state.inner),
            mean=jax.tree.map(lambda m: jnp.where(due, 0, m), mean),
            num_accumulated=jnp.where(due, 0, number),
            batch=batch,
            num_batches=state.num_batches,
        )

    return optax.GradientTransformationExtraArgs(init, update)


def _next_batch(state: AccumulationState) -> tuple[Array, Array]:
    """Returns the index of the next batch, and True if the current one ends its epoch."""
    ends_epoch = state.batch + 1 == state.num_batches
    return jnp.where(ends_epoch, 0, state.batch + 1), ends_epoch


def begin_epoch(state: PyTree, num_batches: int | Array) -> PyTree:
    """Marks the beginning of an epoch for every :func:`accumulate` in a state.

    Args:
        state: any pytree: an ``opt_state``, a ``TrainState``, ….
        num_batches: batches of the epoch; the last one makes an update.

    Returns:
        the state. Pure: jit it, scan it.

    >>> tx = accumulate(optax.sgd(1.0), every=8)
    >>> state = begin_epoch(tx.init(jnp.zeros(())), 2)
    >>> updates, state = tx.update(jnp.float32(1.0), state)
    >>> print(updates, tx.update(jnp.float32(3.0), state)[0])
    0.0 -2.0
    """

    def begin(node: AccumulationState) -> AccumulationState:
        return node._replace(
            batch=jnp.zeros_like(node.batch),
            num_batches=jnp.full_like(node.num_batches, num_batches),
        )

    return _map_nodes(begin, state)


def skip_batch(state: PyTree) -> PyTree:
    """Counts a batch whose gradients are left out, in every :func:`accumulate` of a state."""
    return _map_nodes(lambda node: node._replace(batch=_next_batch(node)[0]), state)


def _map_nodes(function: Callable[[AccumulationState], AccumulationState], state: PyTree) -> PyTree:
    def is_node(node: object) -> bool:
        return isinstance(node, AccumulationState)

    return jax.tree.map(
        lambda node: function(node) if isinstance(node, AccumulationState) else node,
        state,
        is_leaf=is_node,
    )
