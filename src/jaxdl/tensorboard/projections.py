"""Projections of vectors to a plane: principal components and t-SNE."""

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_shape


def pca(vectors: ArrayLike, num_components: int = 2) -> np.ndarray:
    r"""Principal component analysis: coordinates along the directions of largest variance.

    With the centered vectors :math:`X = U S V^\top`, :math:`X V_k`. The sign of a direction is the
    one that makes its largest entry positive.

    Args:
        vectors: (N, D), finite.
        num_components: k, at most the smaller of N and D.

    Returns:
        (N, k) float32.

    Raises:
        ValueError: another shape, vectors that are not finite, or too many components.

    Source: ``sklearn.decomposition.PCA``.

    >>> pca([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]], 1).ravel().tolist()
    [-5.0, 0.0, 5.0]
    """
    array = _check(vectors)
    if not 1 <= num_components <= min(array.shape):
        raise ValueError(
            f"num_components must lie in 1 to {min(array.shape)}, got {num_components}."
        )
    centered = array - array.mean(axis=0)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:num_components]
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(num_components), largest])
    return (centered @ (directions * signs[:, None]).T).astype(np.float32)


def tsne(
    vectors: ArrayLike, *, perplexity: float = 30.0, num_iterations: int = 300, seed: int = 42
) -> np.ndarray:
    """t-SNE: a projection to the plane that keeps neighbors together.

    Args:
        vectors: (N, D), finite, N at least 4.
        perplexity: about the number of neighbors that count; lowered to (N - 1) / 3 for few
            vectors.
        num_iterations: of gradient descent, at least 250.
        seed: scikit-learn's ``random_state``.

    Returns:
        (N, 2) float32; zeros where all vectors are equal.

    Raises:
        ValueError: another shape, vectors that are not finite, or fewer than 4.

    Source: van der Maaten & Hinton 2008, by ``sklearn.manifold.TSNE``, begun from the principal
    components.
    """
    from sklearn.manifold import TSNE

    array = _check(vectors)
    if len(array) < 4:
        raise ValueError(f"t-SNE needs at least 4 vectors, got {len(array)}.")
    if (array == array[0]).all():  # scikit-learn divides by their spread, and crashes
        return np.zeros((len(array), 2), np.float32)
    method = TSNE(
        perplexity=min(perplexity, (len(array) - 1) / 3),
        max_iter=num_iterations,
        init="pca" if array.shape[1] > 1 else "random",
        random_state=seed,
    )
    return np.asarray(method.fit_transform(array), np.float32)


def _check(vectors: ArrayLike) -> np.ndarray:
    array = np.asarray(vectors).astype(np.float32)
    check_shape("vectors", array, (None, None))
    if not np.isfinite(array).all():
        raise ValueError("vectors must be finite, got NaN or infinity.")
    return array
