"""Synthetic data sets."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl._checks import check_count, check_positive
from jaxdl.types import Array


def line(
    key: Array,
    num_points: int = 20,
    *,
    slope: float = 2.0,
    intercept: float = 5.0,
    noise: float = 1.0,
) -> dict[str, Array]:
    """Noisy points on a line: x uniform in [0, 10), y = slope · x + intercept + N(0, noise²).

    Args:
        key: PRNG key.
        num_points: N.
        slope, intercept: of the line.
        noise: standard deviation of y.

    Returns:
        ``"input"`` (N,) and ``"target"`` (N,), both float32.

    Source: ``torch.rand(20, 1) * 10`` and ``2 * x + (5 + torch.randn(20, 1))``.

    >>> points = line(jax.random.key(0), 3, noise=0.0)
    >>> bool(jnp.allclose(points["target"], 2 * points["input"] + 5))
    True
    """
    check_count(num_points=num_points)
    _check_noise(noise=noise)
    x_key, noise_key = jax.random.split(key)
    x = jax.random.uniform(x_key, (num_points,), maxval=10.0)
    y = slope * x + intercept + noise * jax.random.normal(noise_key, (num_points,))
    return {"input": x, "target": y}


def sine(key: Array, num_points: int = 100, *, noise: float = 0.05) -> dict[str, Array]:
    """One period of a sine: x evenly spaced from 0 to 1, y = sin 2πx + N(0, noise²).

    Args:
        key: PRNG key of the noise.
        num_points: N.
        noise: standard deviation of y.

    Returns:
        ``"input"`` (N,) in [0, 1], ``"target"`` (N,) with noise, and ``"clean"`` (N,) without;
        float32.

    Source: ``torch.linspace(0, 1, 100)`` and ``torch.sin(2 * pi * x)``. The original draws noise
    but trains on the clean curve; here the target is the noisy one.

    >>> print(sine(jax.random.key(0), 5)["clean"].round(3) + 0.0)
    [ 0.  1.  0. -1.  0.]
    """
    check_count(num_points=num_points)
    _check_noise(noise=noise)
    x = jnp.linspace(0.0, 1.0, num_points)
    clean = jnp.sin(2 * jnp.pi * x)
    target = clean + noise * jax.random.normal(key, (num_points,))
    return {"input": x, "target": target, "clean": clean}


def two_gaussians(
    key: Array,
    num_per_class: int = 100,
    *,
    mean: float = 1.7,
    std: float = 1.0,
    shift: float = 1.0,
    num_features: int = 2,
) -> dict[str, Array]:
    """Two Gaussian classes, with center shift + mean (class 0) and shift − mean (class 1).

    By default, the centers are 4.8 standard deviations apart, and the optimal linear classifier is
    99.2% accurate.

    Args:
        key: PRNG key.
        num_per_class: N, number of points per class.
        mean, shift: define the centers.
        std: standard deviation of each feature.
        num_features: F.

    Returns:
        ``"input"`` (2N, F) float32 and ``"label"`` (2N,) int32; class 0 comes first.

    Source: ``torch.normal(±1.7 * torch.ones(100, 2), 1) + 1``.

    >>> print(two_gaussians(jax.random.key(0), 2, std=0.0)["input"][:, 0].round(2))
    [ 2.7  2.7 -0.7 -0.7]
    """
    check_count(num_per_class=num_per_class, num_features=num_features)
    _check_noise(std=std)
    label = jnp.repeat(jnp.arange(2, dtype=jnp.int32), num_per_class)
    center = (shift + mean * (1 - 2 * label)).reshape(-1, 1)
    noise = std * jax.random.normal(key, (2 * num_per_class, num_features))
    return {"input": center + noise, "label": label}


def toy_points() -> tuple[dict[str, Array], dict[str, Array]]:
    """Seven points in the plane in two classes, five for training and two for testing.

    Returns:
        (train, test), each ``"input"`` (N, 2) float32 and ``"label"`` (N,) int32.

    Source: the first of two such sets in an article about multilayer networks. The second is
    omitted: it labels one point 0 for training and 1 for testing.

    >>> print(toy_points()[1]["label"])
    [0 1]
    """
    train = [[-1.2, 3.1], [-0.9, 2.9], [-0.5, 2.6], [2.3, -1.1], [2.7, -1.5]]
    test = [[1.1, 2.2], [2.2, -1.1]]
    return (
        {"input": jnp.array(train), "label": jnp.array([0, 0, 0, 1, 1], jnp.int32)},
        {"input": jnp.array(test), "label": jnp.array([0, 1], jnp.int32)},
    )


def dirichlet_argmax(
    key: Array, num_examples: int = 100, num_features: int = 10, *, concentration: float = 1.0
) -> dict[str, Array]:
    """Random distributions over the features, labeled by their largest entry.

    Args:
        key: PRNG key.
        num_examples: N.
        num_features: F, also the number of classes.
        concentration: α of the symmetric Dirichlet distribution; 1 is uniform over the simplex.

    Returns:
        ``"input"`` (N, F) float32, nonnegative rows that sum to 1, and ``"label"`` (N,) int32, the
        index of the largest entry.

    Source: ``torch.distributions.Dirichlet``. The original's int64 one-hot label is
    ``jax.nn.one_hot(label, F)``.

    >>> examples = dirichlet_argmax(jax.random.key(0), 4)
    >>> bool((examples["input"].argmax(axis=1) == examples["label"]).all())
    True
    """
    check_count(num_examples=num_examples, num_features=num_features)
    check_positive(concentration=concentration)
    alpha = jnp.full(num_features, concentration)
    x = jax.random.dirichlet(key, alpha, (num_examples,))
    return {"input": x, "label": x.argmax(axis=1).astype(jnp.int32)}


def pattern_1010(key: Array, num_examples: int) -> dict[str, Array]:
    """Noisy copies of the pattern 1, 0, 1, 0, for a first GAN.

    Args:
        key: PRNG key.
        num_examples: N.

    Returns:
        ``"input"`` (N, 4) float32: entries 0 and 2 uniform in [0.8, 1], entries 1 and 3 in
        [0, 0.2).

    Source: ``random.uniform`` with these ranges, in a GAN tutorial.

    >>> print(pattern_1010(jax.random.key(0), 1)["input"].round(0)[0] + 0.0)
    [1. 0. 1. 0.]
    """
    check_count(num_examples=num_examples)
    low = jax.random.uniform(key, (num_examples, 4), maxval=0.2)
    return {"input": low + 0.8 * jnp.array([[1.0, 0.0, 1.0, 0.0]])}


def uniform_noise(key: Array, num_examples: int, num_features: int = 4) -> dict[str, Array]:
    """Uniform noise, for a discriminator to tell from real examples.

    Args:
        key: PRNG key.
        num_examples: N.
        num_features: F.

    Returns:
        ``"input"`` (N, F) float32, uniform in [0, 1).

    Source: ``torch.rand(F)``.

    >>> uniform_noise(jax.random.key(0), 2)["input"].shape
    (2, 4)
    """
    check_count(num_examples=num_examples, num_features=num_features)
    return {"input": jax.random.uniform(key, (num_examples, num_features))}


def photographs(num_images: int, size: int, *, seed: int = 0) -> np.ndarray:
    """Random square crops of scikit-learn's two sample photographs, randomly mirrored.

    Args:
        num_images: N.
        size: pixels per side, at most 214.
        seed: seed of positions and mirroring.

    Returns:
        (N, size, size, 3) uint8.

    Source: ``sklearn.datasets.load_sample_images``, at half the size.

    >>> photographs(1, 8).shape
    (1, 8, 8, 3)
    """
    from sklearn.datasets import load_sample_images

    check_count(num_images=num_images, size=size)
    generator = np.random.default_rng(seed)
    pictures = [picture[::2, ::2] for picture in load_sample_images().images]
    if size > min(pictures[0].shape[:2]):
        raise ValueError(f"size must be at most {min(pictures[0].shape[:2])}, got {size}.")
    pieces = []
    for index in range(num_images):
        picture = pictures[index % 2]
        top, left = (generator.integers(n - size + 1) for n in picture.shape[:2])
        piece = picture[top : top + size, left : left + size]
        pieces.append(piece[:, :: generator.choice((-1, 1))])
    return np.stack(pieces)


def _check_noise(**deviations: float) -> None:
    for name, deviation in deviations.items():
        if not deviation >= 0:
            raise ValueError(f"{name} is a standard deviation, at least 0, got {deviation}.")
