"""Classification losses: multi-class, binary and multi-label."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Integer, Real

from jaxdl._checks import (
    check_fraction,
    check_not_negative,
    check_num_classes,
    check_shape,
    shape_of,
)
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import check_alike, floating, mean_over_features, power
from jaxdl.types import IGNORE_LABEL, Array


@explain_keywords
def cross_entropy(
    logits: Float[Array, "B *T C"],
    labels: Integer[Array, " B *T"],
    *,
    label_smoothing: float = 0.0,
    class_weights: Real[Array, " C"] | None = None,
    ignore_label: int | None = IGNORE_LABEL,
) -> Float[Array, " B *T"]:
    r"""Cross entropy between logits and class indices, in nats.

    .. math:: -\sum_c w_c q_c \log \mathrm{softmax}(z)_c,\quad
              q_c = (1-\epsilon)\,[c = y] + \epsilon / C

    Args:
        logits: (B, ..., C) unnormalized log-probabilities, C at least 2.
        labels: (B, ...) integers in [0, C): (B,) for examples, (B, T) for tokens. One out of range
            gives NaN; ``train.run`` and ``train.fit`` check labels before training.
        label_smoothing: ε in [0, 1]. To spread ε over the C-1 wrong classes only, pass ε·C/(C-1).
        class_weights: (C,) w, or None for 1.
        ignore_label: a label whose loss and gradient are 0, or None.

    Returns:
        losses, shaped like ``labels``. PyTorch's mean over a batch is their sum divided by that of
        :func:`label_weights`.

    Raises:
        ValueError: wrong shapes or dtypes, one class, or ε outside [0, 1].

    Source: ``torch.nn.functional.cross_entropy(..., reduction="none")``, equal to it; classes are
    on the last axis here, on axis 1 there.

    >>> print(cross_entropy(jnp.array([[2.0, 1.0, 0.0]]), jnp.array([0])).round(4))
    [0.4076]
    """
    _check_labels("logits", logits, labels)
    check_fraction(label_smoothing=label_smoothing)
    (logits,) = floating(logits)
    index, ignored = _split_labels(labels, logits.shape[-1], ignore_label)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, index)
    weights = None if class_weights is None else _class_weights(class_weights, logits)
    if weights is not None:
        losses *= _take(weights, index)
    if isinstance(label_smoothing, jax.core.Tracer) or label_smoothing > 0.0:
        of_class = jax.nn.logsumexp(logits, axis=-1, keepdims=True) - logits
        if weights is not None:
            of_class *= jnp.broadcast_to(weights, logits.shape)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * of_class.mean(axis=-1)
    return jnp.where(ignored, 0.0, losses)


@explain_keywords
def soft_cross_entropy(
    logits: Float[Array, "B *T C"],
    targets: Real[Array, "B *T C"],
    *,
    label_smoothing: float = 0.0,
    class_weights: Real[Array, " C"] | None = None,
) -> Float[Array, " B *T"]:
    r"""Cross entropy between logits and probabilities of the classes, in nats.

    .. math:: -\sum_c w_c q_c \log \mathrm{softmax}(z)_c,\quad
              q_c = (1-\epsilon)\,t_c + \epsilon / C

    Args:
        logits: (B, ..., C) unnormalized log-probabilities, C at least 2.
        targets: like ``logits``, probabilities t. They need not add up to 1.
        label_smoothing: ε in [0, 1].
        class_weights: (C,) w, or None for 1.

    Returns:
        (B, ...) losses; PyTorch's mean is their plain mean.

    Raises:
        ValueError: wrong shapes, one class, or ε outside [0, 1].

    Source: ``torch.nn.functional.cross_entropy`` with probabilities as targets.

    >>> print(soft_cross_entropy(jnp.zeros((1, 2)), jnp.array([[0.25, 0.75]])).round(4))
    [0.6931]
    """
    check_alike(logits=logits, targets=targets)
    check_num_classes("logits", logits.shape)
    check_fraction(label_smoothing=label_smoothing)
    logits, targets = floating(logits, targets)
    targets = (1.0 - label_smoothing) * targets + label_smoothing / logits.shape[-1]
    losses = -targets * jax.nn.log_softmax(logits)
    if class_weights is not None:
        losses *= jnp.broadcast_to(_class_weights(class_weights, logits), logits.shape)
    return losses.sum(axis=-1)


@explain_keywords
def nll(
    log_probabilities: Float[Array, "B *T C"],
    labels: Integer[Array, " B *T"],
    *,
    class_weights: Real[Array, " C"] | None = None,
    ignore_label: int | None = IGNORE_LABEL,
) -> Float[Array, " B *T"]:
    r"""Negative log-likelihood of class indices: :math:`-w_y \log p_y`, in nats.

    Args:
        log_probabilities: (B, ..., C), the output of a log-softmax, not of a softmax.
        labels: (B, ...) integers in [0, C), others give NaN.
        class_weights: (C,) w, or None for 1.
        ignore_label: a label whose loss and gradient are 0, or None.

    Returns:
        losses, shaped like ``labels``.

    Raises:
        ValueError: wrong shapes or dtypes, or one class.

    Source: ``torch.nn.functional.nll_loss(..., reduction="none")``.

    >>> print(nll(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([1])).round(4))
    [0.2877]
    """
    _check_labels("log_probabilities", log_probabilities, labels)
    (log_probabilities,) = floating(log_probabilities)
    index, ignored = _split_labels(labels, log_probabilities.shape[-1], ignore_label)
    losses = -jnp.take_along_axis(log_probabilities, index[..., None], axis=-1, mode="fill")[..., 0]
    if class_weights is not None:
        losses *= _take(_class_weights(class_weights, log_probabilities), index)
    return jnp.where(ignored, 0.0, losses)


def label_weights(
    labels: Integer[Array, " B *T"],
    class_weights: Real[Array, " C"] | None = None,
    ignore_label: int | None = IGNORE_LABEL,
) -> Float[Array, " B *T"]:
    """Weights of labels in PyTorch's mean, ``sum(losses) / sum(label_weights(labels))``.

    Args:
        labels: (B, ...) integers.
        class_weights: (C,), the same as in the loss; None weighs every label 1.
        ignore_label: the label of weight 0, or None.

    Returns:
        (B, ...) float32: 0 where ignored, else the weight of the label's class, or 1.

    Raises:
        ValueError: labels that are not integers, or ``class_weights`` of another shape.

    Source: ``reduction="mean"`` of ``torch.nn.functional.cross_entropy`` and ``nll_loss``.

    >>> print(label_weights(jnp.array([0, 1, -100]), jnp.array([1.0, 3.0])))
    [1. 3. 0.]
    """
    shape_of("labels", labels)
    _check_integers(labels)
    if class_weights is None:
        _, ignored = _split_labels(labels, 0, ignore_label)
        return 1.0 - ignored.astype(jnp.float32)
    class_weights = jnp.asarray(class_weights, jnp.float32)
    check_shape("class_weights", class_weights, ("C",))
    index, ignored = _split_labels(labels, class_weights.shape[0], ignore_label)
    return jnp.where(ignored, 0.0, _take(class_weights, index))


@explain_keywords
def focal(
    logits: Float[Array, "B *T C"],
    labels: Integer[Array, " B *T"],
    *,
    gamma: float = 2.0,
    class_weights: Real[Array, " C"] | None = None,
    ignore_label: int | None = IGNORE_LABEL,
) -> Float[Array, " B *T"]:
    r"""Focal loss, :math:`-\alpha_y (1 - p_y)^\gamma \log p_y`, which weighs easy examples less.

    Args:
        logits: (B, ..., C).
        labels: (B, ...) integers in [0, C), others give NaN.
        gamma: γ, at least 0; 0 is :func:`cross_entropy`.
        class_weights: (C,) α, or None for 1.
        ignore_label: a label whose loss and gradient are 0, or None.

    Returns:
        losses in nats, shaped like ``labels``.

    Raises:
        ValueError: wrong shapes or dtypes, one class, or a negative γ.

    Source: Lin et al. 2017, eq. 5, with softmax in place of their sigmoid (:func:`binary_focal`).

    >>> print(focal(jnp.zeros((1, 2)), jnp.array([0])).round(4))  # log(2) / 4
    [0.1733]
    """
    _check_labels("logits", logits, labels)
    check_not_negative(gamma=gamma)
    (logits,) = floating(logits)
    log_probabilities = jax.nn.log_softmax(logits)
    losses = nll(log_probabilities, labels, ignore_label=ignore_label)
    factor = power(-jnp.expm1(-losses), gamma)  # 1 - p without cancellation
    if class_weights is not None:
        losses = nll(
            log_probabilities, labels, class_weights=class_weights, ignore_label=ignore_label
        )
    return factor * losses


def _split_labels(labels: Array, num_classes: int, ignore_label: int | None) -> tuple[Array, Array]:
    """Indices for reading, and where labels are ignored. An index of C reads NaN."""
    labels = labels.astype(jnp.int32)
    ignored = labels == ignore_label if ignore_label is not None else jnp.zeros(labels.shape, bool)
    return jnp.where(ignored, 0, jnp.where(labels < 0, num_classes, labels)), ignored


def _take(class_weights: Array, index: Array) -> Array:
    return jnp.take(class_weights, index, mode="fill", fill_value=jnp.nan)


def _class_weights(class_weights: Array, logits: Array) -> Array:
    weights = jnp.asarray(class_weights, logits.dtype)
    check_shape("class_weights", weights, logits.shape[-1:])
    return weights


def _check_labels(name: str, scores: Array, labels: Array) -> None:
    shape = shape_of(name, scores)
    if len(shape) < 2:
        raise ValueError(f"{name} must have shape (B, ..., C), got {shape}.")
    check_num_classes(name, shape)
    if getattr(labels, "shape", None) == shape:
        raise ValueError(
            f"labels must be integers of shape {shape[:-1]}, got shape {shape}, one number a "
            "class: for probabilities use losses.soft_cross_entropy, for one-hot labels their "
            "argmax(-1)."
        )
    check_shape("labels", labels, shape[:-1])
    _check_integers(labels)


def _check_integers(labels: Array) -> None:
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class indices), got dtype {labels.dtype}.")


@explain_keywords
def binary_cross_entropy(
    logits: Float[Array, " B *F"],
    targets: Real[Array, " B *F"],
    *,
    positive_weight: float | Array | None = None,
) -> Float[Array, " B"]:
    r"""Binary cross entropy from logits, averaged over an example's outputs, in nats.

    .. math:: -w t \log \sigma(z) - (1-t) \log(1 - \sigma(z))

    Args:
        logits: (B, ...) log-odds.
        targets: like ``logits``, values in [0, 1]; outside them the loss has no lower bound.
        positive_weight: w, a number or an array that broadcasts to one example; None is 1.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.binary_cross_entropy_with_logits(..., pos_weight=w)``; its mean
    over a batch is the mean of these.

    >>> print(binary_cross_entropy(jnp.zeros((1, 4)), jnp.ones((1, 4))).round(4))
    [0.6931]
    """
    check_alike(logits=logits, targets=targets)
    return mean_over_features(_binary_cross_entropy(logits, targets, positive_weight))


def _binary_cross_entropy(
    logits: Array, targets: Array, positive_weight: float | Array | None = None
) -> Array:
    """(B, ...) losses, with one exponential per output: three times as fast as Optax's on CPU."""
    logits, targets = floating(logits, targets)
    # two branches that both hold at 0, not abs and maximum: every derivative there is right
    above = logits >= 0
    rest = jnp.log1p(jnp.exp(jnp.where(above, -logits, logits)))
    if positive_weight is None:
        return jnp.where(above, 1.0 - targets, -targets) * logits + rest
    weight = jnp.asarray(positive_weight, logits.dtype)
    example = logits.shape[1:]
    if weight.ndim > len(example) or any(
        size not in (1, full) for size, full in zip(weight.shape[::-1], example[::-1], strict=False)
    ):
        raise ValueError(
            f"positive_weight must be a number or broadcast to one example {example}, "
            f"got shape {weight.shape}."
        )
    weighted = jnp.broadcast_to(weight, logits.shape) * targets
    return jnp.where(above, 1.0 - targets, -weighted) * logits + (1.0 - targets + weighted) * rest


