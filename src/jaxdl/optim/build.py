"""Optimizer, schedule, clipping and averaging in one call."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax.numpy as jnp
import optax

from jaxdl._checks import check_positive
from jaxdl.optim.averaging import ema as with_ema
from jaxdl.optim.groups import Patterns, by_pattern, freeze, no_decay_on_vectors
from jaxdl.optim.optimizers import LearningRate
from jaxdl.optim.plateau import reduce_on_plateau
from jaxdl.optim.precision import mixed_precision
from jaxdl.types import PyTree


def recipe(
    optimizer: Callable[..., optax.GradientTransformation],
    learning_rate: LearningRate,
    *,
    parts: Mapping[str, tuple[Patterns, LearningRate]] | None = None,
    frozen: Patterns = (),
    weight_decay: float | None = None,
    decay_vectors: bool = False,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    plateau: Mapping[str, Any] | None = None,
    ema: float | None = None,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    **options: Any,
) -> optax.GradientTransformation:
    """An optimizer with what recipes put around it, in the order in which PyTorch's loops do it.

    Gradients are accumulated, clipped, decayed and stepped; then the weights are averaged.

    Args:
        optimizer: a function of this module, ``optim.sgd`` or ``optim.adamw``, ….
        learning_rate: number or schedule, of what no part claims.
        parts: label → (patterns of parameter names, learning rate); see
            :func:`jaxdl.optim.by_pattern`. The rates are logged as ``learning_rate/LABEL``.
        frozen: patterns of the parameters that stay as they are.
        weight_decay: λ; None leaves it to the optimizer.
        decay_vectors: decay biases and the scales of norms too.
        clip_norm: largest global norm of the gradients of all that is trained; longer ones are
            multiplied by ``clip_norm / (norm + 1e-6)``, as ``torch.nn.utils.clip_grad_norm_`` does.
        clip_value: largest absolute value of a gradient; applied before ``clip_norm``.
        accumulate: batches whose mean gradient makes one update; schedules count updates.
        plateau: options of :func:`jaxdl.optim.reduce_on_plateau`, {} for its defaults; lowers every
            rate where a metric stops getting better.
        ema: decay of a moving average of the weights; see :func:`jaxdl.optim.ema`.
        precision: of forward and backward; see :func:`jaxdl.optim.mixed_precision`.
        **options: of the optimizer: ``momentum=0.9``, ``b2=0.95``, ….

    Raises:
        ValueError: a pattern that matches nothing, or two that match one parameter (at ``init``).

    >>> from jaxdl import optim
    >>> tx = recipe(
    ...     optim.sgd, 1e-3, momentum=0.9, weight_decay=1e-4, clip_norm=20.0,
    ...     parts={"head": ("^Dense_1", 1e-2)}, frozen="^Conv_0",
    ... )
    """
    check_positive(accumulate=accumulate)
    limits = {"clip_norm": clip_norm, "clip_value": clip_value}
    check_positive(**{name: value for name, value in limits.items() if value is not None})
    if weight_decay is not None:
        options["weight_decay"] = weight_decay
    if not decay_vectors:
        options["mask"] = no_decay_on_vectors
    parts = parts or {}
    reserved = {"frozen", "rest"} & parts.keys()
    if reserved:
        raise ValueError(f"{sorted(reserved)[0]!r} is no name for a part; choose another.")
    patterns: dict[str, Patterns] = {label: pattern for label, (pattern, _) in parts.items()}
    rules = {label: optimizer(rate, **options) for label, (_, rate) in parts.items()}
    rules["rest"] = optimizer(learning_rate, **options)
    if frozen:
        rules["frozen"], patterns["frozen"] = optax.set_to_zero(), frozen
    tx = by_pattern(rules, patterns, "rest") if patterns else rules["rest"]
    # what is frozen must not count in the norm
    chain = [freeze(optax.identity(), frozen)] if frozen and clip_norm is not None else []
    chain += [optax.clip(clip_value)] if clip_value is not None else []
    chain += [_clip_norm(clip_norm)] if clip_norm is not None else []
    tx = optax.chain(*chain, tx) if chain else tx
    # an average must see the updates as they are made, so the plateau scales them before
    tx = reduce_on_plateau(tx, **plateau) if plateau is not None else tx
    tx = with_ema(tx, ema) if ema is not None else tx
    if accumulate > 1:
        tx = optax.MultiSteps(tx, every_k_schedule=accumulate).gradient_transformation()
    return tx if precision == "float32" else mixed_precision(tx, precision)


def _clip_norm(limit: float) -> optax.GradientTransformation:
    def clip(updates: PyTree, _: PyTree) -> PyTree:
        return optax.tree.scale(
            jnp.minimum(1.0, limit / (optax.tree.norm(updates) + 1e-6)), updates
        )

    return optax.stateless(clip)
