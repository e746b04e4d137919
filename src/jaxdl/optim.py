"""Optimizers as PyTorch defines them, built from Optax, and what Optax leaves open.

Every optimizer here is an ``optax.GradientTransformation`` and chains with any other. The learning
rate lives in the optimizer state (``optax.inject_hyperparams``): :func:`learning_rates` reads it at
any step, and a sweep can vmap over it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import tree
from jaxdl.types import Array, PyTree

Schedule = Callable[[Array], Array]
LearningRate = float | Array | Schedule
Mask = PyTree | Callable[[PyTree], PyTree] | None


def sgd(
    learning_rate: LearningRate,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Stochastic gradient descent with momentum and coupled weight decay.

    Args:
        learning_rate: number, or schedule of the step.
        momentum: fraction of the last update that is kept.
        nesterov: look ahead along the momentum.
        weight_decay: λ; λ·w is added to the gradient, before momentum.
        mask: pytree of booleans, or a function of the parameters that gives one: what decays.

    Source: ``torch.optim.SGD`` (dampening 0), equal to it.
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity(),
            optax.sgd(learning_rate, momentum or None, nesterov),
        )

    return _with_learning_rate(make, learning_rate)


def adam(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adam with coupled weight decay: λ·w is added to the gradient, as an L2 penalty would.

    Args:
        learning_rate: number, or schedule of the step.
        b1: decay of the mean of the gradients.
        b2: decay of the mean of their squares.
        eps: added to the root of the second moment.
        weight_decay: λ.
        mask: what decays; see :func:`sgd`.

    Source: ``torch.optim.Adam``, equal to it. For decay apart from the gradient see :func:`adamw`.
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.chain(
            optax.add_decayed_weights(weight_decay, mask) if weight_decay else optax.identity(),
            optax.adam(learning_rate, b1, b2, eps),
        )

    return _with_learning_rate(make, learning_rate)


def adamw(
    learning_rate: LearningRate = 1e-3,
    *,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
    mask: Mask = None,
) -> optax.GradientTransformation:
    """Adam with decoupled weight decay: weights shrink by the learning rate times λ.

    Args: as :func:`adam`. Source: ``torch.optim.AdamW``, equal to it, with its default λ (Optax's
    is 1e-4).
    """

    def make(learning_rate: LearningRate) -> optax.GradientTransformation:
        return optax.adamw(learning_rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)

    return _with_learning_rate(make, learning_rate)


def _with_learning_rate(
    make: Callable[[LearningRate], optax.GradientTransformation], learning_rate: LearningRate
) -> optax.GradientTransformation:
    return optax.inject_hyperparams(make)(learning_rate=learning_rate)


def learning_rates(state: PyTree) -> dict[str, float]:
    """The learning rates in a state, as the last update used them.

    Args:
        state: any pytree that holds the state of optimizers from this module: an ``opt_state``, a
            ``TrainState``, a state with two players.

    Returns:
        ``{"learning_rate": value}`` where there is one, ``"learning_rate/PART"`` where there are
        several (the label of :func:`by_pattern`), {} where there is none.
    """

    def holds_rate(node: Any) -> bool:
        return "learning_rate" in (getattr(node, "hyperparams", None) or {})

    nodes = jax.tree_util.tree_flatten_with_path(state, is_leaf=holds_rate)[0]
    rates = {
        # the shortest decimal of the float32: 0.001, not 0.0010000000474974513
        _part(path): float(str(np.float32(node.hyperparams["learning_rate"])))
        for path, node in nodes
        if holds_rate(node)
    }
    if len(rates) == 1:
        return {"learning_rate": next(iter(rates.values()))}
    return {f"learning_rate/{part}": rate for part, rate in rates.items()}


def _part(path: tuple) -> str:
    """What a person calls the optimizer at this path: the path without Optax's own wrappers."""
    names = tree.leaf_name(path).split("/")
    return "/".join(n for n in names if n not in ("opt_state", "inner_states", "inner_state"))


def step_decay(learning_rate: float, every: int, factor: float = 0.1) -> Schedule:
    """The rate is multiplied by ``factor`` every ``every`` steps.

    Source: ``torch.optim.lr_scheduler.StepLR``, counted in steps instead of epochs.

    >>> print(f"{step_decay(1e-3, every=30)(60):.6f}")
    0.000010
    """
    _check_length(every=every)
    return optax.exponential_decay(learning_rate, every, factor, staircase=True)