@explain_keywords
def binary_cross_entropy_on_probabilities(
    probabilities: Float[Array, " B *F"], targets: Real[Array, " B *F"]
) -> Float[Array, " B"]:
    r"""Binary cross entropy from probabilities, averaged over an example's outputs, in nats.

    .. math:: -t \max(\log p, -100) - (1-t) \max(\log(1-p), -100)

    For a model that ends in a sigmoid; on logits, :func:`binary_cross_entropy` is more accurate.

    Args:
        probabilities: (B, ...) in [0, 1]; outside them NaN (PyTorch raises).
        targets: like ``probabilities``, values in [0, 1].

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.binary_cross_entropy``, its gradient
    :math:`(p-t) / \max(p(1-p), 10^{-12})` included. The gradient of the targets is finite here.

    >>> print(binary_cross_entropy_on_probabilities(jnp.array([0.5, 0.0]), jnp.ones(2)).round(4))
    [  0.6931 100.    ]
    """
    check_alike(probabilities=probabilities, targets=targets)
    probabilities, targets = floating(probabilities, targets)
    return mean_over_features(_clamped_binary_cross_entropy(probabilities, targets))


@jax.custom_jvp
def _clamped_binary_cross_entropy(probabilities: Array, targets: Array) -> Array:
    log_p, log_q = _clamped_logs(probabilities)
    return -targets * log_p - (1.0 - targets) * log_q


