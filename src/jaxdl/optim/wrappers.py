"""What goes around an optimizer: plateaus, mixed precision; and the rates in a state.

Each keeps what it knows in the optimizer's state, so it is saved, resumed and vmapped with it.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import tree
from jaxdl.checks import check_fraction
from jaxdl.optim.averages import AverageState, nodes
from jaxdl.optim.parts import MaxNormState
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


class PrecisionState(NamedTuple):
    """The state of :func:`mixed_precision`.

    Attributes:
        inner: the optimizer's state.
        like: an empty array, whose dtype is that of the computation.
        loss_scale: what the loss is multiplied by before it is differentiated.
        num_good: updates since it changed.
    """

    inner: PyTree
    like: Array
    loss_scale: Array
    num_good: Array


GROW_AFTER = 2000
"""Updates without overflow after which the loss scale doubles; that of ``torch.amp.GradScaler``."""


def mixed_precision(
    tx: optax.GradientTransformation, dtype: Literal["bfloat16", "float16"] = "bfloat16"
) -> optax.GradientTransformation:
    """Computes forward and backward in half precision; weights and optimizer stay float32.

    ``make_step`` sees it in the state and casts the parameters, ``supervised`` the inputs. In
    float16 the loss is scaled, so that small gradients do not vanish; an update whose gradients
    overflow is left out and the scale halved.

    Args:
        tx: optimizer, sees float32 gradients.
        dtype: bfloat16 has float32's range and needs no scale; float16 is the more precise.

    Source: ``torch.autocast`` and ``torch.amp.GradScaler``; unlike autocast everything is cast, and
    what wants float32 (norms, losses) asks for it.
    """
    if dtype not in ("bfloat16", "float16"):
        raise ValueError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}.")
    scaled = dtype == "float16"

    def init(params: PyTree) -> PrecisionState:
        return PrecisionState(
            tx.init(params),
            like=jnp.zeros(0, dtype),
            loss_scale=jnp.array(2.0**16 if scaled else 1.0),
            num_good=jnp.zeros((), jnp.int32),
        )

    def update(
        updates: PyTree, state: PrecisionState, params: PyTree = None
    ) -> tuple[PyTree, PrecisionState]:
        if not scaled:
            updates, inner = tx.update(updates, state.inner, params)
            return updates, state._replace(inner=inner)
        gradients = optax.tree.scale(1 / state.loss_scale, updates)
        finite = tree.all_finite(gradients)
        updates, inner = tx.update(gradients, state.inner, params)
        updates = jax.tree.map(lambda u: jnp.where(finite, u, 0), updates)
        inner = jax.tree.map(lambda new, old: jnp.where(finite, new, old), inner, state.inner)
        num_good = jnp.where(finite, state.num_good + 1, 0)
        grow = num_good >= GROW_AFTER
        change = jnp.where(finite, jnp.where(grow, 2.0, 1.0), 0.5)
        return updates, PrecisionState(
            inner, state.like, state.loss_scale * change, jnp.where(grow, 0, num_good)
        )

    return optax.GradientTransformation(init, update)


def precision(state: PyTree) -> tuple[Any, Array | float]:
    """Dtype of the computation (None: as the weights are) and loss scale of a state."""
    for node in nodes(state, PrecisionState):
        return node.like.dtype, node.loss_scale
    return None, 1.0


def learning_rates(state: PyTree) -> dict[str, float]:
    """The learning rates in a state, as the last update used them.

    Args:
        state: any pytree that holds the state of optimizers from this module: an ``opt_state``, a
            ``TrainState``, a state with two players.

    Returns:
        ``{"learning_rate": value}`` where there is one, ``"learning_rate/PART"`` where there are
        several (the label of :func:`jaxdl.optim.by_pattern`), {} where there is none.
    """
    rates = _rates(state, (), np.float32(1))
    if len(rates) == 1:
        return {"learning_rate": next(iter(rates.values()))}
    return {f"learning_rate/{part}": rate for part, rate in rates.items()}


def _rates(state: PyTree, prefix: tuple, scale: Any) -> dict[str, float]:
    def holds_rate(node: Any) -> bool:
        return isinstance(node, PlateauState) or "learning_rate" in (
            getattr(node, "hyperparams", None) or {}
        )

    rates: dict[str, float] = {}
    for path, node in jax.tree_util.tree_flatten_with_path(state, is_leaf=holds_rate)[0]:
        if isinstance(node, PlateauState):
            rates |= _rates(node.inner, (*prefix, *path), scale * np.float32(node.scale))
        elif holds_rate(node):
            rate = np.float32(node.hyperparams["learning_rate"]) * scale
            # the shortest decimal of the float32: 0.001, not 0.0010000000474974513
            rates[_part((*prefix, *path))] = float(str(rate))
    return rates


_WRAPPERS = ("opt_state", "inner_states", "inner_state", "inner_opt_state", "inner")


def _part(path: tuple) -> str:
    """What a person calls the optimizer at this path: the path without the wrappers."""
    named = [
        key  # a label is the key of a dictionary and always counts
        for key in path
        if isinstance(key, jax.tree_util.DictKey)
        or (isinstance(key, jax.tree_util.GetAttrKey) and key.name not in _WRAPPERS)
    ]
    return tree.leaf_name(tuple(named))
