"""Overlap losses of segmentations: Dice, Jaccard and Tversky."""

import jax.numpy as jnp
from jaxtyping import Float, Real

from jaxdl._checks import check_not_negative, shape_of
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import check_alike, floating
from jaxdl.types import Array


@explain_keywords
def tversky(
    probabilities: Float[Array, "B *P C"],
    targets: Real[Array, "B *P C"],
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
) -> Float[Array, " B"]:
    r"""Tversky loss of soft masks, averaged over the classes.

    .. math:: 1 - \frac{\sum p t + s}{\sum p t + \alpha \sum p (1 - t) + \beta \sum (1 - p) t + s}

    Args:
        probabilities: (B, ..., C), after a sigmoid or softmax; the sums are over the axes between.
        targets: like ``probabilities``, 0 or 1, e.g. ``jax.nn.one_hot(labels, C)``.
        alpha: α, weight of false positives, at least 0.
        beta: β, weight of false negatives, at least 0.
        smooth: s, at least 0; 0 gives NaN where a class neither occurs nor is predicted.

    Returns:
        (B,) losses in [0, 1].

    Raises:
        ValueError: shapes that differ or have no axis of classes, or a negative number.

    Source: Salehi et al. 2017, eq. 2. PyTorch has none.

    >>> masks = jnp.array([[[1.0], [1.0], [0.0], [0.0]]])
    >>> print(tversky(masks, masks[:, ::-1], smooth=0.0), tversky(masks, masks))
    [1.] [0.]
    """
    check_alike(probabilities=probabilities, targets=targets)
    shape = shape_of("probabilities", probabilities)
    if len(shape) < 2:
        raise ValueError(f"probabilities must have shape (B, ..., C), got {shape}.")
    check_not_negative(alpha=alpha, beta=beta, smooth=smooth)
    probabilities, targets = floating(probabilities, targets)
    axes = tuple(range(1, len(shape) - 1))
    both = (probabilities * targets).sum(axes)
    false_positive = (probabilities * (1.0 - targets)).sum(axes)
    false_negative = ((1.0 - probabilities) * targets).sum(axes)
    overlap = (both + smooth) / (both + alpha * false_positive + beta * false_negative + smooth)
    return jnp.mean(1.0 - overlap, axis=-1)


@explain_keywords
def dice(
    probabilities: Float[Array, "B *P C"], targets: Real[Array, "B *P C"], *, smooth: float = 1.0
) -> Float[Array, " B"]:
    r"""Dice loss of soft masks, averaged over the classes.

    .. math:: 1 - \frac{2 \sum p t + s}{\sum p + \sum t + s}

    Args, returns and raises: as :func:`tversky`, of which it is the case α = β = ½ with s halved.

    Source: Milletari et al. 2016, with sums of p instead of p², as in most implementations.

    >>> masks = jnp.array([[[1.0], [1.0], [0.0], [0.0]]])
    >>> print(dice(masks, jnp.array([[[1.0], [0.0], [0.0], [0.0]]]), smooth=0.0).round(4))
    [0.3333]
    """
    return tversky(probabilities, targets, alpha=0.5, beta=0.5, smooth=smooth / 2)


@explain_keywords
def jaccard(
    probabilities: Float[Array, "B *P C"], targets: Real[Array, "B *P C"], *, smooth: float = 1.0
) -> Float[Array, " B"]:
    r"""Jaccard loss of soft masks, one minus intersection over union, averaged over the classes.

    .. math:: 1 - \frac{\sum p t + s}{\sum p + \sum t - \sum p t + s}

    Args, returns and raises: as :func:`tversky`, of which it is the case α = β = 1.

    Source: Rahman and Wang 2016, eq. 2.

    >>> masks = jnp.array([[[1.0], [1.0], [0.0], [0.0]]])
    >>> print(jaccard(masks, jnp.array([[[1.0], [0.0], [0.0], [0.0]]]), smooth=0.0))
    [0.5]
    """
    return tversky(probabilities, targets, alpha=1.0, beta=1.0, smooth=smooth)
