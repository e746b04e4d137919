"""Schedules against the fixtures from PyTorch and by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.optimizers import CASES
from helpers.oracle import compare

from jaxdl import optim

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


@pytest.mark.slow
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


@pytest.mark.slow
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


def rates(schedule, *steps):
    return [float(schedule(step)) for step in steps]


def test_step_decay_by_hand():
    schedule = optim.step_decay(1e-3, every=30)
    expected = [1e-3, 1e-3, 1e-4, 1e-4, 1e-5]
    np.testing.assert_allclose(rates(schedule, 0, 29, 30, 59, 60), expected, rtol=1e-5)
    halved = optim.step_decay(1e-3, every=5, factor=0.5)
    np.testing.assert_allclose(rates(halved, 4, 5, 9, 10), [1e-3, 5e-4, 5e-4, 2.5e-4], rtol=1e-5)


def test_cosine_by_hand():
    schedule = optim.warmup_cosine(1.0, 80)
    expected = [1, 0.85355, 0.5, 0.14645, 0]
    np.testing.assert_allclose(rates(schedule, 0, 20, 40, 60, 80), expected, atol=5e-6)


def test_warmup_rises_in_a_line_and_falls_to_the_final_rate():
    schedule = optim.warmup_cosine(2.0, 50, num_warmup_steps=10, final_factor=0.1)
    expected = [0, 1, 1.8, 2, 0.2 + 1.8 * 0.5, 0.2, 0.2]
    np.testing.assert_allclose(rates(schedule, 0, 5, 9, 10, 30, 50, 99), expected, rtol=1e-5)


def test_cosine_without_warmup_falls_to_the_final_rate():
    schedule = optim.warmup_cosine(2.0, 50, final_factor=0.1)
    np.testing.assert_allclose(rates(schedule, 0, 25, 50, 99), [2, 1.1, 0.2, 0.2], rtol=1e-5)


@pytest.mark.parametrize("num_steps", [10, 100, 1000])
def test_one_cycle_begins_peaks_and_ends_where_pytorch_does(num_steps):
    schedule = optim.one_cycle(0.5, num_steps)
    peak = round(0.3 * num_steps) - 1
    begin, top, end = rates(schedule, 0, peak, num_steps - 1)
    np.testing.assert_allclose([begin, top, end], [0.02, 0.5, 2e-6], rtol=1e-5)
    before, after = rates(schedule, peak - 1, peak + 1)
    assert before < top > after


def test_one_cycle_halfway_up_is_the_middle():
    # 0.3 · 70 - 1 = 20 steps up from 1/25
    np.testing.assert_allclose(rates(optim.one_cycle(1.0, 70), 10), [0.52], rtol=1e-6)


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_only_falls(num_steps):
    values = rates(optim.one_cycle(1.0, num_steps), *range(num_steps))
    assert values == sorted(values, reverse=True)
    assert math.isclose(values[-1], 4e-6, rel_tol=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.step_decay(1e-3, every=7),
        lambda: optim.warmup_cosine(1e-3, 20, num_warmup_steps=5),
        lambda: optim.one_cycle(1e-3, 20),
    ],
    ids=["step_decay", "warmup_cosine", "one_cycle"],
)
def test_schedules_are_the_same_under_jit_and_vmap(make):
    schedule = make()
    steps = jnp.arange(20)
    traced = jax.jit(jax.vmap(schedule))(steps)
    np.testing.assert_allclose(traced, rates(schedule, *range(20)), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.step_decay(1.0, 0), "every must be at least 1, got 0"),
        (lambda: optim.multi_step(1.0, []), "milestones must be ascending"),
        (lambda: optim.multi_step(1.0, [5, 3]), "milestones must be ascending"),
        (lambda: optim.polynomial(1.0, 2.5), "num_steps must be an integer, got 2.5"),
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.step_decay(1e-3, every=0), "every must be at least 1, got 0"),
        (lambda: optim.warmup_cosine(1e-3, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.one_cycle(1e-3, 0), "num_steps must be at least 1, got 0"),
        (lambda: optim.warmup_cosine(1e-3, 5, num_warmup_steps=5), "lie in 0 to 4 .* got 5"),
        (lambda: optim.warmup_cosine(1e-3, 5, num_warmup_steps=-1), "lie in 0 to 4 .* got -1"),
    ],
)
def test_schedules_refuse_lengths(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("bad", [-0.1, float("nan"), "0.1"])
@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optim.step_decay(rate, 3),
        lambda rate: optim.multi_step(rate, [2, 4]),
        lambda rate: optim.exponential(rate, 0.9),
        lambda rate: optim.polynomial(rate, 9),
        lambda rate: optim.warmup(rate, 9),
        lambda rate: optim.warmup_cosine(rate, 9),
        lambda rate: optim.cosine_restarts(rate, 3),
        lambda rate: optim.one_cycle(rate, 9),
        lambda rate: optim.chained(rate, optim.step_decay(1.0, 3)),
    ],
)
def test_a_learning_rate_out_of_range_is_refused(make, bad):
    with pytest.raises(ValueError, match=rf"learning_rate must .* got {bad!r}"):
        make(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.step_decay(1.0, 3, -0.1), "factor must be at least 0, got -0.1"),
        (lambda: optim.multi_step(1.0, [3], -0.1), "factor must be at least 0, got -0.1"),
        (lambda: optim.exponential(1.0, float("nan")), "factor must be at least 0, got nan"),
        (lambda: optim.polynomial(1.0, 3, -1.0), "power must be at least 0, got -1.0"),
        (lambda: optim.warmup(1.0, 3, 1.5), "start_factor must lie in 0 to 1, got 1.5"),
        (lambda: optim.warmup_cosine(1.0, 3, final_factor=-1), "final_factor must be at least 0"),
        (lambda: optim.cosine_restarts(1.0, 3, final_factor=-1), "final_factor must be at least"),
    ],
)
def test_a_factor_out_of_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
