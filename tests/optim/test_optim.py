"""Optimizers against loops written from PyTorch's documentation, schedules, parts, rates."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim, tree
from jaxdl.types import TrainState

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(10, 5))
WEIGHTS = RNG.normal(size=5)
PARAMS = {
    "Dense_0": {"bias": jnp.ones(2), "kernel": jnp.ones((3, 2))},
    "Dense_1": {"bias": jnp.ones(1), "kernel": jnp.ones((2, 1))},
}


def follow(tx, weights=WEIGHTS, gradients=GRADIENTS):
    """The weights after each gradient, in float32."""
    params = jnp.asarray(weights, jnp.float32)
    state, path = tx.init(params), []
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return np.array(path)


def sgd_by_formula(rate, momentum, nesterov, decay):
    w, buffer, path = WEIGHTS.copy(), np.zeros(5), []
    for gradient in GRADIENTS:
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w = w - rate * (g + momentum * buffer if nesterov else buffer)
        path.append(w)
    return np.array(path)


def adam_by_formula(rate, coupled=0.0, decoupled=0.0, b1=0.9, b2=0.999, eps=1e-8):
    w, m, v, path = WEIGHTS.copy(), np.zeros(5), np.zeros(5), []
    for t, gradient in enumerate(GRADIENTS, start=1):
        w = w * (1 - rate * decoupled)
        g = gradient + coupled * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(w)
    return np.array(path)


def test_three_steps_of_lamb_and_lion_by_formula():
    rate, decay, b1, b2 = 0.1, 0.05, 0.8, 0.9
    w, m, v, lamb = WEIGHTS.copy(), np.zeros(5), np.zeros(5), []
    for t, g in enumerate(GRADIENTS[:3], start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        update = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-6) + decay * w
        w = w - rate * np.linalg.norm(w) / np.linalg.norm(update) * update
        lamb.append(w)
    w, m, lion = WEIGHTS.copy(), np.zeros(5), []
    for g in GRADIENTS[:3]:
        w = w - rate * (np.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g
        lion.append(w)
    options = {"b1": b1, "b2": b2, "weight_decay": decay}
    path = follow(optim.lamb(rate, **options), gradients=GRADIENTS[:3])
    np.testing.assert_allclose(path, lamb, rtol=1e-5)
    path = follow(optim.lion(rate, **options), gradients=GRADIENTS[:3])
    np.testing.assert_allclose(path, lion, rtol=1e-5)


def test_nesterov_needs_a_momentum():
    with pytest.raises(ValueError, match=r"nesterov needs a momentum .* got momentum=0\.0"):
        optim.sgd(0.1, nesterov=True)


def test_sgd_two_steps_by_hand():
    path = follow(optim.sgd(0.1, momentum=0.5, weight_decay=0.1), [1.0], [[2.0], [1.0]])
    # g = 2 + .1 = 2.1, w = .79; g = 1 + .079, buffer = 1.05 + 1.079 = 2.129, w = .79 - .2129
    np.testing.assert_allclose(path.ravel(), [0.79, 0.5771], rtol=1e-6)


def test_adam_first_step_has_the_size_of_the_rate():
    path = follow(optim.adam(0.01), [1.0, 1.0], [[1e-3, -50.0]])
    np.testing.assert_allclose(path[0], [0.99, 1.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.9, True, 0.1), (0.0, False, 0.1)],
)
def test_sgd_follows_the_formula_for_ten_steps(momentum, nesterov, decay):
    tx = optim.sgd(0.05, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    expected = sgd_by_formula(0.05, momentum, nesterov, decay)
    np.testing.assert_allclose(follow(tx), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("tx", "options"),
    [
        (optim.adam(0.02), {}),
        (optim.adam(0.02, weight_decay=0.3), {"coupled": 0.3}),
        (optim.adamw(0.02), {"decoupled": 0.01}),
        (optim.adamw(0.02, weight_decay=0.3), {"decoupled": 0.3}),
        (optim.adam(0.02, b1=0.5, b2=0.9, eps=0.1), {"b1": 0.5, "b2": 0.9, "eps": 0.1}),
    ],
    ids=["adam", "adam-decay", "adamw-default", "adamw-decay", "adam-b1-b2-eps"],
)
def test_adam_and_adamw_follow_the_formula_for_ten_steps(tx, options):
    expected = adam_by_formula(0.02, **options)
    np.testing.assert_allclose(follow(tx), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [optim.sgd, optim.adam, optim.adamw])
def test_only_what_the_mask_says_decays(make):
    tx = make(0.1, weight_decay=0.5, mask=optim.no_decay_on_vectors)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    for layer in updates.values():
        np.testing.assert_array_equal(layer["bias"], 0)
        assert (layer["kernel"] < 0).all()


def test_no_decay_on_vectors_by_name():
    expected = {"bias": False, "kernel": True}
    assert optim.no_decay_on_vectors(PARAMS) == {"Dense_0": expected, "Dense_1": expected}


# Learning rates in the state


def make_train_state(tx):
    return TrainState(jnp.int32(0), PARAMS, {}, tx.init(PARAMS), jax.random.key(0))


@pytest.mark.parametrize("make", [optim.sgd, optim.adam, optim.adamw])
@pytest.mark.parametrize("rate", [1e-3, 0.1, 3e-4])
def test_learning_rate_of_one_optimizer_is_the_decimal_that_was_given(make, rate):
    assert optim.learning_rates(make_train_state(make(rate))) == {"learning_rate": rate}


def test_learning_rate_is_that_of_the_last_update():
    tx = optim.sgd(lambda step: 0.5**step)
    state = tx.init(PARAMS)
    rates = [optim.learning_rates(state)["learning_rate"]]
    for _ in range(3):
        _, state = tx.update(PARAMS, state, PARAMS)
        rates.append(optim.learning_rates(state)["learning_rate"])
    assert rates == [1.0, 1.0, 0.5, 0.25]


def test_learning_rate_inside_a_chain_and_a_frozen_model():
    tx = optax.chain(optax.clip_by_global_norm(1.0), optim.freeze(optim.adam(0.01), "Dense_0"))
    assert optim.learning_rates(make_train_state(tx)) == {"learning_rate": 0.01}


def test_learning_rates_of_several_parts_have_their_labels():
    parts = {"body": optim.sgd(0.01), "head": optim.adam(0.1)}
    tx = optim.by_pattern(parts, {"head": "Dense_1"}, default="body")
    expected = {"learning_rate/body": 0.01, "learning_rate/head": 0.1}
    assert optim.learning_rates(make_train_state(tx)) == expected


def test_a_label_may_be_a_number_or_the_name_of_a_wrapper():
    parts = {"0": ("Dense_0/bias", 0.1), "1": ("Dense_0/kernel", 0.2), "inner": ("Dense_1/b", 0.3)}
    tx = optim.recipe(optim.sgd, 0.4, parts=parts, ema=0.9, plateau={})
    expected = {"0": 0.1, "1": 0.2, "inner": 0.3, "rest": 0.4}
    assert optim.learning_rates(make_train_state(tx)) == {
        f"learning_rate/{part}": rate for part, rate in expected.items()
    }


def test_learning_rates_of_two_players_have_their_names():
    players = {"generator": optim.adam(2e-4), "critic": optim.adam(1e-4)}
    states = {name: make_train_state(tx) for name, tx in players.items()}
    expected = {"learning_rate/generator": 2e-4, "learning_rate/critic": 1e-4}
    assert optim.learning_rates(states) == expected


def test_no_learning_rate_where_there_is_none():
    assert optim.learning_rates(make_train_state(optax.sgd(0.1))) == {}
    assert optim.learning_rates({}) == {}


def test_a_sweep_over_learning_rates_equals_each_rate_alone():
    def last(rate):
        tx = optim.sgd(rate)
        params = jnp.ones(2)
        updates, _ = tx.update(jnp.array([1.0, 2.0]), tx.init(params), params)
        return params + updates

    swept = jax.vmap(last)(jnp.array([0.1, 0.5]))
    np.testing.assert_allclose(swept, [[0.9, 0.8], [0.5, 0.0]], atol=1e-7)


# Parts


def updates_of(tx):
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)  # the gradient is 1 everywhere
    return {name: float(leaf.mean()) for name, leaf in tree.named_leaves(updates).items()}


def test_freeze_leaves_what_matches_as_it_is():
    updates = updates_of(optim.freeze(optim.sgd(0.5), ["Dense_0/kernel", "Dense_1/bias"]))
    assert updates == {
        "Dense_0/bias": -0.5,
        "Dense_0/kernel": 0.0,
        "Dense_1/bias": 0.0,
        "Dense_1/kernel": -0.5,
    }


def test_frozen_parameters_do_not_decay():
    updates = updates_of(optim.freeze(optim.adamw(0.5, weight_decay=0.5), "Dense_0"))
    assert updates["Dense_0/kernel"] == updates["Dense_0/bias"] == 0.0
    assert updates["Dense_1/kernel"] < -0.5


def test_by_pattern_gives_each_part_its_own_rate():
    parts = {"head": optim.sgd(1.0), "biases": optim.sgd(0.25), "rest": optim.sgd(0.5)}
    patterns = {"head": ["Dense_1/kernel"], "biases": "bias$"}
    assert updates_of(optim.by_pattern(parts, patterns, "rest")) == {
        "Dense_0/bias": -0.25,
        "Dense_0/kernel": -0.5,
        "Dense_1/bias": -0.25,
        "Dense_1/kernel": -1.0,
    }


def test_by_pattern_refuses_a_label_without_a_transformation():
    with pytest.raises(ValueError, match=r"no transformation for \['body', 'head'\]; .*\['tail'\]"):
        optim.by_pattern({"tail": optim.sgd(0.1)}, {"head": "Dense_1"}, "body")


def test_by_pattern_refuses_a_parameter_with_two_labels():
    parts = {"a": optim.sgd(0.1), "b": optim.sgd(0.1)}
    tx = optim.by_pattern(parts, {"a": "Dense_0", "b": "bias"}, "a")
    with pytest.raises(ValueError, match=r"Dense_0/bias matches the patterns of \['a', 'b'\]"):
        tx.init(PARAMS)


def test_freeze_refuses_a_pattern_without_a_match():
    with pytest.raises(ValueError, match=r"'Conv' matches no parameter; .*Dense_0/bias"):
        optim.freeze(optim.sgd(0.1), "Conv").init(PARAMS)


# Schedules


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
