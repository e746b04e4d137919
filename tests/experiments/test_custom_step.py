"""SAM: its numbers by hand, plain descent at rho 0, and a run that can be resumed."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import custom_step
from jaxdl import data, train
from jaxdl.metrics import mean
from jaxdl.types import TrainState

DIGITS = data.load("digits")
SMALL = DIGITS._replace(
    train={name: array[:96] for name, array in DIGITS.train.items()},
    test={name: array[:40] for name, array in DIGITS.test.items()},
)


def quartic(params, model_state, batch, *, key, train):
    value = mean(params["w"] ** 4 * batch["x"])
    return value.total / value.count, (model_state, {"loss": value})


def start(tx):
    params = {"w": jnp.float32(1.0)}
    return TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(0))


def test_a_step_descends_with_the_gradient_uphill():
    tx = optax.sgd(0.1)
    step, batch = custom_step.make_sam_step(quartic, tx, 0.5), {"x": jnp.ones(2)}
    state, values = jax.jit(step)(start(tx), batch)
    # uphill from 1 by 0.5; the slope of w^4 there is 4 * 1.5^3 = 13.5
    np.testing.assert_allclose(state.params["w"], 1.0 - 0.1 * 13.5, rtol=1e-6)
    np.testing.assert_allclose(step.gradients(start(tx), batch)["w"], 13.5, rtol=1e-6)
    assert values["loss"].total == 2.0  # of the state before the step
    assert int(state.step) == 1


def test_without_a_climb_it_is_plain_descent():
    tx, batch = optax.sgd(0.1), {"x": jnp.arange(3.0)}
    state, _ = jax.jit(custom_step.make_sam_step(quartic, tx, 0.0))(start(tx), batch)
    plain, _ = jax.jit(train.make_step(quartic, tx))(start(tx), batch)
    np.testing.assert_array_equal(state.params["w"], plain.params["w"])


@pytest.mark.slow
def test_the_experiment_learns_and_resumes(tmp_path):
    cfg = custom_step.Config(num_epochs=6, batch_size=32, workdir=tmp_path / "a")
    whole, history = custom_step.train(cfg, SMALL)
    assert history[-1]["test/accuracy"] > 0.5
    assert history[-1]["train/loss"] < history[0]["train/loss"] * 0.7
    for num_epochs, resume in ((3, False), (6, True)):
        cfg = custom_step.Config(
            num_epochs=num_epochs, batch_size=32, workdir=tmp_path / "b", resume=resume
        )
        parts, _ = custom_step.train(cfg, SMALL)
    jax.tree.map(np.testing.assert_array_equal, whole.params, parts.params)


@pytest.mark.slow
def test_the_experiment_reaches_its_numbers(tmp_path):
    custom_step.main(custom_step.Config(workdir=tmp_path / "sam"))
    assert (tmp_path / "sam" / "learning_curves.png").is_file()
    last = json.loads((tmp_path / "sam" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["test/loss"] < 0.06
    assert last["test/accuracy"] > 0.98
