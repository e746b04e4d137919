"""Mixed precision and its loss scale."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import losses, models, optim, train

BATCH = {"image": jnp.linspace(0, 1, 32 * 16).reshape(32, 4, 4), "label": jnp.arange(32) % 3}


def make_training(tx, loss=losses.cross_entropy, model=None):
    model = model or models.MLP((8, 3))
    seen = []

    def recorded(outputs, labels):
        seen.append(outputs.dtype)
        return loss(outputs, labels)

    loss_fn = train.supervised(model, recorded)
    state = train.init_state(model, tx, jax.random.key(0), BATCH["image"])
    return train.make_step(loss_fn, tx), state, seen


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_computes_in_it_and_keeps_float32(dtype):
    half, state, seen = make_training(optim.recipe(optim.sgd, 0.1, precision=dtype))
    full, full_state, _ = make_training(optim.sgd(0.1))
    assert f":{'bf16' if dtype == 'bfloat16' else 'f16'}[16,8]" in str(
        jax.make_jaxpr(half)(state, BATCH)
    )
    assert seen == [jnp.float32]  # the loss sees float32
    for _ in range(3):
        state, metrics = jax.jit(half)(state, BATCH)
        full_state, full_metrics = jax.jit(full)(full_state, BATCH)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    difference = jax.tree.map(lambda a, b: float(abs(a - b).max()), state.params, full_state.params)
    assert 0 < max(jax.tree.leaves(difference)) < 5e-3
    assert float(metrics["loss"].total) == pytest.approx(float(full_metrics["loss"].total), 2e-2)


def test_an_update_that_overflows_is_left_out_and_the_scale_halved():
    tx = optim.mixed_precision(optim.adam(0.1), "float16")
    params = {"w": jnp.ones(3)}
    state = tx.init(params)
    good = {"w": jnp.full(3, 2.0**16)}
    updates, state = tx.update(good, state, params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)
    updates, after = tx.update({"w": jnp.array([1.0, jnp.inf, 1.0])}, state, params)
    assert updates["w"].tolist() == [0.0, 0.0, 0.0]
    assert float(after.loss_scale) == 2.0**15
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)


def test_the_scale_doubles_after_two_thousand_good_updates():
    tx = optim.mixed_precision(optim.sgd(0.1), "float16")
    params = {"w": jnp.ones(3)}

    def step(state, _):
        return tx.update(params, state, params)[1], None

    state = tx.init(params)
    state, _ = jax.lax.scan(step, state, None, 1999)
    assert float(state.loss_scale) == 2.0**16
    state, _ = step(state, None)
    assert float(state.loss_scale) == 2.0**17
    assert int(state.num_good) == 0


@pytest.mark.slow
def test_float16_keeps_gradients_that_would_vanish():
    """A gradient of 1e-8 is 0 in float16; scaled by 2^16 it is not."""
    tiny = functools.partial(lambda outputs, labels: 1e-8 * outputs.sum(-1))
    step, state, _ = make_training(optim.mixed_precision(optim.sgd(1.0), "float16"), tiny)
    gradients = step.gradients(state, BATCH)
    np.testing.assert_allclose(gradients["Dense_1"]["bias"], 1e-8, rtol=1e-2)
