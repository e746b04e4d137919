"""Scores of generated examples: distances, precision, recall and entropy."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl._checks import check_labels, check_positive, check_shape
from jaxdl.types import Array

CHUNK = 1000
"""Rows of a distance matrix in memory at a time."""


class Gaussian(NamedTuple):
    """Normal distribution with the mean and covariance of features.

    Attributes:
        mean: (D,) float64.
        covariance: (D, D) float64, divided by N - 1.
    """

    mean: np.ndarray
    covariance: np.ndarray


def gaussian(features: ArrayLike) -> Gaussian:
    """Mean and covariance of features.

    Args:
        features: (N, D) floating point, N at least 2.

    Raises:
        ValueError: another shape, fewer than 2 examples, or values that are not finite.

    Source: ``numpy.mean`` and ``numpy.cov(rowvar=False)``; sums in float32 on the device, of the
    features less their mean.

    >>> gaussian(np.array([[0.0, 1.0], [2.0, 1.0]])).covariance
    array([[2., 0.],
           [0., 0.]])
    """
    features = jnp.asarray(features, jnp.float32)
    check_shape("features", features, ("N", "D"))
    if features.shape[0] < 2:
        raise ValueError(f"a covariance needs at least 2 examples, got {features.shape[0]}.")
    mean, covariance = _moments(features)
    result = Gaussian(np.asarray(mean, np.float64), np.asarray(covariance, np.float64))
    if not all(np.isfinite(part).all() for part in result):
        raise ValueError("features must be finite, got NaN or infinity.")
    return result


@jax.jit
def _moments(features: Array) -> tuple[Array, Array]:
    mean = features.mean(axis=0)
    centered = features - mean.reshape(1, -1)
    product = jnp.matmul(centered.T, centered, precision=jax.lax.Precision.HIGHEST)
    return mean, product / (features.shape[0] - 1)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    r"""Fréchet distance of two normal distributions, 0 if they are equal.

    .. math:: \|\mu_a - \mu_b\|^2
              + \operatorname{tr}(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2})

    The trace of the root is that of :math:`(\Sigma_a^{1/2} \Sigma_b \Sigma_a^{1/2})^{1/2}`, a
    symmetric matrix, whose eigenvalues give it without complex numbers.

    Args:
        a, b: distributions of features of the same network.

    Returns:
        The distance in squared units of the features. It compares only for features of the same
        network and equal numbers of examples: with few examples it is larger.

    Raises:
        ValueError: different numbers of features.

    Source: Heusel et al. 2017 (FID), eq. 6, with ``scipy.linalg.sqrtm`` replaced by two
    ``eigh`` in float64; there the features are those of Inception-v3.

    >>> one, two = np.eye(2), np.zeros(2)
    >>> frechet_distance(Gaussian(two, one), Gaussian(two + 3, 4 * one))
    20.0
    """
    check_shape("mean", b.mean, a.mean.shape)
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    product = root @ b.covariance @ root
    between = np.linalg.eigvalsh((product + product.T) / 2)
    trace = np.trace(a.covariance) + np.trace(b.covariance)
    trace -= 2 * np.sqrt(np.maximum(between, 0.0)).sum()
    return float(max(np.square(a.mean - b.mean).sum() + trace, 0.0))


def precision_and_recall(
    real: ArrayLike, fake: ArrayLike, *, num_neighbors: int = 3
) -> tuple[float, float]:
    """Precision and recall of generated examples.

    A set covers the balls around its examples, each of which reaches its k-th nearest neighbor.
    Precision is the share of generated examples that the real ones cover, recall the share of real
    ones that the generated ones cover.

    Args:
        real: (N, D) features.
        fake: (M, D) features.
        num_neighbors: k, less than N and M.

    Returns:
        Precision and recall, each from 0 to 1.

    Raises:
        ValueError: shapes that do not fit, or too few examples.

    Source: Kynkäänniemi et al. 2019, eq. 2 and 3, k = 3.

    >>> real = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> precision_and_recall(real, np.array([[0.5], [0.6]]), num_neighbors=1)
    (1.0, 0.0)
    """
    real, fake = np.asarray(real), np.asarray(fake)
    check_shape("real", real, ("N", "D"))
    check_shape("fake", fake, ("M", real.shape[1]))
    check_positive(num_neighbors=num_neighbors)
    if num_neighbors >= min(len(real), len(fake)):
        raise ValueError(
            f"num_neighbors must be less than the number of examples, got {num_neighbors} of "
            f"{len(real)} real and {len(fake)} generated ones."
        )
    a, b = _centered(real, fake)
    k = num_neighbors
    radii_of_a, radii_of_b = (_by_rows(_kth_nearest, one, one, k) for one in (a, b))
    precision = _by_rows(_is_covered, b, a, radii_of_a).mean()
    recall = _by_rows(_is_covered, a, b, radii_of_b).mean()
    return float(precision), float(recall)


def nearest_neighbors(queries: ArrayLike, references: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Nearest reference of each query, e.g. to detect memorized training examples.

    Args:
        queries: (M, ...) floating point, flattened.
        references: (N, ...) with the same trailing shape.

    Returns:
        (M,) indices and (M,) Euclidean distances.

    Raises:
        ValueError: shapes that differ.

    >>> nearest_neighbors(np.array([[0.9, 0.0]]), np.array([[5.0, 5.0], [1.0, 0.0]]))[0]
    array([1], dtype=int32)
    """
    queries, references = np.asarray(queries), np.asarray(references)
    if queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"queries and references must have the same shape, got {queries.shape[1:]} and "
            f"{references.shape[1:]}."
        )
    a, b = _centered(*(x.reshape(len(x), -1) for x in (queries, references)))
    indices = _by_rows(_nearest, a, b)
    distances = jnp.sqrt(jnp.square(a - b[indices]).sum(axis=1))
    return np.asarray(indices, np.int32), np.asarray(distances)


