"""Optimizer, schedule, clipping and averaging in one call."""

from collections.abc import Callable, Mapping
from typing import Literal

import jax.numpy as jnp
import optax

from jaxdl._checks import check_count, check_positive
from jaxdl._pytorch_names import explain_keywords
from jaxdl.optim.accumulation import accumulate as with_accumulation
from jaxdl.optim.averaging import ema as with_ema
from jaxdl.optim.groups import Patterns, by_pattern, freeze, no_decay_on_vectors
from jaxdl.optim.optimizers import LearningRate
from jaxdl.optim.plateau import reduce_on_plateau
from jaxdl.optim.precision import mixed_precision
from jaxdl.types import PyTree

Optimizer = Callable[..., optax.GradientTransformation]


@explain_keywords
def recipe(
    optimizer: Optimizer,
    learning_rate: LearningRate,
    *,
    parts: Mapping[str, tuple[Patterns, LearningRate]] | None = None,
    frozen: Patterns = (),
    weight_decay: float | None = None,
    decay_vectors: bool = True,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    accumulate: int = 1,
    plateau: Mapping[str, object] | None = None,
    ema: float | None = None,
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    **options: object,
) -> optax.GradientTransformation:
    """Builds an optimizer with the options that training recipes put around it.

    ``recipe(adamw, rate)`` is ``adamw(rate)``. Gradients are accumulated, clipped, decayed and
    applied, in the order of PyTorch's loops; then the weights are averaged.

    Args:
        optimizer: ``optim.sgd``, ``optim.adamw``, or another function of this package.
        learning_rate: number or schedule, for the parameters outside ``parts``.
        parts: label → (patterns of parameter names, learning rate); see
            :func:`jaxdl.optim.by_pattern`. The rates are logged as ``learning_rate/LABEL``.
        frozen: patterns of the parameters that are not trained.
        weight_decay: λ; None for the optimizer's default.
        decay_vectors: False exempts biases and the scales of norms from decay.
        clip_norm: largest global norm of the gradients of the trained parameters; longer ones are
            multiplied by ``clip_norm / (norm + 1e-6)``, as ``torch.nn.utils.clip_grad_norm_`` does.
        clip_value: largest absolute value of a gradient; applied before ``clip_norm``.
        accumulate: batches whose mean gradient makes one update; the last batch of an epoch makes
            one too. Schedules count updates.
        plateau: options of :func:`jaxdl.optim.reduce_on_plateau`, {} for its defaults; reduces
            every learning rate when a metric has stopped improving.
        ema: decay of a moving average of the weights; see :func:`jaxdl.optim.ema`.
        precision: of forward and backward; see :func:`jaxdl.optim.mixed_precision`.
        **options: of the optimizer: ``momentum=0.9``, ``b2=0.95``, ….

    Raises:
        ValueError: an optimizer that is not a function; a number out of range; a reserved label; at
            ``init``, a pattern that matches nothing, or two that match one parameter.

    >>> from jaxdl import optim
    >>> tx = recipe(
    ...     optim.sgd, 1e-3, momentum=0.9, weight_decay=1e-4, clip_norm=20.0,
    ...     parts={"head": ("^Dense_1", 1e-2)}, frozen="^Conv_0",
    ... )
    """
    if not callable(optimizer):
        raise ValueError(
            f"optimizer must be a function that makes one, e.g. optim.adamw, got {optimizer!r}."
        )
    check_count(accumulate=accumulate)
    if weight_decay is not None:
        options["weight_decay"] = weight_decay
    if not decay_vectors:
        options["mask"] = no_decay_on_vectors
    tx = _grouped(optimizer, learning_rate, options, parts or {}, frozen)
    clips = _clips(clip_norm, clip_value, frozen)
    tx = optax.chain(*clips, tx) if clips else tx
    # an average must see the updates as they are made, so the plateau scales them before
    tx = reduce_on_plateau(tx, **plateau) if plateau is not None else tx  # type: ignore[arg-type]
    tx = with_ema(tx, ema) if ema is not None else tx
    tx = with_accumulation(tx, accumulate) if accumulate > 1 else tx
    return tx if precision == "float32" else mixed_precision(tx, precision)


def _grouped(
    optimizer: Optimizer,
    learning_rate: LearningRate,
    options: Mapping[str, object],
    parts: Mapping[str, tuple[Patterns, LearningRate]],
    frozen: Patterns,
) -> optax.GradientTransformation:
    """One optimizer per part, and one for the rest."""
    reserved = {"frozen", "rest"} & parts.keys()
    if reserved:
        raise ValueError(f"the label {sorted(reserved)[0]!r} is reserved; choose another.")
    patterns: dict[str, Patterns] = {label: pattern for label, (pattern, _) in parts.items()}
    rules = {label: optimizer(rate, **options) for label, (_, rate) in parts.items()}
    rules["rest"] = optimizer(learning_rate, **options)
    if frozen:
        rules["frozen"], patterns["frozen"] = optax.set_to_zero(), frozen
    return by_pattern(rules, patterns, "rest") if patterns else rules["rest"]


def _clips(
    norm: float | None, value: float | None, frozen: Patterns
) -> list[optax.GradientTransformation]:
    clips: list[optax.GradientTransformation] = []
    if frozen and norm is not None:
        clips.append(freeze(optax.identity(), frozen))  # what is frozen must not count in the norm
    if value is not None:
        check_positive(clip_value=value)
        clips.append(optax.clip(value))
    if norm is not None:
        check_positive(clip_norm=norm)
        clips.append(_clip_norm(norm))
    return clips


def _clip_norm(limit: float) -> optax.GradientTransformation:
    def clip(updates: PyTree, _: PyTree) -> PyTree:
        return optax.tree.scale(
            jnp.minimum(1.0, limit / (optax.tree.norm(updates) + 1e-6)), updates
        )

    return optax.stateless(clip)
