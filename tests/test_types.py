"""States in a few lines."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxdl import models, optim, train
from jaxdl.losses import adversarial

MODEL, TX = models.MLP((8, 2)), optax.adam(0.1)


def start(key):
    return train.init_state(MODEL, TX, key, jnp.zeros((1, 4)))


@pytest.mark.slow
def test_a_state_is_shown_in_four_lines():
    expected = (
        "  params: 58 values in 4 arrays\n  model_state: empty\n  opt_state: 117 values in 9 arrays"
    )
    assert repr(start(0)) == f"TrainState: step 0\n{expected}"
    forms = jax.eval_shape(start, jax.random.key(0))
    assert repr(forms).splitlines()[1:] == expected.splitlines()
    shown = []
    jax.eval_shape(lambda state: shown.append(repr(state)), start(0))
    assert shown.pop().splitlines()[1:] == expected.splitlines()


@pytest.mark.slow
def test_many_states_and_a_deleted_one():
    many = jax.vmap(start)(jax.random.split(jax.random.key(0), 3))
    assert repr(many).splitlines()[:2] == [
        "TrainState: step int32[3]",
        "  params: 174 values in 4 arrays",
    ]
    for leaf in jax.tree.leaves(many):
        leaf.delete()
    assert repr(many).startswith("TrainState: step int32[3]\n  params: 174 values")


def test_the_players_of_a_gan():
    players = train.Players(
        models.DenseGenerator((8,), (2, 2, 1), num_latents=3),
        models.DenseDiscriminator((8,)),
        optim.sgd(0.1),
        optim.sgd(0.1),
        adversarial.non_saturating(),
    )
    lines = repr(train.init_gan_state(players, jax.random.key(0))).splitlines()
    assert lines[:3] == [
        "GANState: step 0",
        "  generator: PlayerState",
        "    params: 84 values in 6 arrays",  # 24 + 8, a norm's 16, 32 + 4
    ]
    assert len(lines) == 9
