"""Scores of generated examples: against SciPy, by hand, and on telling examples."""

import numpy as np
import pytest
import scipy.linalg

from jaxdl.generative import scores
from jaxdl.generative.scores import Gaussian


def features(number, size, seed=0, scale=1.0):
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(size, size)) * scale
    return (generator.normal(size=(number, size)) @ mix + 3.0).astype(np.float32)


def test_mean_and_covariance_equal_numpy():
    x = features(500, 6) + 1000.0  # far from 0, where differences of squares would be lost
    found = scores.gaussian(x)
    x = x.astype(np.float64)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [400, 12], ids=["full rank", "fewer examples than features"])
def test_the_frechet_distance_equals_scipys_matrix_root(number):
    a, b = (scores.gaussian(features(number, 20, seed)) for seed in (0, 1))
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = np.square(a.mean - b.mean).sum()
    expected += np.trace(a.covariance + b.covariance - 2 * np.real(root))
    np.testing.assert_allclose(scores.frechet_distance(a, b), expected, rtol=1e-6)
    np.testing.assert_allclose(scores.frechet_distance(b, a), expected, rtol=1e-6)


def test_the_frechet_distance_in_closed_form():
    """Diagonal covariances: the squared difference of means and of standard deviations."""
    generator = np.random.default_rng(3)
    means, spreads = generator.normal(size=(2, 5)), generator.uniform(0.1, 4.0, (2, 5))
    a, b = (Gaussian(m, np.diag(s**2)) for m, s in zip(means, spreads, strict=True))
    expected = np.square(means[0] - means[1]).sum() + np.square(spreads[0] - spreads[1]).sum()
    assert scores.frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert scores.frechet_distance(a, a) == pytest.approx(0.0, abs=1e-12)
    turn = np.linalg.qr(generator.normal(size=(5, 5)))[0]  # a rotation changes nothing
    turned = [Gaussian(turn @ g.mean, turn @ g.covariance @ turn.T) for g in (a, b)]
    assert scores.frechet_distance(*turned) == pytest.approx(expected, rel=1e-10)


def brute_force(real, fake, k):
    def radii(x):
        return np.sort(np.linalg.norm(x[:, None] - x[None], axis=-1), axis=1)[:, k]

    between = np.linalg.norm(fake[:, None] - real[None], axis=-1)
    precision = (between <= radii(real)[None]).any(axis=1).mean()
    return precision, (between <= radii(fake)[:, None]).any(axis=0).mean()


def test_precision_and_recall_follow_their_definition(monkeypatch):
    monkeypatch.setattr("jaxdl.generative.scores.CHUNK", 16)  # 40 rows in three parts
    generator = np.random.default_rng(0)
    real = generator.normal(size=(40, 3)).astype(np.float32)
    fake = (0.5 * generator.normal(size=(33, 3)) + 0.5).astype(np.float32)
    for k in (1, 3):
        found = scores.precision_and_recall(real, fake, num_neighbors=k)
        np.testing.assert_allclose(found, brute_force(real, fake, k))
    assert 0.2 < found[1] < found[0]  # narrower than the real ones: precise, but much is missing


def test_one_repeated_example_has_high_precision_and_low_recall():
    real = features(200, 4)
    fake = real[:1] + 1e-3 * features(100, 4, 5)
    precision, recall = scores.precision_and_recall(real, fake)
    assert precision == 1.0
    assert recall < 0.05


def test_nearest_neighbors_are_found(monkeypatch):
    monkeypatch.setattr("jaxdl.generative.scores.CHUNK", 4)
    generator = np.random.default_rng(0)
    references = generator.uniform(size=(50, 2, 3)).astype(np.float32) + 100
    queries = references[[7, 30, 11, 7, 49]] + 1e-3
    indices, distances = scores.nearest_neighbors(queries, references)
    assert indices.tolist() == [7, 30, 11, 7, 49]
    np.testing.assert_allclose(distances, np.sqrt(6) * 1e-3, rtol=0.02)


def test_classes_and_their_entropy():
    counts = scores.class_histogram(np.array([3, 0, 3, 3]), 5)
    assert counts.tolist() == [1, 0, 0, 3, 0]
    assert scores.entropy(counts) == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    assert scores.entropy(np.full(10, 7)) == pytest.approx(2.302585)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: scores.gaussian(np.zeros(3)), r"features must have shape \(N, D\)"),
        (lambda: scores.gaussian(np.zeros((1, 3))), "at least 2 examples, got 1"),
        (lambda: scores.gaussian(np.full((3, 2), np.nan)), "must be finite, got NaN"),
        (
            lambda: scores.precision_and_recall(np.zeros((5, 2)), np.zeros((3, 2))),
            "num_neighbors must be less than the number of examples, got 3 of 5 real and 3",
        ),
        (
            lambda: scores.nearest_neighbors(np.zeros((2, 4)), np.zeros((2, 5))),
            r"the same shape, got \(4,\) and \(5,\)",
        ),
        (lambda: scores.entropy(np.zeros(3)), "not all 0"),
        (lambda: scores.class_histogram(np.array([5]), 3), "labels must lie in 0 to 2"),
    ],
)
def test_bad_input_is_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