@_clamped_binary_cross_entropy.defjvp
def _clamped_binary_cross_entropy_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (p, t), (dp, dt) = primals, tangents
    log_p, log_q = _clamped_logs(p)
    slope = (p - t) / jnp.maximum(p * (1.0 - p), 1e-12)
    return _clamped_binary_cross_entropy(p, t), slope * dp + (log_q - log_p) * dt


def _clamped_logs(p: Array) -> tuple[Array, Array]:
    return jnp.maximum(jnp.log(p), -100.0), jnp.maximum(jnp.log1p(-p), -100.0)


@explain_keywords
def binary_focal(
    logits: Float[Array, " B *F"],
    targets: Real[Array, " B *F"],
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
) -> Float[Array, " B"]:
    r"""Focal loss of binary outputs, averaged over an example's outputs, in nats.

    .. math:: -\alpha_t (1 - p_t)^\gamma \log p_t

    where :math:`p_t` is the probability given to the target.

    Args:
        logits: (B, ...) log-odds.
        targets: like ``logits``, t = 0 or 1; between them :math:`p_t = t p + (1-t)(1-p)`.
        gamma: γ, at least 0; 0 is :func:`binary_cross_entropy`.
        alpha: weight α of target 1 in [0, 1], 1-α of target 0 (the paper's best: 0.25); or None.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, a negative γ, or α outside [0, 1].

    Source: Lin et al. 2017, eq. 5; ``torchvision.ops.sigmoid_focal_loss``, whose α is 0.25 by
    default. Optax's gradient of the targets is wrong where they are 0 or 1.

    >>> print(binary_focal(jnp.zeros(1), jnp.ones(1), alpha=0.25).round(4))  # log(2) / 16
    [0.0433]
    """
    check_alike(logits=logits, targets=targets)
    check_not_negative(gamma=gamma)
    if alpha is not None:
        check_fraction(alpha=alpha)
    logits, targets = floating(logits, targets)
    losses = _binary_cross_entropy(logits, targets)
    others = (1.0 - targets) * jax.nn.sigmoid(logits) + targets * jax.nn.sigmoid(-logits)
    losses *= power(others, gamma)
    if alpha is not None:
        losses *= alpha * targets + (1.0 - alpha) * (1.0 - targets)
    return mean_over_features(losses)
