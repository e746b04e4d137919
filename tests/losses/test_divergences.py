"""Divergences and the negative ELBO by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import LN2, LOGITS, ONE, close, run

from jaxdl import losses


def test_kl_divergence_by_hand():
    half, targets = jnp.log(jnp.full((1, 2), 0.5)), jnp.array([[0.25, 0.75]])
    close(run(losses.kl_divergence, half, targets), [0.13081])
    close(run(losses.kl_divergence, half, jnp.log(targets), log_targets=True), [0.13081])
    close(run(losses.kl_divergence, half, jnp.array([[1.0, 0.0]])), [LN2])


@pytest.mark.parametrize("log_targets", [False, True])
def test_a_target_of_0_costs_nothing_where_the_prediction_is_0_too(log_targets):
    predictions = jnp.array([[0.0, -jnp.inf]])
    targets = predictions if log_targets else jnp.array([[1.0, 0.0]])

    def loss(*inputs):
        return losses.kl_divergence(*inputs, log_targets=log_targets).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(predictions, targets)
    assert value == 0
    np.testing.assert_array_equal(gradients[0], [[-1.0, 0.0]])
    assert jnp.isfinite(gradients[1]).all()
    if not log_targets:
        assert jnp.isnan(loss(predictions, -targets))


def test_kl_to_standard_normal_by_hand():
    mean, log_variance = jnp.array([[0.0, 0.0], [1.0, 2.0]]), jnp.zeros((2, 2))
    close(run(losses.kl_to_standard_normal, mean, log_variance), [0.0, 2.5])
    # variance 4 in two latent variables: 2 · (4 - log 4 - 1) / 2
    close(
        run(losses.kl_to_standard_normal, jnp.zeros((1, 2)), jnp.full((1, 2), math.log(4))),
        [1.613706],
    )


def test_negative_elbo_by_hand():
    logits, targets = jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))
    mean, log_variance = jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2))
    close(run(losses.negative_elbo, logits, targets, mean, log_variance), [4 * LN2 + 2.5])
    close(run(losses.negative_elbo, logits, targets, mean, log_variance, beta=4.0), [4 * LN2 + 10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.negative_elbo(ONE, ONE, jnp.zeros((3, 2)), jnp.zeros((3, 2))),
            r"mean must have shape \(1, 2\), got \(3, 2\)",
        ),
        (
            lambda: losses.negative_elbo(ONE, ONE, ONE, LOGITS),
            r"log_variance must have shape \(1, 2\), got \(1, 3\)",
        ),
        (lambda: losses.negative_elbo(ONE, ONE, ONE, ONE, beta=-1.0), "beta must be at least 0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_distillation_by_hand():
    teacher = jnp.log(jnp.array([[0.25, 0.75]]))
    expected = 0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5)
    close(run(losses.distillation, jnp.zeros((1, 2)), teacher), [expected])
    close(run(losses.distillation, jnp.zeros((1, 2)), 2 * teacher, temperature=2.0), [4 * expected])
    close(run(losses.distillation, teacher + 7.0, teacher), [0.0])
    gradient = jax.grad(lambda t: losses.distillation(jnp.zeros((1, 2)), t).sum())(teacher)
    assert np.all(gradient == 0)
