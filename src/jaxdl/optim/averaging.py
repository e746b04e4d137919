"""Averages of the weights: EMA and SWA."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_count, check_fraction
from jaxdl.types import Array, PyTree

Node = TypeVar("Node")


class AverageState(NamedTuple):
    """The state of :func:`ema` and :func:`swa`.

    Attributes:
        inner: the optimizer's state.
        average: average of the parameters, in their form.
        count: number of updates so far.
    """

    inner: PyTree
    average: PyTree
    count: Array  # type: ignore[assignment]  # replaces tuple.count


def ema(
    tx: optax.GradientTransformation, decay: float = 0.999, *, start: int = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Keeps an exponential moving average of the weights: :math:`a \leftarrow d a + (1 - d) w`.

    Evaluate it with ``make_eval(loss_fn, averaged=True)`` or read it with :func:`averaged_params`.

    Args:
        tx: optimizer; trains the weights as it would without the average.
        decay: d in [0, 1].
        start: number of updates before the average begins, at the weights of that moment.

    Raises:
        ValueError: a decay outside [0, 1] or a negative start.

    Source: ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn``.

    >>> from jaxdl import optim
    >>> tx = ema(optim.sgd(1.0), 0.5)
    >>> params, state = jnp.zeros(1), tx.init(jnp.zeros(1))
    >>> for _ in range(2):
    ...     updates, state = tx.update(jnp.ones(1), state, params)
    ...     params = params + updates
    >>> print(params, averaged_params(state))
    [-2.] [-1.5]
    """
    check_fraction(decay=decay)
    check_count(0, start=start)

    def weight(count: Array) -> Array:
        return jnp.where(count <= start + 1, 1.0, 1.0 - decay)

    return _averaged(tx, weight)


def swa(
    tx: optax.GradientTransformation, *, start: int = 0, every: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Keeps the mean of the weights after every ``every``-th update past ``start``.

    Args:
        tx: optimizer; trains the weights as it would without the average.
        start: number of updates before the average begins.
        every: updates between two of the averaged weights, usually those of an epoch.

    Raises:
        ValueError: a negative start or ``every`` below 1.

    Source: ``torch.optim.swa_utils.AveragedModel``; Izmailov et al. 2018. BatchNorm's running
    statistics stay those of the trained weights.

    >>> from jaxdl import optim
    >>> tx = swa(optim.sgd(1.0))
    >>> params, state = jnp.zeros(1), tx.init(jnp.zeros(1))
    >>> for _ in range(3):
    ...     updates, state = tx.update(jnp.ones(1), state, params)
    ...     params = params + updates
    >>> print(params, averaged_params(state))
    [-3.] [-2.]
    """
    check_count(0, start=start)
    check_count(every=every)

    def weight(count: Array) -> Array:
        taken = jnp.maximum(count - start, 0)  # updates since the average began
        number = jnp.maximum(taken // every, 1)
        return jnp.where(
            taken == 0, 1.0, jnp.where(taken % every == 0, 1.0 / number, jnp.zeros(()))
        )

    return _averaged(tx, weight)


def _averaged(
    tx: optax.GradientTransformation, weight: Callable[[Array], Array]
) -> optax.GradientTransformationExtraArgs:
    """``average += weight(number of updates) * (new weights - average)``."""
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> AverageState:
        copy = jax.tree.map(jnp.array, params)  # not the same buffers: both are donated
        return AverageState(tx.init(params), copy, jnp.zeros((), jnp.int32))

    def update(
        updates: PyTree, state: AverageState, params: PyTree = None, **extra_args: object
    ) -> tuple[PyTree, AverageState]:
        if params is None:
            raise ValueError("averaging needs the parameters: tx.update(gradients, state, params).")
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        count = state.count + 1
        share = weight(count)
        average = jax.tree.map(
            lambda a, p, u: (a + share * (p + u - a)).astype(a.dtype),
            state.average,
            params,
            updates,
        )
        return updates, AverageState(inner, average, count)

    return optax.GradientTransformationExtraArgs(init, update)


def averaged_params(state: PyTree) -> PyTree:
    """The averaged weights in a state of :func:`ema` or :func:`swa`.

    Args:
        state: an ``opt_state`` or a ``TrainState``.

    Raises:
        ValueError: no average in the state, or more than one.

    >>> from jaxdl import optim
    >>> averaged_params(ema(optim.sgd(0.1)).init({"w": jnp.zeros(2)}))
    {'w': Array([0., 0.], dtype=float32)}
    """
    found = nodes(state, AverageState)
    if len(found) != 1:
        raise ValueError(
            f"expected one average of the weights in the state, found {len(found)}: wrap the "
            "optimizer in optim.ema or optim.swa."
        )
    return found[0].average


def nodes(state: PyTree, kind: type[Node]) -> list[Node]:
    """The nodes of a type in a tree, nested ones included."""
    found: list[Node] = []
    for node in jax.tree.leaves(state, is_leaf=lambda node: isinstance(node, kind)):
        if isinstance(node, kind):
            found += [node, *nodes(getattr(node, "inner", None), kind)]
    return found