def warmup_cosine(
    learning_rate: float, num_steps: int, *, num_warmup_steps: int = 0, final_factor: float = 0.0
) -> Schedule:
    """Linear warm-up from 0, then half a cosine down to ``final_factor`` times the rate.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training, warm-up included.
        num_warmup_steps: of the warm-up.
        final_factor: what is left at the end.

    Source: Loshchilov & Hutter 2017 (SGDR), eq. 5, one cycle; without warm-up it is
    ``torch.optim.lr_scheduler.CosineAnnealingLR``.
    """
    _check_length(num_steps=num_steps)
    if not 0 <= num_warmup_steps < num_steps:
        raise ValueError(
            f"num_warmup_steps must lie in 0 to {num_steps - 1} (num_steps - 1), "
            f"got {num_warmup_steps}."
        )
    final = learning_rate * final_factor
    if num_warmup_steps == 0:
        return optax.cosine_decay_schedule(learning_rate, num_steps, final_factor)
    return optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, num_warmup_steps, num_steps, final
    )


def one_cycle(learning_rate: float, num_steps: int) -> Schedule:
    """Up from 1/25 of the rate over the first 30 % of the steps, then down to almost nothing.

    Args:
        learning_rate: the peak.
        num_steps: of the whole training; the last one is the lowest, 1/250,000 of the peak.

    Source: ``torch.optim.lr_scheduler.OneCycleLR`` with its defaults (cosine), equal to it. Optax's
    peaks and ends a step later, and has no rate below 4 steps.
    """
    _check_length(num_steps=num_steps)
    peak, end = 0.3 * num_steps - 1, num_steps - 1

    def cosine(start: float, stop: float, fraction: Array) -> Array:
        fraction = jnp.clip(fraction, 0.0, 1.0)
        return stop + (start - stop) * 0.5 * (1.0 + jnp.cos(jnp.pi * fraction))

    def schedule(step: Array) -> Array:
        rising = cosine(learning_rate / 25, learning_rate, step / peak)
        falling = cosine(learning_rate, learning_rate / 25e4, (step - peak) / (end - peak))
        return jnp.where(step <= peak, rising, falling)

    return schedule


def _check_length(**lengths: int) -> None:
    for name, length in lengths.items():
        if length < 1:
            raise ValueError(f"{name} must be at least 1, got {length}.")


def no_decay_on_vectors(params: PyTree) -> PyTree:
    """A mask for weight decay: True for matrices and kernels, False for biases, norms and scales.

    >>> no_decay_on_vectors({"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)})
    {'bias': False, 'kernel': True}
    """
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def freeze(
    tx: optax.GradientTransformation, patterns: str | Sequence[str]
) -> optax.GradientTransformation:
    """Leaves the parameters whose names match as they are; the others follow ``tx``.

    Args:
        tx: transformation of what is trained.
        patterns: regular expressions for parameter names; see :func:`jaxdl.tree.mask`.

    Raises:
        ValueError: at ``init``, where a pattern matches no parameter.

    Source: ``requires_grad_(False)``.
    """
    return by_pattern(
        {"frozen": optax.set_to_zero(), "trained": tx}, {"frozen": patterns}, "trained"
    )


def by_pattern(
    transformations: Mapping[str, optax.GradientTransformation],
    patterns: Mapping[str, str | Sequence[str]],
    default: str,
) -> optax.GradientTransformation:
    """One transformation for each part of a model: a learning rate per layer, frozen parts, ….

    Args:
        transformations: by label.
        patterns: regular expressions for parameter names, by label; see :func:`jaxdl.tree.mask`.
        default: the label of the parameters that no pattern matches.

    Raises:
        ValueError: at ``init``, where a pattern matches nothing or a parameter matches the patterns
            of two labels; or here, for a label without a transformation.

    Source: parameter groups of ``torch.optim``.
    """
    unknown = {default, *patterns} - transformations.keys()
    if unknown:
        raise ValueError(
            f"no transformation for {sorted(unknown)}; there are {sorted(transformations)}."
        )

    def label(params: PyTree) -> PyTree:
        masks = {name: tree.mask(params, pattern) for name, pattern in patterns.items()}

        def choose(path: tuple, _: Array, *matches: bool) -> str:
            chosen = [name for name, match in zip(masks, matches, strict=True) if match]
            if len(chosen) > 1:
                where = tree.leaf_name(path)
                raise ValueError(f"{where} matches the patterns of {chosen}; expected one of them.")
            return chosen[0] if chosen else default

        return jax.tree_util.tree_map_with_path(choose, params, *masks.values())

    return optax.multi_transform(dict(transformations), label)
