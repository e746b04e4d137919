"""Optimizers, schedules, plateaus and averages against the fixtures from PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import optim

CASES = read_cases("optim")
START, GRADIENTS = CASES["start"]["weights"], CASES["start"]["gradients"]

OPTIMIZERS = {
    "sgd": optim.sgd(0.1),
    "sgd momentum decay": optim.sgd(0.1, momentum=0.9, weight_decay=1e-2),
    "sgd nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": optim.adam(1e-2),
    "adam decay": optim.adam(1e-2, weight_decay=1e-2),
    "adamw": optim.adamw(1e-2, weight_decay=0.1),
    "rmsprop": optim.rmsprop(1e-2),
    "rmsprop centered momentum": optim.rmsprop(
        1e-2, momentum=0.9, centered=True, weight_decay=1e-2
    ),
    "adagrad": optim.adagrad(0.1, weight_decay=1e-2),
    "adadelta": optim.adadelta(1.0, weight_decay=1e-2),
}


def path_of(tx, weights=START, gradients=GRADIENTS, read=lambda params, state: params):
    """What ``read`` sees after each step along given gradients."""

    @jax.jit
    def steps(params, state):
        def step(carry, gradient):
            params, state = carry
            updates, state = tx.update(gradient, state, params)
            params = jax.tree.map(lambda p, u: p + u, params, updates)
            return (params, state), read(params, state)

        return jax.lax.scan(step, (params, state), gradients)[1]

    params = jax.tree.map(jnp.asarray, weights)
    return steps(params, tx.init(params))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_on_given_gradients(name):
    compare(f"optimizer {name}", path_of(OPTIMIZERS[name]), CASES[name]["path"], 2e-6)


@pytest.mark.parametrize("name", ["muon", "muon transposed"])
def test_muon(name):
    """Kernels are (in, out), PyTorch's weights (out, in); a bias follows Adam."""

    def turned(array):
        return np.swapaxes(array, -1, -2)

    weight, gradients = START, GRADIENTS
    if name == "muon transposed":
        weight, gradients = turned(weight), turned(gradients)
    path = path_of(
        optim.muon(0.02, weight_decay=0.1),
        {"kernel": turned(weight), "bias": START[0]},
        {"kernel": turned(gradients), "bias": GRADIENTS[:, 1]},
    )
    compare(f"optimizer {name}", turned(path["kernel"]), CASES[name]["path"], 5e-6)
    bias = path_of(optim.adam(0.02), START[0], GRADIENTS[:, 1])
    np.testing.assert_allclose(path["bias"], bias, rtol=1e-6)


