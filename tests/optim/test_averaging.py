"""EMA and SWA of the weights."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.optimizers import CASES, path_of
from helpers.oracle import compare

from jaxdl import optim


@pytest.mark.parametrize(
    ("name", "make"), [("ema", lambda tx: optim.ema(tx, 0.8)), ("swa", optim.swa)]
)
def test_averages_of_the_weights(name, make):
    averages = path_of(make(optim.sgd(0.1)), read=lambda _, state: optim.averaged_params(state))
    compare(f"average {name}", averages, CASES[f"average {name}"]["path"], 2e-6)


def test_averages_that_begin_later():
    weights = path_of(optim.sgd(0.1))
    tx = optim.swa(optim.sgd(0.1), start=4, every=2)
    averages = path_of(tx, read=lambda _, state: optim.averaged_params(state))
    np.testing.assert_allclose(averages[3], weights[3], rtol=1e-6)
    np.testing.assert_allclose(averages[5], weights[5], rtol=1e-5)
    np.testing.assert_allclose(averages[6], weights[5], rtol=1e-5)
    mean = (weights[5] + weights[7] + weights[9]) / 3
    np.testing.assert_allclose(averages[9], mean, rtol=1e-5, atol=1e-6)
    tx = optim.ema(optim.sgd(0.1), 0.9, start=3)
    averages = path_of(tx, read=lambda _, state: optim.averaged_params(state))
    np.testing.assert_allclose(averages[3], weights[3], rtol=1e-6)
    expected = 0.9 * weights[3] + 0.1 * weights[4]
    np.testing.assert_allclose(averages[4], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.ema(optim.sgd(0.1), 1.5), "decay must lie in 0 to 1, got 1.5"),
        (lambda: optim.ema(optim.sgd(0.1), -0.1), "decay must lie in 0 to 1, got -0.1"),
        (lambda: optim.ema(optim.sgd(0.1), float("nan")), "decay must lie in 0 to 1, got nan"),
        (lambda: optim.ema(optim.sgd(0.1), start=-1), "start must be at least 0, got -1"),
        (lambda: optim.swa(optim.sgd(0.1), start=-1), "start must be at least 0, got -1"),
        (lambda: optim.swa(optim.sgd(0.1), every=0), "every must be at least 1, got 0"),
        (lambda: optim.swa(optim.sgd(0.1), every=1.5), "every must be an integer, got 1.5"),
    ],
)
def test_an_average_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_state_without_an_average_is_refused():
    with pytest.raises(ValueError, match=r"expected one average .* found 0"):
        optim.averaged_params(optim.sgd(0.1).init({"w": jnp.zeros(2)}))
