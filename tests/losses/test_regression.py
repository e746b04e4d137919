"""Regression losses by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import ONE, run

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
