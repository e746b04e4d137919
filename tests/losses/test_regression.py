"""Regression losses by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers.losses import LN2, ONE, close, run

from jaxdl import losses


def test_squared_and_absolute_error_by_hand():
    predictions = jnp.array([[0.0, 1.0], [1.0, 1.0]])
    targets = jnp.array([[1.0, 3.0], [1.0, 0.0]])
    np.testing.assert_array_equal(run(losses.squared_error, predictions, targets), [2.5, 0.5])
    np.testing.assert_array_equal(run(losses.absolute_error, predictions, targets), [1.5, 0.5])


def test_errors_are_averaged_over_all_features_of_an_example():
    errors = run(losses.squared_error, jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 2.0))
    np.testing.assert_array_equal(errors, [4.0, 4.0])
    np.testing.assert_array_equal(
        run(losses.squared_error, jnp.arange(3.0), jnp.zeros(3)), [0, 1, 4]
    )


def test_half_the_squared_error_has_the_residual_as_gradient():
    gradient = jax.grad(lambda p: 0.5 * losses.squared_error(p, jnp.array([1.0])).sum())
    np.testing.assert_array_equal(gradient(jnp.array([3.5])), [2.5])


def test_pixels_of_unsigned_integers_do_not_wrap_around():
    pixels = jnp.array([250, 3], jnp.uint8)
    np.testing.assert_array_equal(losses.squared_error(jnp.array([251.0, 0.0]), pixels), [1, 9])
    np.testing.assert_array_equal(run(losses.absolute_error, pixels[::-1], pixels), [247, 247])


def test_huber_by_hand():
    errors = jnp.array([0.5, 2.0, -3.0, 0.0])
    np.testing.assert_array_equal(
        run(losses.huber, errors, jnp.zeros(4), delta=2.0), [0.125, 2.0, 4.0, 0.0]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.huber(ONE, ONE, delta=0.0), "delta must be greater than 0, got 0.0"),
        (lambda: losses.squared_error(jnp.array(1.0), jnp.array(1.0)), "leading batch axis"),
        (lambda: losses.squared_error([1.0], ONE), "predictions must be an array, got a list"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_smooth_l1_by_hand():
    errors, zeros = jnp.array([0.5, 3.0]), jnp.zeros(2)
    np.testing.assert_array_equal(run(losses.smooth_l1, errors, zeros), [0.125, 2.5])
    np.testing.assert_array_equal(run(losses.smooth_l1, errors, zeros, beta=0.5), [0.25, 2.75])
    np.testing.assert_array_equal(run(losses.smooth_l1, errors, zeros, beta=0.0), [0.5, 3.0])


def test_log_cosh_is_half_a_square_near_zero_and_finite_far_away():
    errors = jnp.array([1e-2, 1000.0])
    close(run(losses.log_cosh, errors, jnp.zeros(2)), [0.5e-4, 1000 - LN2], atol=1e-4)


def test_the_quantile_loss_is_least_at_the_quantile():
    targets = jnp.arange(1.0, 101.0)
    guesses = jnp.arange(1.0, 101.0)
    total = jax.vmap(lambda guess: losses.quantile(jnp.full(100, guess), targets, level=0.9).sum())
    assert guesses[jnp.argmin(total(guesses))] in (90.0, 91.0)
    levels = jnp.array([0.25, 0.75])
    by_output = run(losses.quantile, jnp.zeros((1, 2)), jnp.ones((1, 2)), level=levels)
    close(by_output, [0.5])


def test_likelihoods_are_those_of_scipy():
    mean, targets, variance = jnp.array([0.5]), jnp.array([2.0]), jnp.array([4.0])
    ours = run(losses.gaussian_nll, mean, targets, variance, full=True)
    close(ours, -scipy.stats.norm(0.5, 2.0).logpdf([2.0]))
    rate, count = jnp.array([2.5]), jnp.array([40.0])
    ours = run(losses.poisson_nll, rate, count, log_input=False, full=True)
    # Stirling's approximation lacks 1 / (12 n)
    close(ours, -scipy.stats.poisson(2.5).logpmf([40]), atol=1 / 480 + 1e-3)


def test_a_variance_per_example_needs_an_axis():
    with pytest.raises(ValueError, match=r"the axes of mean \(2, 3\).*; got \(2,\)"):
        losses.gaussian_nll(jnp.zeros((2, 3)), jnp.zeros((2, 3)), jnp.ones(2))
    per_example = losses.gaussian_nll(jnp.zeros((2, 3)), jnp.ones((2, 3)), jnp.ones((2, 1)))
    close(per_example, [0.5, 0.5])
