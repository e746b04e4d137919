"""Ranking and embedding losses."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Real

from jaxdl._checks import check_positive, check_shape
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import check_alike, floating, hinge, mean_over_features
from jaxdl.types import Array


@explain_keywords
def hinge_embedding(
    distances: Real[Array, " B *F"], targets: Real[Array, " B *F"], *, margin: float = 1.0
) -> Float[Array, " B"]:
    r"""Hinge embedding loss: the distance of similar pairs, a margin minus it for dissimilar ones.

    .. math:: x \text{ where } y = 1,\quad \max(0, m - x) \text{ where } y = -1

    Args:
        distances: (B, ...) x; averaged over an example's.
        targets: like ``distances``, 1 or -1; any other value adds both terms.
        margin: m.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.hinge_embedding_loss``.

    >>> print(hinge_embedding(jnp.array([0.5, 0.25]), jnp.array([1, -1])))
    [0.5  0.75]
    """
    check_alike(distances=distances, targets=targets)
    (distances,) = floating(distances)
    similar = jnp.where(targets != -1, distances, 0.0)
    return mean_over_features(similar + jnp.where(targets != 1, hinge(margin - distances), 0.0))


@explain_keywords
def margin_ranking(
    x1: Real[Array, " B *F"],
    x2: Real[Array, " B *F"],
    targets: Real[Array, " B *F"],
    *,
    margin: float = 0.0,
) -> Float[Array, " B"]:
    r"""Margin ranking loss: :math:`\max(0, -y(x_1 - x_2) + m)`.

    Args:
        x1: (B, ...) scores; averaged over an example's.
        x2: like ``x1``.
        targets: like ``x1``; y is 1 if ``x1`` should be the larger, -1 if ``x2`` should. Another
            value scales the difference.
        margin: m.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ.

    Source: ``torch.nn.functional.margin_ranking_loss``.

    >>> print(margin_ranking(jnp.array([0.25]), jnp.array([0.5]), jnp.array([1])))
    [0.25]
    """
    check_alike(x1=x1, x2=x2, targets=targets)
    x1, x2, targets = floating(x1, x2, targets)
    return mean_over_features(hinge(-targets * (x1 - x2) + margin))


@explain_keywords
def triplet_margin(
    anchor: Real[Array, "B D"],
    positive: Real[Array, "B D"],
    negative: Real[Array, "B D"],
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    distance: Callable[[Array, Array], Array] | None = None,
) -> Float[Array, " B"]:
    r"""Triplet margin loss: the positive should be nearer than the negative by a margin.

    .. math:: \max(0, d(a, x^+) - d(a, x^-) + m),\quad d(x, y) = \|x - y + \epsilon\|_p

    Args:
        anchor: (B, D) a.
        positive: (B, D), of the anchor's class.
        negative: (B, D), of another class.
        margin: m, greater than 0.
        p: order of the norm, at least 1; ``math.inf`` is allowed.
        eps: ε, added to every difference, so that equal vectors have a gradient.
        swap: use the positive's distance to the negative if it is smaller (Balntas et al. 2016).
        distance: ``((B, D), (B, D)) -> (B,)`` in place of d; ``p`` and ``eps`` are then not used.

    Returns:
        (B,) losses.

    Raises:
        ValueError: shapes that differ, a margin not greater than 0, or p below 1.

    Source: ``torch.nn.functional.triplet_margin_loss`` and
    ``triplet_margin_with_distance_loss``.

    >>> near, far = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.5]])
    >>> print(triplet_margin(jnp.zeros((1, 2)), near, far).round(4))
    [0.5]
    """
    check_shape("anchor", anchor, ("B", "D"))
    check_alike(anchor=anchor, positive=positive, negative=negative)
    check_positive(margin=margin)
    if not p >= 1:
        raise ValueError(f"p must be at least 1, got {p!r}.")
    anchor, positive, negative = floating(anchor, positive, negative)

    def norm(x: Array, y: Array) -> Array:
        length: Array = optax.safe_norm(x - y + eps, 0.0, ord=p, axis=-1)
        return length

    distance = distance or norm
    far = distance(anchor, negative)
    if swap:
        far = jnp.minimum(far, distance(positive, negative))
    return hinge(distance(anchor, positive) - far + margin)


@explain_keywords
def cosine_embedding(
    x1: Real[Array, "B D"],
    x2: Real[Array, "B D"],
    targets: Real[Array, " B"],
    *,
    margin: float = 0.0,
) -> Float[Array, " B"]:
    r"""Cosine embedding loss: 1 minus the cosine of similar pairs, the cosine of dissimilar ones.

    .. math:: 1 - \cos(x_1, x_2) \text{ where } y = 1,\quad
              \max(0, \cos(x_1, x_2) - m) \text{ where } y = -1

    Args:
        x1: (B, D).
        x2: (B, D).
        targets: (B,), 1 or -1; any other value gives 0.
        margin: m in [-1, 1].

    Returns:
        (B,) losses. The cosine of a vector of zeros is 0.

    Raises:
        ValueError: shapes that differ, or a margin outside [-1, 1].

    Source: ``torch.nn.functional.cosine_embedding_loss``, with its 1e-12 added to squared norms.

    >>> print(cosine_embedding(jnp.eye(2), jnp.ones((2, 2)), jnp.array([1, -1])).round(4))
    [0.2929 0.7071]
    """
    check_shape("x1", x1, ("B", "D"))
    check_alike(x1=x1, x2=x2)
    check_shape("targets", targets, x1.shape[:1])
    if not isinstance(margin, jax.core.Tracer) and not -1 <= margin <= 1:
        raise ValueError(f"margin must lie in -1 to 1, got {margin!r}.")
    x1, x2 = floating(x1, x2)
    norms = jnp.sqrt((x1**2).sum(axis=-1) + 1e-12) * jnp.sqrt((x2**2).sum(axis=-1) + 1e-12)
    cosine = (x1 * x2).sum(axis=-1) / norms
    similar = jnp.where(targets == 1, 1.0 - cosine, 0.0)
    return similar + jnp.where(targets == -1, hinge(cosine - margin), 0.0)


@explain_keywords
def info_nce(
    queries: Real[Array, "B D"], keys: Real[Array, "B D"], *, temperature: float = 0.07
) -> Float[Array, " B"]:
    r"""InfoNCE: every query should be nearest to its own key among those of the batch, in nats.

    .. math:: -\log \frac{e^{q_i k_i / \tau}}{\sum_j e^{q_i k_j / \tau}}

    q and k have length 1. The mean of both directions, ``info_nce(a, b)`` and ``info_nce(b, a)``,
    is the loss of SimCLR's cross terms and of CLIP.

    Args:
        queries: (B, D), B at least 2; normalized here.
        keys: (B, D); key i belongs to query i.
        temperature: τ, greater than 0.

    Returns:
        (B,) losses. Padded examples would be negatives: give whole batches (``drop_last=True``).

    Raises:
        ValueError: shapes that differ, one example, or τ not greater than 0.

    Source: van den Oord et al. 2018, eq. 4; CLIP (Radford et al. 2021), figure 3.

    >>> vectors = jnp.eye(2)
    >>> print(info_nce(vectors, 2.0 * vectors, temperature=0.01))
    [0. 0.]
    """
    check_shape("queries", queries, ("B", "D"))
    check_alike(queries=queries, keys=keys)
    check_positive(temperature=temperature)
    if queries.shape[0] < 2:
        raise ValueError("info_nce needs at least two examples: the others are the negatives.")
    queries, keys = (_normalized(x) for x in floating(queries, keys))
    similarity = queries @ keys.T / temperature
    losses: Array = jax.nn.logsumexp(similarity, axis=1) - jnp.diagonal(similarity)
    return losses


def _normalized(vectors: Array) -> Array:
    norm: Array = optax.safe_norm(vectors, 1e-12, axis=-1, keepdims=True)
    return vectors / norm
