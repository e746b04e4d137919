"""Optax's transformations that read the loss, through make_step, fit and run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, models, optim, train

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(3, 2)).astype(np.float32)
X = RNG.normal(size=(24, 3)).astype(np.float32)
DATA = {"image": X, "label": (X @ WEIGHTS).argmax(axis=1).astype(np.int32)}


def make_parts(tx):
    model = models.MLP((2,))
    loss_fn = train.supervised(model, losses.cross_entropy)
    return train.make_step(loss_fn, tx), train.init_state(model, tx, jax.random.key(0), X[:1])


def train_losses(tx, num_epochs=8, **options):
    step, state = make_parts(tx)
    options = {"batch_size": 24, "key": jax.random.key(1), "progress": False, **options}
    _, history = train.run(step, state, DATA, num_epochs=num_epochs, **options)
    return [row["train/loss"] for row in history]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tx",
    [
        optax.lbfgs(),
        optax.lbfgs(0.1, linesearch=None),
        optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(max_backtracking_steps=15)),
        optax.polyak_sgd(max_learning_rate=1.0),
        optax.contrib.momo(0.1),
        optax.chain(optax.sgd(0.5), optax.contrib.reduce_on_plateau(patience=2)),
        optim.ema(optim.mixed_precision(optax.polyak_sgd(max_learning_rate=1.0), "float16"), 0.5),
        optim.recipe(lambda rate: optax.polyak_sgd(rate), 1.0, clip_norm=1.0, accumulate=2),
    ],
    ids=["lbfgs", "lbfgs plain", "backtracking", "polyak", "momo", "plateau", "half", "recipe"],
)
def test_transformations_that_read_the_loss_train(tx):
    values = train_losses(tx)
    assert values[-1] < 0.8 * values[0]


@pytest.mark.slow
def test_lbfgs_equals_a_loop_written_for_optax():
    tx = optax.lbfgs()
    step, state = make_parts(tx)
    params, opt_state = state.params, state.opt_state
    model = models.MLP((2,))

    def value_fn(params):
        return losses.cross_entropy(model.apply({"params": params}, X), DATA["label"]).mean()

    for _ in range(3):
        value, grad = jax.value_and_grad(value_fn)(params)
        updates, opt_state = tx.update(
            grad, opt_state, params, value=value, grad=grad, value_fn=value_fn
        )
        params = optax.apply_updates(params, updates)
        state, _ = step(state, jax.tree.map(jnp.asarray, DATA))
    for ours, expected in zip(jax.tree.leaves(state.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_rate_of_optaxs_plateau_falls():
    plateau = optax.contrib.reduce_on_plateau(patience=1, factor=0.5, rtol=0.9)
    step, state = make_parts(optax.chain(optim.sgd(1e-3), plateau))
    for _ in range(6):
        state, _ = step(state, jax.tree.map(jnp.asarray, DATA))
    assert float(state.opt_state[1].scale) < 1.0


@pytest.mark.slow
def test_a_loss_that_is_scaled_is_passed_unscaled():
    def read():
        def update(updates, state, params=None, *, value, grad, value_fn, **extra_args):
            again = value_fn(params)
            norms = optax.tree.norm(grad), optax.tree.norm(updates)
            return updates, (value, again, *norms)

        return optax.GradientTransformationExtraArgs(lambda _: (jnp.zeros(()),) * 4, update)

    seen, half = {}, optim.mixed_precision(read(), "float16")
    for name, tx in {"float32": read(), "float16": half}.items():
        step, state = make_parts(tx)
        state, _ = step(state, jax.tree.map(jnp.asarray, DATA))
        seen[name] = np.array(state.opt_state if name == "float32" else state.opt_state.inner)
    np.testing.assert_allclose(seen["float16"], seen["float32"], rtol=1e-2)
    np.testing.assert_allclose(seen["float32"][0], seen["float32"][1], rtol=1e-6)


@pytest.mark.slow
def test_an_extra_argument_that_the_step_does_not_pass_is_named():
    def update(updates, state, params=None, *, hessian, **extra_args):
        return updates, state

    step, state = make_parts(optax.GradientTransformationExtraArgs(lambda _: (), update))
    with pytest.raises(ValueError, match=r"extra argument 'hessian', .* only value, grad,"):
        step(state, jax.tree.map(jnp.asarray, DATA))


def test_an_optimizer_that_reads_the_loss_is_refused_by_the_step_of_a_gan():
    with pytest.raises(ValueError, match=r"extra argument 'value', .* passes no extra argument"):
        train.step.apply_gradients(optax.polyak_sgd(), 1.0, optax.polyak_sgd().init(1.0), 1.0)


def test_an_error_inside_the_optimizer_stays_as_it_is():
    def update(updates, state, params=None):
        raise TypeError("wrong number")

    with pytest.raises(TypeError, match="wrong number"):
        train.step.apply_gradients(optax.GradientTransformation(lambda _: (), update), 1.0, (), 1.0)