def _centered(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Both minus the mean of the second, because differences of large numbers lose digits."""
    a, b = (jnp.asarray(x, jnp.float32) for x in (a, b))
    middle = b.mean(axis=0).reshape(1, -1)
    return a - middle, b - middle


def _by_rows(function: Callable[..., Array], queries: Array, *rest: Array | int) -> Array:
    """Applies a function to m queries (m, D) at a time."""
    starts = range(0, len(queries), CHUNK)
    return jnp.concatenate([function(queries[i : i + CHUNK], *rest) for i in starts])


def _squared_distances(a: Array, b: Array) -> Array:
    product = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
    squares = [jnp.square(x).sum(axis=1) for x in (a, b)]
    return jnp.maximum(squares[0].reshape(-1, 1) + squares[1].reshape(1, -1) - 2.0 * product, 0.0)


@functools.partial(jax.jit, static_argnums=2)
def _kth_nearest(queries: Array, references: Array, k: int) -> Array:
    """Squared distance of the k-th neighbor, the example itself not counted."""
    return -jax.lax.top_k(-_squared_distances(queries, references), k + 1)[0][:, k]


@jax.jit
def _is_covered(queries: Array, references: Array, radii: Array) -> Array:
    return (_squared_distances(queries, references) <= radii.reshape(1, -1)).any(axis=1)


@jax.jit
def _nearest(queries: Array, references: Array) -> Array:
    return _squared_distances(queries, references).argmin(axis=1)


def class_histogram(classes: ArrayLike, num_classes: int) -> np.ndarray:
    """Number of examples by class: (N,) integers from 0 to C - 1 → (C,) counts.

    >>> class_histogram(np.array([0, 2, 2]), 3)
    array([1, 0, 2])
    """
    check_labels(classes, num_classes)
    return np.bincount(np.asarray(classes), minlength=num_classes)


def entropy(counts: ArrayLike) -> float:
    r"""Entropy of the shares :math:`p_c` of counts, :math:`-\sum_c p_c \ln p_c`, in nats.

    It is ln C for C equal counts, 2.303 for ten, and 0 if only one is not 0.

    Args:
        counts: (C,) numbers of at least 0, not all 0.

    Raises:
        ValueError: negative counts, or all 0.

    >>> round(entropy(np.ones(10)), 4), entropy(np.array([0, 7, 0]))
    (2.3026, 0.0)
    """
    counts = np.asarray(counts, np.float64)
    if counts.ndim != 1 or (counts < 0).any() or not counts.sum() > 0:
        raise ValueError(f"counts must be (C,) numbers of at least 0, not all 0, got {counts}.")
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum() + 0.0)
