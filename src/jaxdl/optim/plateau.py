"""Learning-rate reduction on a plateau of a metric."""

from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl._checks import check_below_one, check_count, check_fraction, check_not_negative
from jaxdl._pytorch_names import explain_keywords
from jaxdl.optim.averaging import AverageState, nodes
from jaxdl.optim.groups import MaxNormState
from jaxdl.types import Array, PyTree

Node = TypeVar("Node")

RULE = ("factor", "patience", "threshold", "relative", "cooldown", "min_scale", "sign")
"""The numbers of a rule: ``relative`` is 1 or 0, ``sign`` 1 for a minimum, -1 for a maximum."""


class PlateauState(NamedTuple):
    """The state of :func:`reduce_on_plateau`.

    Attributes:
        inner: the optimizer's state.
        scale: factor of the learning rate.
        best: best value so far.
        num_bad: values since then.
        cooldown: number of values that are still ignored.
        rule: the seven constants of the rule, (7,), so that the state is all that
            :func:`jaxdl.optim.plateau.observe` needs.
    """

    inner: PyTree
    scale: Array
    best: Array
    num_bad: Array
    cooldown: Array
    rule: Array


@explain_keywords
def reduce_on_plateau(
    tx: optax.GradientTransformation,
    *,
    mode: Literal["min", "max"] = "min",
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: Literal["relative", "absolute"] = "relative",
    cooldown: int = 0,
    min_scale: float = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """Reduces the learning rate when a metric has stopped improving.

    ``train.run`` and ``train.fit`` report the metric ``monitor`` after each epoch; a custom loop
    calls :func:`jaxdl.optim.plateau.observe`.

    Args:
        tx: optimizer whose updates are proportional to its learning rate. :func:`ema`,
            :func:`swa` and :func:`max_norm` go around this, not inside: they read the final
            updates. ``recipe(..., plateau={})`` orders them so.
        mode: "min" if less is better, "max" if more is.
        factor: factor of each reduction, in [0, 1).
        patience: number of values with no improvement after which the learning rate is reduced.
        threshold: least improvement that counts.
        threshold_mode: "relative" to the size of the best value, or "absolute".
        cooldown: number of values that are ignored after a reduction.
        min_scale: least product of all factors in [0, 1]: PyTorch's ``min_lr / lr``.

    Raises:
        ValueError: an option out of range; at ``init``, a ``tx`` with an average or ``max_norm``.

    Source: ``torch.optim.lr_scheduler.ReduceLROnPlateau``, equal to it for values above 0. For
    negative ones its relative threshold counts a slightly worse value as an improvement; here the
    margin is relative to the absolute value.

    >>> from jaxdl import optim
    >>> tx = reduce_on_plateau(optim.sgd(1.0), patience=1)
    >>> state = tx.init({"w": jnp.zeros(2)})
    >>> for loss in (0.5, 0.6, 0.7):
    ...     state = observe(state, loss)
    >>> optim.learning_rates(state)
    {'learning_rate': 0.1}
    """
    check_below_one(factor=factor)
    check_fraction(min_scale=min_scale)
    check_count(0, patience=patience, cooldown=cooldown)
    check_not_negative(threshold=threshold)
    if mode not in ("min", "max") or threshold_mode not in ("relative", "absolute"):
        raise ValueError(
            "mode must be 'min' or 'max' and threshold_mode 'relative' or 'absolute', got "
            f"{mode!r} and {threshold_mode!r}."
        )
    sign = 1.0 if mode == "min" else -1.0
    relative = float(threshold_mode == "relative")
    rule = [factor, patience, threshold, relative, cooldown, min_scale, sign]
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> PlateauState:
        inner = tx.init(params)
        for name, kind in (("ema or swa", AverageState), ("max_norm", MaxNormState)):
            if nodes(inner, kind):
                raise ValueError(
                    f"reduce_on_plateau around {name} would scale updates after {name} has read "
                    f"them; expected {name.split()[0]}(reduce_on_plateau(tx)), or "
                    "recipe(..., plateau={})."
                )
        return PlateauState(
            inner,
            scale=jnp.ones(()),
            best=jnp.array(sign * np.finfo(np.float32).max),  # finite: runs watch for infinities
            num_bad=jnp.zeros((), jnp.int32),
            cooldown=jnp.zeros((), jnp.int32),
            rule=jnp.array(rule, jnp.float32),
        )

    def update(
        updates: PyTree, state: PlateauState, params: PyTree = None, **extra_args: object
    ) -> tuple[PyTree, PlateauState]:
        updates, inner = tx.update(updates, state.inner, params, **extra_args)
        return optax.tree.scale(state.scale, updates), state._replace(inner=inner)

    return optax.GradientTransformationExtraArgs(init, update)


def observe(state: PyTree, value: Array | float) -> PyTree:
    """Passes a new value of the metric to every :func:`reduce_on_plateau` in a state.

    Args:
        state: any pytree: an ``opt_state``, a ``TrainState``, ….
        value: of the metric, shape (). NaN is not an improvement.

    Returns:
        the state, its scale reduced if the metric has stopped improving. Pure: jit it, scan it.

    >>> from jaxdl import optim
    >>> state = reduce_on_plateau(optim.sgd(1.0), patience=0, factor=0.5).init(jnp.zeros(2))
    >>> print(observe(observe(state, 0.1), 0.2).scale)
    0.5
    """

    def new(node: Node) -> Node | PlateauState:
        if not isinstance(node, PlateauState):
            return node
        return _observe(node, value)._replace(inner=observe(node.inner, value))

    return jax.tree.map(new, state, is_leaf=lambda node: isinstance(node, PlateauState))


def _observe(state: PlateauState, value: Array | float) -> PlateauState:
    factor, patience, threshold, relative, cooldown, min_scale, sign = state.rule
    # smaller is better for signed values
    signed, best = sign * jnp.asarray(value, jnp.float32), sign * state.best
    margin = threshold * jnp.where(relative > 0, jnp.abs(best), 1.0)
    better = signed < best - margin
    num_bad = jnp.where(better, 0, state.num_bad + 1)
    cooling = state.cooldown > 0
    left = jnp.where(cooling, state.cooldown - 1, 0)
    num_bad = jnp.where(cooling, 0, num_bad)
    reduce = num_bad > patience
    return state._replace(
        scale=jnp.where(reduce, jnp.maximum(state.scale * factor, min_scale), state.scale),
        best=jnp.where(better, signed * sign, state.best),
        num_bad=jnp.where(reduce, 0, num_bad).astype(jnp.int32),
        cooldown=jnp.where(reduce, cooldown, left).astype(jnp.int32),
    )


def has_plateau(state: PyTree) -> bool:
    """Returns True if any wrapped optimizer needs the monitored metric."""
    return bool(nodes(state, PlateauState))