SCHEDULES = {
    "step_decay": optim.step_decay(1e-3, 5, 0.5),
    "multi_step": optim.multi_step(1.0, [7, 20, 20]),
    "exponential": optim.exponential(0.1, 0.9),
    "cosine": optim.warmup_cosine(1.0, 40, final_factor=0.1),
    "cosine_restarts": optim.cosine_restarts(1.0, 10),
    "cosine_restarts growing": optim.cosine_restarts(1.0, 5, growth=2, final_factor=0.05),
    "warmup": optim.warmup(0.5, 10, start_factor=0.1),
    "polynomial": optim.polynomial(0.5, 30, power=2.0),
    "one_cycle": optim.one_cycle(0.1, 40),
    "one_cycle linear": optim.one_cycle(
        0.1, 40, pct_start=0.55, anneal_strategy="linear", div_factor=10.0
    ),
    "one_cycle three_phase": optim.one_cycle(
        0.1, 40, pct_start=0.33, final_div_factor=50.0, three_phase=True
    ),
    "one_cycle three_phase short": optim.one_cycle(
        0.1, 40, pct_start=0.7, anneal_strategy="linear", three_phase=True
    ),
    "lambda": optim.chained(0.2, lambda epoch: 0.95**epoch / (1 + epoch)),
    "chained": optim.chained(0.1, optim.exponential(1.0, 0.9), optim.step_decay(1.0, 3)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    """To the last bits of float32: one part in two million of the largest rate."""
    rates = jax.jit(jax.vmap(SCHEDULES[name]))(jnp.arange(40))
    compare(f"schedule {name}", rates, CASES[f"schedule {name}"]["rates"], 5e-7)
    traced_and_not = SCHEDULES[name](13)
    np.testing.assert_allclose(traced_and_not, rates[13], rtol=1e-5, atol=1e-9)
    elementwise = SCHEDULES[name](jnp.arange(40).reshape(8, 5))
    np.testing.assert_allclose(elementwise.ravel(), rates, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("factor", [0.999999, 0.9999, 0.9, 1.00001])
@pytest.mark.parametrize(
    "make", [optim.exponential, lambda rate, factor: optim.step_decay(rate, 1, factor)]
)
def test_a_million_factors_are_those_of_float64(make, factor):
    steps = np.unique(np.geomspace(1, 1e6, 400).astype(np.int32))
    expected = np.float64(factor) ** steps
    steps, expected = steps[expected > 1e-30], expected[expected > 1e-30]
    np.testing.assert_allclose(make(1.0, factor)(jnp.asarray(steps)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optim.step_decay(rate, 3, rate),
        lambda rate: optim.multi_step(rate, [2, 4], rate),
        lambda rate: optim.exponential(rate, rate),
        lambda rate: optim.polynomial(rate, 9),
        lambda rate: optim.warmup(rate, 9),
        lambda rate: optim.warmup_cosine(rate, 9),
        lambda rate: optim.warmup_cosine(rate, 9, num_warmup_steps=6, final_factor=0.1),
        lambda rate: optim.cosine_restarts(rate, 3),
        lambda rate: optim.one_cycle(rate, 9, three_phase=True),
        lambda rate: optim.chained(rate, optim.step_decay(1.0, 3)),
    ],
)
def test_a_sweep_traces_the_rate_of_every_schedule(make):
    rates = jnp.array([0.5, 0.25])
    swept = jax.vmap(lambda rate: make(rate)(5))(rates)
    np.testing.assert_allclose(swept, [make(float(rate))(5) for rate in rates], rtol=1e-6)


def test_a_schedule_of_epochs_is_constant_within_one():
    by_epoch = optim.per_epoch(optim.exponential(1.0, 0.5), 3)
    rates = jax.vmap(by_epoch)(jnp.arange(9))
    np.testing.assert_allclose(rates, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.step_decay(1.0, 0), "every must be at least 1, got 0"),
        (lambda: optim.multi_step(1.0, []), "milestones must be ascending"),
        (lambda: optim.multi_step(1.0, [5, 3]), "milestones must be ascending"),
        (lambda: optim.polynomial(1.0, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.warmup(1.0, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.warmup_cosine(1.0, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.cosine_restarts(1.0, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.cosine_restarts(1.0, 5, growth=0), "growth must be at least 1, got 0"),
        (lambda: optim.one_cycle(1.0, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.one_cycle(1.0, 5, pct_start=1.1), "pct_start must lie in 0 to 1"),
        (lambda: optim.one_cycle(1.0, 5, div_factor=0.0), "div_factor must be greater than 0"),
        (lambda: optim.one_cycle(1.0, 5, anneal_strategy="cosine"), "must be 'cos' or 'linear'"),
        (lambda: optim.per_epoch(lambda s: s, 0), "steps_per_epoch must be at least 1, got 0"),
        (lambda: optim.chained(1.0), "at least one factor"),
    ],
)
def test_a_schedule_without_length_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


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
    state, observe, rates = tx.init({"w": jnp.zeros(2)}), jax.jit(optim.observe), []
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
    lowered = optim.observe(optim.observe(state, 1.0), 1.0)
    second, _ = tx.update({"w": jnp.ones(2)}, lowered, params)
    np.testing.assert_allclose(second["w"], first["w"] / 2)


@pytest.mark.parametrize(
    "options",
    [{"mode": "less"}, {"factor": 2.0}, {"patience": -1}, {"threshold_mode": "rel"}],
)
def test_a_wrong_plateau_is_refused(options):
    with pytest.raises(ValueError, match=r"must"):
        optim.reduce_on_plateau(optim.sgd(1.0), **options)


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
    ("name", "options"), [("norm", {"clip_norm": 1.5}), ("value", {"clip_value": 0.5})]
)
def test_clipping(name, options):
    tx = optim.recipe(optim.sgd, 0.1, momentum=0.9, **options)
    weights = {"bias": START[0], "weight": START}
    gradients = {"bias": GRADIENTS[:, 1], "weight": GRADIENTS}
    last = jax.tree.map(lambda leaf: leaf[-1], path_of(tx, weights, gradients))
    compare(f"clip {name}", last, CASES[f"clip {name}"])
