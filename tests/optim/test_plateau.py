"""Learning-rate reduction on a plateau."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.optimizers import CASES
from helpers.oracle import compare

from jaxdl import optim

PLATEAUS = {
    "min": {"patience": 2},
    "max": {"mode": "max", "patience": 2, "factor": 0.5},
    "absolute cooldown": {
        "patience": 1,
        "threshold": 1e-2,
        "threshold_mode": "absolute",
        "cooldown": 2,
        "factor": 0.5,
    },
}


def rates_on(values, **options):
    tx = optim.reduce_on_plateau(optim.sgd(1.0), **options)
    state, observe, rates = tx.init({"w": jnp.zeros(2)}), jax.jit(optim.plateau.observe), []
    for value in values:
        state = observe(state, value)
        rates.append(optim.learning_rates(state)["learning_rate"])
    return rates


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau(name):
    rates = rates_on(CASES[f"plateau {name}"]["values"], **PLATEAUS[name], min_scale=0.01)
    assert len(set(rates)) > 2
    compare(f"plateau {name}", np.array(rates), CASES[f"plateau {name}"]["rates"], 1e-6)


def test_a_plateau_of_negative_values_is_seen():
    """-0.99995 is worse than -1, though within the relative threshold that PyTorch moves up."""
    worse = [-1.0, -0.99995, -0.99995, -0.99995]
    assert rates_on(worse, patience=2)[-1] == 0.1
    better = [-1.0, -1.1, -1.2, -1.3, -1.4]
    assert rates_on(better, patience=1)[-1] == 1.0
    rising = [-1.4, -1.3, -1.2, -1.1, -1.0]
    assert rates_on(rising, patience=1, mode="max")[-1] == 1.0
    assert rates_on(better, patience=1, mode="max")[-1] < 1.0


def test_the_updates_shrink_with_the_rate():
    tx = optim.reduce_on_plateau(optim.sgd(1.0, momentum=0.9), patience=0, factor=0.5)
    params = {"w": jnp.ones(2)}
    state = tx.init(params)
    first, _ = tx.update({"w": jnp.ones(2)}, state, params)
    lowered = optim.plateau.observe(optim.plateau.observe(state, 1.0), 1.0)
    second, _ = tx.update({"w": jnp.ones(2)}, lowered, params)
    np.testing.assert_allclose(second["w"], first["w"] / 2)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "less"},
        {"threshold_mode": "rel"},
        {"factor": 2.0},
        {"factor": 1.0},
        {"factor": float("nan")},
        {"patience": -1},
        {"patience": 1.5},
        {"cooldown": -1},
        {"threshold": -1e-4},
        {"threshold": float("nan")},
        {"min_scale": 1.5},
    ],
)
def test_a_wrong_plateau_is_refused(options):
    with pytest.raises(ValueError, match=r"must"):
        optim.reduce_on_plateau(optim.sgd(1.0), **options)


PARAMS = {"kernel": jnp.ones((2, 2))}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tx: optim.reduce_on_plateau(optim.ema(tx)), r"expected ema\(reduce_on_plateau"),
        (
            lambda tx: optim.reduce_on_plateau(optim.mixed_precision(optim.swa(tx))),
            "would scale updates after ema or swa has read them",
        ),
        (
            lambda tx: optim.reduce_on_plateau(optim.max_norm(tx, "kernel", 1.0)),
            r"expected max_norm\(reduce_on_plateau\(tx\)\)",
        ),
        (lambda tx: optim.max_norm(optim.ema(tx), "kernel", 1.0), r"expected ema\(max_norm\(tx"),
    ],
)
def test_what_must_be_outside_is_refused_inside(make, message):
    with pytest.raises(ValueError, match=message):
        make(optim.sgd(0.1)).init(PARAMS)


def test_a_plateau_inside_a_largest_norm_leaves_it():
    tx = optim.ema(
        optim.max_norm(optim.reduce_on_plateau(optim.sgd(1.0), patience=0), "w", 1.0), 0.5
    )
    params = {"w": jnp.full((1, 4), 10.0)}
    state = optim.plateau.observe(
        optim.plateau.observe(tx.init(params), 1.0), 1.0
    )  # the rate is 0.1 now
    updates, state = tx.update({"w": jnp.full((1, 4), 1.0)}, state, params)
    np.testing.assert_allclose(params["w"] + updates["w"], 0.5 - 0.1, rtol=1e-5)
    np.testing.assert_allclose(optim.averaged_params(state)["w"], 0.4, rtol=1e-5)
    assert optim.learning_rates(state) == {"learning_rate": 0.1}
