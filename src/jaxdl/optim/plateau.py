"""Learning-rate reduction on a plateau of a metric."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdl._checks import check_fraction
from jaxdl.optim.averaging import AverageState, nodes
from jaxdl.optim.groups import MaxNormState
from jaxdl.types import Array, PyTree


class PlateauState(NamedTuple):
    """What :func:`reduce_on_plateau` remembers.

    Attributes:
        inner: the optimizer's state.
        scale: what the learning rate is multiplied by.
        best: the best value so far.
        num_bad: values since then.
        cooldown: values that will still be passed over.
        rule: factor, patience, threshold, 1 if the threshold is relative, cooldown, least scale,
            and 1 or -1 for a minimum or a maximum: constants, kept here so that a state says all
            that :func:`observe` needs.
    """

    inner: PyTree
    scale: Array
    best: Array
    num_bad: Array
    cooldown: Array
    rule: Array


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
) -> optax.GradientTransformation:
    """Lowers the learning rate where a metric of the validation stops getting better.

    ``train.run`` and ``train.fit`` report the metric ``monitor`` after each epoch; a loop of your
    own calls :func:`observe`. State and rule are saved with the run, so a resumed one lowers the
    rate where it would have.

    Args:
        tx: optimizer whose updates grow in proportion to its learning rate. :func:`ema`,
            :func:`swa` and :func:`max_norm` go around this, not inside: what they see is the
            update that is made. ``recipe(..., plateau={})`` orders them so.
        mode: whether less or more is better.
        factor: what the rate is multiplied by.
        patience: values without a better one that are borne; the next one lowers the rate.
        threshold: how much better is better.
        threshold_mode: "relative" to the size of the best value, or "absolute".
        cooldown: values after a reduction that are not counted.
        min_scale: least product of all factors: PyTorch's ``min_lr / lr``.

    Raises:
        ValueError: an option out of range; at ``init``, around an average or ``max_norm``.

    Source: ``torch.optim.lr_scheduler.ReduceLROnPlateau``, equal to it for values above 0. For
    negative ones its relative threshold takes a slightly worse value for a better one; here the
    margin is relative to the absolute value.
    """
    check_fraction(factor=factor, min_scale=min_scale)
    if mode not in ("min", "max") or threshold_mode not in ("relative", "absolute"):
        raise ValueError(
            "mode must be 'min' or 'max' and threshold_mode 'relative' or 'absolute', got "
            f"{mode!r} and {threshold_mode!r}."
        )
    if min(patience, cooldown) < 0 or threshold < 0:
        raise ValueError(
            "patience, cooldown and threshold must be at least 0, got "
            f"{patience}, {cooldown}, {threshold}."
        )
    sign = 1.0 if mode == "min" else -1.0
    relative = float(threshold_mode == "relative")
    rule = [factor, patience, threshold, relative, cooldown, min_scale, sign]

    def init(params: PyTree) -> PlateauState:
        inner = tx.init(params)
        for name, kind in (("ema or swa", AverageState), ("max_norm", MaxNormState)):
            if nodes(inner, kind):
                raise ValueError(
                    f"reduce_on_plateau around {name} would scale updates that {name} took to be "
                    f"final; expected {name.split()[0]}(reduce_on_plateau(tx)), or "
                    "recipe(..., plateau={})."
                )
        return PlateauState(
            inner,
            scale=jnp.ones(()),
            best=jnp.array(sign * jnp.finfo(jnp.float32).max),  # finite: runs watch for infinities
            num_bad=jnp.zeros((), jnp.int32),
            cooldown=jnp.zeros((), jnp.int32),
            rule=jnp.array(rule, jnp.float32),
        )

    def update(
        updates: PyTree, state: PlateauState, params: PyTree = None
    ) -> tuple[PyTree, PlateauState]:
        updates, inner = tx.update(updates, state.inner, params)
        return optax.tree.scale(state.scale, updates), state._replace(inner=inner)

    return optax.GradientTransformation(init, update)


def observe(state: PyTree, value: Array | float) -> PyTree:
    """Tells every :func:`reduce_on_plateau` in a state the new value of its metric.

    Args:
        state: any pytree: an ``opt_state``, a ``TrainState``, ….
        value: of the metric, shape (). NaN is no improvement.

    Returns:
        the state, with its scale lowered where it was time. Pure: jit it, scan it.
    """

    def new(node: Any) -> Any:
        if not isinstance(node, PlateauState):
            return node
        factor, patience, threshold, relative, cooldown, min_scale, sign = node.rule
        # smaller is better for signed values
        signed, best = sign * jnp.asarray(value, jnp.float32), sign * node.best
        margin = threshold * jnp.where(relative > 0, jnp.abs(best), 1.0)
        better = signed < best - margin
        num_bad = jnp.where(better, 0, node.num_bad + 1)
        cooling = node.cooldown > 0
        left = jnp.where(cooling, node.cooldown - 1, 0)
        num_bad = jnp.where(cooling, 0, num_bad)
        reduce = num_bad > patience
        scale = jnp.where(reduce, jnp.maximum(node.scale * factor, min_scale), node.scale)
        return node._replace(
            inner=observe(node.inner, value),
            scale=scale,
            best=jnp.where(better, signed * sign, node.best),
            num_bad=jnp.where(reduce, 0, num_bad).astype(jnp.int32),
            cooldown=jnp.where(reduce, cooldown, left).astype(jnp.int32),
        )

    return jax.tree.map(new, state, is_leaf=lambda node: isinstance(node, PlateauState))


def has_plateau(state: PyTree) -> bool:
    """Whether a state wants to be told a metric."""
    return bool(nodes(state, PlateauState))
