"""Variants of Adam, ASGD, Rprop, Adafactor: numbers by hand, refusals, traced numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim


def weights(tx, gradients, start=1.0):
    """The path of one weight."""
    params = jnp.float32(start)
    state, path = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(jnp.float32(gradient), state, params)
        params = optax.apply_updates(params, updates)
        path.append(float(params))
    return path


def test_rprop_grows_shrinks_and_rests():
    path = weights(optim.rprop(0.1), [3.0, 1.0, -1.0, -1.0], start=0.0)
    # 0.1; 0.1 · 1.2; the sign changes: 0.12 · 0.5 and no step; the same step size after a rest
    np.testing.assert_allclose(path, [-0.1, -0.22, -0.22, -0.16], rtol=1e-5)


def test_adamax_divides_by_the_largest_gradient():
    path = weights(optim.adamax(0.1, b1=0.0, b2=0.5, eps=0.0), [4.0, 1.0])
    np.testing.assert_allclose(path, [0.9, 0.9 - 0.1 * 1.0 / 2.0], rtol=1e-6)


def test_radam_follows_the_mean_gradient_at_first():
    path = weights(optim.radam(0.1), [1.0] * 5)
    np.testing.assert_allclose(path, 1.0 - 0.1 * np.arange(1, 6), rtol=1e-5)


def test_asgd_decays_rate_and_weights():
    path = weights(optim.asgd(0.5, decay=1.0, power=1.0), [0.0, 0.0])
    np.testing.assert_allclose(path, [0.5, 0.5 * (1 - 0.5 / 1.5)], rtol=1e-6)


def test_adafactor_keeps_rows_and_columns():
    params = {"w": jnp.ones((3, 4)), "kernel": jnp.ones((2, 2, 3, 4)), "b": jnp.ones(4)}
    state = optim.adafactor().init(params).inner_state[0]
    assert state.rows["w"].shape == (3,)
    assert state.columns["w"].shape == (4,)
    assert state.full["w"].shape == ()
    assert state.rows["kernel"].shape == (2, 2, 3)
    assert state.columns["kernel"].shape == (2, 2, 4)
    assert state.full["b"].shape == (4,)


def test_dampening_spares_the_first_gradient():
    path = weights(optim.sgd(1.0, momentum=0.5, dampening=0.75), [1.0, 1.0], start=0.0)
    np.testing.assert_allclose(path, [-1.0, -1.75], rtol=1e-6)


def test_amsgrad_keeps_the_largest_second_moment():
    calm, largest = (
        weights(optim.adam(0.1, b1=0.0, b2=0.5, amsgrad=amsgrad), [8.0, 1.0, 1.0])
        for amsgrad in (False, True)
    )
    assert calm[0] == largest[0]
    steps = -np.diff(largest)
    nu = 32.0  # half of 8²; every later moment is smaller
    np.testing.assert_allclose(steps, [0.1 / np.sqrt(nu / (1 - 0.5**t)) for t in (2, 3)], rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.nadam(b1=1.0), "b1"),
        (lambda: optim.radam(-1.0), "learning_rate"),
        (lambda: optim.adamax(eps=-1.0), "eps"),
        (lambda: optim.asgd(decay=-1.0), "decay"),
        (lambda: optim.rprop(factors=(1.2, 0.5)), "factors"),
        (lambda: optim.rprop(step_sizes=(0.0, 1.0)), "step_sizes"),
        (lambda: optim.adafactor(clip_threshold=0.0), "clip_threshold"),
        (lambda: optim.sgd(0.1, momentum=0.9, dampening=1.5), "dampening"),
        (lambda: optim.sgd(0.1, momentum=0.9, dampening=0.1, nesterov=True), "nesterov"),
        (lambda: optim.cyclic(0.1, 0.2), "base_learning_rate"),
        (lambda: optim.linear(0.1, 0), "num_steps"),
    ],
)
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_keyword_of_pytorch_is_answered():
    with pytest.raises(TypeError, match=r"PyTorch's lambd is decay"):
        optim.asgd(0.1, lambd=1e-4)
    with pytest.raises(TypeError, match=r"optax.scale\(-1.0\)"):
        optim.adam(0.1, maximize=True)


def test_moments_can_be_traced():
    """Members of a sweep differ in b1 and b2."""

    @jax.vmap
    def second(b1, b2):
        params = jnp.ones(3)
        tx = optim.radam(0.1, b1=b1, b2=b2)
        return tx.update(jnp.ones(3), tx.init(params), params)[0]

    steps = second(jnp.array([0.5, 0.9]), jnp.array([0.9, 0.99]))
    np.testing.assert_allclose(steps, -0.1 * np.ones((2, 3)), rtol=1e-5)


@pytest.mark.parametrize("make", [optim.nadam, optim.radam, optim.adamax, optim.adafactor])
def test_the_learning_rate_is_read_and_follows_a_schedule(make):
    tx = make(optim.linear(0.1, 2, start_factor=1.0, end_factor=0.0))
    params = jnp.ones((2, 3))
    state = tx.init(params)
    for _ in range(2):
        _, state = tx.update(params, state, params)
    assert optim.learning_rates(state)["learning_rate"] == pytest.approx(0.05)
