"""Losses: hand-computed numbers, gradients, extreme logits, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxdl import losses

LOGITS = jnp.array([[2.0, 1.0, 0.0]])
RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


# Cross entropy


@pytest.mark.parametrize(
    ("smoothing", "label", "expected"),
    [(0.0, 0, 0.40761), (0.0, 1, 1.40761), (0.0, 2, 2.40761), (0.1, 0, 0.50761), (1.0, 0, 1.40761)],
)
def test_cross_entropy_by_hand(smoothing, label, expected):
    loss = losses.cross_entropy(LOGITS, jnp.array([label]), label_smoothing=smoothing)
    np.testing.assert_allclose(loss, [expected], atol=5e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_of_equal_logits_is_log_of_the_classes(smoothing):
    loss = losses.cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 9]), label_smoothing=smoothing)
    np.testing.assert_allclose(loss, [2.3025851] * 2, rtol=1e-6)


def test_cross_entropy_equals_the_smoothed_target_distribution():
    logits, labels = draw(6, 5), jnp.arange(6) % 5
    targets = 0.7 * np.eye(5)[np.asarray(labels)] + 0.3 / 5
    expected = -(targets * np.asarray(jax.nn.log_softmax(logits))).sum(axis=1)
    loss = losses.cross_entropy(logits, labels, label_smoothing=0.3)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_cross_entropy_gradient_is_softmax_minus_target():
    gradient = jax.grad(lambda z: losses.cross_entropy(z, jnp.array([0])).sum())(LOGITS)
    np.testing.assert_allclose(gradient[0], [0.66524 - 1, 0.24473, 0.09003], atol=5e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_check_grads(smoothing):
    labels = jnp.array([0, 3, 1])
    check_grads(
        lambda z: losses.cross_entropy(z, labels, label_smoothing=smoothing), (draw(3, 4),), 1
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_extreme_logits_is_finite(smoothing):
    logits = jnp.array([[1e4, -1e4, 0.0]] * 3)

    def total(z):
        return losses.cross_entropy(z, jnp.arange(3), label_smoothing=smoothing)

    values, gradient = total(logits), jax.grad(lambda z: total(z).sum())(logits)
    assert jnp.isfinite(gradient).all()
    spread = 1e4 * smoothing
    exact = [spread, 2e4 * (1 - smoothing) + spread, 1e4 * (1 - smoothing) + spread]
    np.testing.assert_allclose(values, exact, rtol=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (jnp.zeros(3), jnp.array([0]), {}, r"logits must have shape \(B, C\), got \(3,\)"),
        (LOGITS, jnp.array([0, 1]), {}, r"labels must have shape \(1\), got \(2,\)"),
        (LOGITS, jnp.array([[1, 0, 0]]), {}, r"labels must have shape \(1\), got \(1, 3\)"),
        (LOGITS, jnp.array([0.0]), {}, "labels must be integers .* got dtype float32"),
        (LOGITS, jnp.array([0]), {"label_smoothing": 1.5}, "lie in 0 to 1, got 1.5"),
        (LOGITS, jnp.array([0]), {"label_smoothing": -0.1}, "lie in 0 to 1, got -0.1"),
    ],
)
def test_cross_entropy_refuses(logits, labels, options, message):
    with pytest.raises(ValueError, match=message):
        losses.cross_entropy(logits, labels, **options)


# Binary cross entropy


def test_binary_cross_entropy_by_hand():
    logits = jnp.array([[0.0, 0.0], [2.0, -1.0]])
    targets = jnp.array([[1.0, 0.0], [1.0, 0.5]])
    # log(1 + e^-2) = 0.126928; half of log(1 + e) and half of log(1 + 1/e) = 0.813262
    expected = [0.693147, (0.126928 + 0.813262) / 2]
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, targets), expected, atol=1e-6)


def test_binary_cross_entropy_of_one_output_an_example():
    values = losses.binary_cross_entropy(jnp.zeros(3), jnp.array([0, 1, 1]))
    np.testing.assert_allclose(values, [0.693147] * 3, atol=1e-6)


def test_binary_cross_entropy_of_extreme_logits_is_exact():
    logits, targets = jnp.array([1e4, 1e4, -1e4, -1e4]), jnp.array([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(losses.binary_cross_entropy(logits, targets), [1e4, 0, 0, 1e4])
    gradient = jax.grad(lambda z: losses.binary_cross_entropy(z, targets).sum())(logits)
    np.testing.assert_allclose(gradient, [1, 0, 0, -1])


def test_binary_cross_entropy_check_grads():
    targets = jax.nn.sigmoid(draw(2, 3))
    check_grads(lambda z: losses.binary_cross_entropy(z, targets), (draw(2, 3),), 1)


# Squared error


def test_squared_error_by_hand():
    predictions = jnp.array([[0.0, 1.0], [1.0, 1.0]])
    targets = jnp.array([[1.0, 3.0], [1.0, 0.0]])
    np.testing.assert_array_equal(losses.squared_error(predictions, targets), [2.5, 0.5])


def test_squared_error_averages_all_features_of_an_example():
    errors = losses.squared_error(jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 2.0))
    np.testing.assert_array_equal(errors, [4.0, 4.0])
    np.testing.assert_array_equal(losses.squared_error(jnp.arange(3.0), jnp.zeros(3)), [0, 1, 4])


def test_squared_error_check_grads():
    check_grads(losses.squared_error, (draw(2, 3), draw(2, 3)), 1)


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.squared_error])
def test_targets_of_another_shape_are_refused_and_never_broadcast(loss):
    with pytest.raises(ValueError, match=r"targets must have shape \(4, 1\), got \(4,\)"):
        loss(jnp.zeros((4, 1)), jnp.zeros(4))
