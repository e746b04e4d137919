"""Margin losses of classifiers, multi-class and multi-label."""

import jax
import jax.numpy as jnp
from jaxtyping import Float, Integer, Real

from jaxdl._checks import check_num_classes, check_shape, shape_of
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import check_alike, floating, hinge, mean_over_features
from jaxdl.types import Array


@explain_keywords
def multi_margin(
    logits: Float[Array, "B C"],
    labels: Integer[Array, " B"],
    *,
    p: int = 1,
    margin: float = 1.0,
    class_weights: Real[Array, " C"] | None = None,
) -> Float[Array, " B"]:
    r"""Multi-class margin loss: the label's score should be larger than the others by a margin.

    .. math:: \frac1C \sum_{c \ne y} w_y \max(0, m - z_y + z_c)^p

    Args:
        logits: (B, C), C at least 2.
        labels: (B,) integers in [0, C), others give NaN.
        p: 1 or 2.
        margin: m.
        class_weights: (C,) w, or None for 1.

    Returns:
        (B,) losses.

    Raises:
        ValueError: wrong shapes or dtypes, one class, or another p.

    Source: ``torch.nn.functional.multi_margin_loss``.

    >>> print(multi_margin(jnp.array([[0.5, 0.0, 1.0]]), jnp.array([0])).round(4))
    [0.6667]
    """
    shape = shape_of("logits", logits)
    check_shape("logits", logits, ("B", "C"))
    check_num_classes("logits", shape)
    check_shape("labels", labels, shape[:1])
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    if p not in (1, 2):
        raise ValueError(f"p must be 1 or 2, got {p!r}.")
    (logits,) = floating(logits)
    index = jnp.where(labels < 0, shape[1], labels)  # reads NaN, as one above does
    score = jnp.take_along_axis(logits, index[:, None], axis=1, mode="fill")
    losses = hinge(margin - score + logits) ** p
    losses = jnp.where(jnp.arange(shape[1])[None] == index[:, None], 0.0, losses)
    if class_weights is not None:
        check_shape("class_weights", class_weights, shape[1:])
        (class_weights,) = floating(class_weights)
        losses *= jnp.take(class_weights, index, mode="fill")[:, None]
    return losses.mean(axis=1)


@explain_keywords
def multi_label_margin(
    logits: Float[Array, "B C"], labels: Integer[Array, "B C"]
) -> Float[Array, " B"]:
    r"""Multi-label margin loss: every label's score should exceed that of every other class by 1.

    .. math:: \frac1C \sum_{y} \sum_{c \text{ not a label}} \max(0, 1 - z_y + z_c)

    Args:
        logits: (B, C).
        labels: (B, C) integers: the labels of an example, then -1; what follows the first -1 is
            ignored. One of C or more gives NaN.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, or labels that are not integers.

    Source: ``torch.nn.functional.multilabel_margin_loss``.

    >>> labels = jnp.array([[3, 0, -1, 1]])
    >>> print(multi_label_margin(jnp.array([[0.0, 0.5, 0.5, 1.0]]), labels))
    [1.]
    """
    check_shape("logits", logits, ("B", "C"))
    check_shape("labels", labels, logits.shape)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    (logits,) = floating(logits)
    valid = jnp.cumprod(labels >= 0, axis=1).astype(bool)
    classes = jnp.arange(logits.shape[1])
    is_label = ((labels[:, :, None] == classes[None, None]) & valid[:, :, None]).any(axis=1)
    index = jnp.where(valid, labels, 0)
    scores = jnp.take_along_axis(logits, index, axis=1, mode="fill")
    losses = hinge(1.0 - scores[:, :, None] + logits[:, None, :])
    counted = valid[:, :, None] & ~is_label[:, None, :]
    return jnp.where(counted, losses, 0.0).sum(axis=(1, 2)) / logits.shape[1]


@explain_keywords
def soft_margin(logits: Float[Array, " B *F"], targets: Real[Array, " B *F"]) -> Float[Array, " B"]:
    r"""Soft margin loss: :math:`\log(1 + e^{-t z})`, averaged over an example's outputs.

    Args:
        logits: (B, ...).
        targets: like ``logits``, 1 or -1.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.soft_margin_loss``, finite for large scores too.

    >>> print(soft_margin(jnp.array([0.0, -100.0]), jnp.array([1.0, 1.0])).round(4))
    [  0.6931 100.    ]
    """
    check_alike(logits=logits, targets=targets)
    logits, targets = floating(logits, targets)
    return mean_over_features(jax.nn.softplus(-targets * logits))


@explain_keywords
def multi_label_soft_margin(
    logits: Float[Array, "B *F C"],
    targets: Real[Array, "B *F C"],
    *,
    class_weights: Real[Array, " C"] | None = None,
) -> Float[Array, " B"]:
    r"""Multi-label soft margin loss: the binary cross entropy of every class, weighted, in nats.

    .. math:: -\frac1C \sum_c w_c \left(t_c \log \sigma(z_c) + (1 - t_c) \log \sigma(-z_c)\right)

    Args:
        logits: (B, ..., C).
        targets: like ``logits``, 0 or 1.
        class_weights: (C,) w, or None for 1.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.multilabel_soft_margin_loss``.

    >>> print(multi_label_soft_margin(jnp.zeros((1, 3)), jnp.array([[1.0, 0.0, 1.0]])).round(4))
    [0.6931]
    """
    check_alike(logits=logits, targets=targets)
    logits, targets = floating(logits, targets)
    losses = targets * jax.nn.softplus(-logits) + (1.0 - targets) * jax.nn.softplus(logits)
    if class_weights is not None:
        check_shape("class_weights", class_weights, logits.shape[-1:])
        (class_weights,) = floating(class_weights)
        losses *= jnp.broadcast_to(class_weights, losses.shape)
    return mean_over_features(losses)
