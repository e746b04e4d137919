"""Learning rates and constants in optimizer states."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.same import assert_same

from jaxdl import optim
from jaxdl.optim import hyperparameters
from jaxdl.types import TrainState

PARAMS = {
    "Dense_0": {"bias": jnp.ones(2), "kernel": jnp.ones((3, 2))},
    "Dense_1": {"bias": jnp.ones(1), "kernel": jnp.ones((2, 1))},
}


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


def test_the_rate_of_optax_with_injected_hyperparameters_is_read():
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=optim.step_decay(0.5, 1, 0.5), b1=0.8)
    state = tx.init(PARAMS)
    for _ in range(3):
        _, state = tx.update(PARAMS, state, PARAMS)
    assert optim.learning_rates(make_train_state(tx)) == {"learning_rate": 0.5}
    assert optim.learning_rates(state) == {"learning_rate": 0.125}


# Constants of a resumed run


def resume(saved, fresh, recorded=None):
    given = hyperparameters.constants(make_train_state(fresh))
    return hyperparameters.follow_constants(make_train_state(saved), given, recorded)


def test_constants_are_numbers_and_not_schedules():
    parts = {"head": ("Dense_1", optim.exponential(0.1, 0.5))}
    tx = optim.recipe(optim.adam, 0.01, parts=parts, plateau={"patience": 3}, ema=0.9)
    state = make_train_state(tx)
    named = {name.rpartition("/")[2]: v for name, v in hyperparameters.constants(state).items()}
    assert named == {
        "learning_rate": 0.01,
        "factor": 0.1,
        "patience": 3.0,
        "threshold": 1e-4,
        "relative": 1.0,
        "cooldown": 0.0,
        "min_scale": 0.0,
        "sign": 1.0,
    }


@pytest.mark.parametrize("make", [optim.sgd, optim.adam, optim.muon])
def test_a_resumed_run_follows_another_number(make):
    state, lines = resume(make(0.1), make(1e-3))
    assert optim.learning_rates(state) == {"learning_rate": 1e-3}
    assert lines == ["learning_rate 0.1 -> 0.001"]
    assert jax.tree.structure(state) == jax.tree.structure(make_train_state(make(0.1)))


def test_a_resumed_run_follows_the_constants_of_optax():
    make = optax.inject_hyperparams(optax.adam)
    state, lines = resume(make(learning_rate=0.1, b1=0.8), make(learning_rate=0.1, b1=0.7))
    assert lines == ["b1 0.8 -> 0.7"]
    assert float(state.opt_state.hyperparams["b1"]) == np.float32(0.7)


def test_a_resumed_run_follows_the_rule_of_a_plateau_and_keeps_its_counts():
    old = optim.recipe(optim.sgd, 1.0, plateau={"patience": 0, "factor": 0.5}, ema=0.9)
    new = optim.recipe(optim.sgd, 0.5, plateau={"patience": 1, "factor": 0.1}, ema=0.9)
    saved = optim.plateau.observe(optim.plateau.observe(old.init(PARAMS), 1.0), 2.0)
    assert optim.learning_rates(saved) == {"learning_rate": 0.5}
    given = hyperparameters.constants(new.init(PARAMS))
    state, lines = hyperparameters.follow_constants(saved, given)
    assert lines == [
        "plateau/factor 0.5 -> 0.1",
        "plateau/patience 0 -> 1",
        "learning_rate 1 -> 0.5",
    ]
    assert optim.learning_rates(state) == {"learning_rate": 0.25}
    state = optim.plateau.observe(optim.plateau.observe(state, 3.0), 3.0)
    assert optim.learning_rates(state) == {"learning_rate": 0.025}


def test_each_part_follows_its_own_number():
    def make(head, rest):
        return optim.recipe(optim.sgd, rest, parts={"head": ("Dense_1", head)})

    state, lines = resume(make(0.1, 0.2), make(0.3, 0.2))
    assert lines == ["head/learning_rate 0.1 -> 0.3"]
    assert optim.learning_rates(state) == {"learning_rate/head": 0.3, "learning_rate/rest": 0.2}


def test_a_number_that_a_step_has_changed_stays_where_the_run_has_not():
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
    state = tx.init(PARAMS)
    state.hyperparams["learning_rate"] = jnp.float32(0.05)
    recorded = given = hyperparameters.constants(tx.init(PARAMS))
    resumed, lines = hyperparameters.follow_constants(state, given, recorded)
    assert (optim.learning_rates(resumed), lines) == ({"learning_rate": 0.05}, [])


def test_unchanged_constants_change_no_bit():
    tx = optim.recipe(optim.adam, 3e-4, plateau={"threshold": 1e-3}, ema=0.9, accumulate=2)
    state = make_train_state(tx)
    resumed, lines = hyperparameters.follow_constants(state, hyperparameters.constants(state))
    assert lines == []
    assert_same(resumed, state)
