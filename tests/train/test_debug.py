"""Finding what went wrong: the first NaN, the shapes of all layers, a trace of some steps."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, train
from jaxdl.train.debug import first_non_finite


def key():
    return jax.random.key(0)  # a new one each time, so that none is used twice


class Root(linen.Module):
    """A square root that goes wrong below 0, between two dense layers."""

    @linen.compact
    def __call__(self, x):
        return jnp.sqrt(x)


class Net(linen.Module):
    wrong: str = ""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = linen.Dense(3, name="first")(x)
        if self.wrong == "inside":
            x = Root(name="root")(x)
        x = linen.Dense(3, name="second")(x)
        if self.wrong == "gradient":  # 0 at 0, its derivative is infinite there
            x = jnp.sqrt(jnp.abs(x * 0))
        return linen.Dense(2, name="third")(x)


def make_step(model, tx=None, loss=losses.cross_entropy, preprocess=None):
    tx = optax.sgd(0.1) if tx is None else tx
    loss_fn = train.supervised(model, loss, inputs="x", preprocess=preprocess)
    state = train.init_state(model, tx, key(), jnp.zeros((1, 4)))
    return train.make_step(loss_fn, tx), state


BATCH = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32),
         "label": jnp.zeros(6, jnp.int32)}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        (Net("inside"), {}, "the output of root (Root) of Net"),
        (
            Net(),
            {"preprocess": lambda x: x / 0.0 * 0.0},
            "the first non-finite value is in the input",
        ),
        (Net(), {"loss": lambda x, y: jnp.log(x[:, 0] * 0 - 1)}, "but the loss is not"),
        (
            Net("gradient"),
            {},
            "the first non-finite gradient of the backward pass is that of second/",
        ),
        (Net(), {"tx": optax.scale(jnp.inf)}, "but the optimizer's update is not"),
    ],
)
def test_the_first_that_is_not_finite_is_named(model, options, sentence):
    step, state = make_step(model, **options)
    assert sentence in first_non_finite(step, state, BATCH)


@pytest.mark.slow
def test_a_run_names_layer_step_and_batch(tmp_path):
    """Only example 17 is too large for the layer that takes an exponential."""

    class Exponential(linen.Module):
        @linen.compact
        def __call__(self, x):
            return jnp.exp(x)

    class Model(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return linen.Dense(2)(Exponential(name="exponential")(x))

    tx, model = optax.sgd(0.0), Model()
    loss_fn = train.supervised(model, losses.cross_entropy, inputs="x")
    state = train.init_state(model, tx, key(), jnp.zeros((1, 2)))
    x = np.zeros((24, 2), np.float32)
    x[17] = 1000.0
    with pytest.raises(FloatingPointError) as error:
        train.run(
            train.make_step(loss_fn, tx),
            state,
            {"x": x, "label": np.zeros(24, np.int32)},
            num_epochs=1,
            batch_size=1,
            key=key(),
            progress=False,
        )
    message = str(error.value)
    assert "(examples 17)" in message
    assert "the output of exponential (Exponential) of Model" in message
    from jaxdl.data.collate import epoch_order

    place = np.asarray(epoch_order(key(), 0, 24, 1))[:, 0].tolist().index(17)
    assert f"at step {place}, batch {place} of the epoch" in message


@pytest.mark.slow
def test_modules_inside_a_loop_are_seen_too():
    model = linen.RNN(linen.SimpleCell(2))

    class Recurrent(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return linen.Dense(2)(model.copy(name="rnn")(x[:, :, None] / 0.0)[:, -1])

    step, state = make_step(Recurrent())
    sentence = first_non_finite(step, state, BATCH)
    assert (
        sentence == "the first non-finite value is in the output of rnn/cell/i (Dense) of Recurrent"
    )
