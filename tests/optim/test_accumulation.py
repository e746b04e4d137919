"""Accumulated gradients, and the update that closes an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import optim
from jaxdl.optim.accumulation import accumulate, begin_epoch

PARAMS = {"w": jnp.zeros(2)}


def follow(tx, gradients, epoch=None, begin=True):
    """The updates of each gradient; ``epoch`` batches make an epoch."""
    state, path = tx.init(PARAMS), []
    update = jax.jit(tx.update)
    for index, gradient in enumerate(gradients):
        if epoch is not None and begin and index % epoch == 0:
            state = begin_epoch(state, epoch)
        updates, state = update({"w": jnp.full(2, gradient)}, state, PARAMS)
        path.append(float(updates["w"][0]))
    return path, state


def test_the_mean_of_every_third_batch():
    path, _ = follow(accumulate(optim.sgd(1.0), 3), [1.0, 2.0, 6.0, 1.0, 1.0, 4.0])
    np.testing.assert_allclose(path, [0, 0, -3, 0, 0, -2], rtol=1e-6)


def test_the_end_of_an_epoch_closes_the_mean():
    """Five batches an epoch, two an update: 2, 2 and 1."""
    gradients = [1.0, 3.0, 2.0, 4.0, 10.0] * 2
    path, state = follow(accumulate(optim.sgd(1.0), 2), gradients, epoch=5)
    np.testing.assert_allclose(path, [0, -2, 0, -3, -10] * 2, rtol=1e-6)
    assert int(state.num_accumulated) == 0


def test_an_epoch_shorter_than_the_accumulation_makes_one_update():
    path, _ = follow(accumulate(optim.sgd(1.0), 8), [1.0, 2.0, 3.0, 4.0, 5.0] * 3, epoch=5)
    np.testing.assert_allclose(path, [0, 0, 0, 0, -3] * 3, rtol=1e-6)


def test_an_epoch_without_a_remainder_makes_no_further_update():
    path, _ = follow(accumulate(optim.sgd(1.0), 2), [1.0, 3.0, 2.0, 4.0] * 2, epoch=4)
    np.testing.assert_allclose(path, [0, -2, 0, -3] * 2, rtol=1e-6)


def test_without_epochs_batches_are_counted_on():
    path, _ = follow(accumulate(optim.sgd(1.0), 3), range(1, 8))
    np.testing.assert_allclose(path, [0, 0, -2, 0, 0, -5, 0], rtol=1e-6)


@pytest.mark.parametrize("every", [2, 3])
def test_whole_epochs_equal_optax_multi_steps_bitwise(every):
    gradients = np.random.default_rng(0).normal(size=6).astype(np.float32)
    ours, _ = follow(accumulate(optim.adam(0.1), every), gradients, epoch=6)
    theirs, _ = follow(optax.MultiSteps(optim.adam(0.1), every), gradients)
    assert ours == theirs


def test_schedules_and_averages_count_updates():
    tx = optim.recipe(optim.sgd, optim.exponential(1.0, 0.5), accumulate=8, ema=0.5)
    _, state = follow(tx, [1.0] * 15, epoch=5)  # three updates
    assert optim.learning_rates(state) == {"learning_rate": 0.25}
    assert int(state.inner.count) == 3


def test_a_batch_that_overflows_still_counts_in_its_epoch():
    tx = optim.recipe(optim.sgd, 1.0, accumulate=2, precision="float16")
    scale = 2.0**16
    gradients = [1 * scale, jnp.inf, 3 * scale, 2 * scale]  # the scale is halved by the second
    path, state = follow(tx, gradients, epoch=4)
    np.testing.assert_allclose(path, [0, 0, -3.5, -4], rtol=1e-6)
    assert int(state.inner.batch) == int(state.inner.num_accumulated) == 0


def test_marking_an_epoch_leaves_other_states_as_they_are():
    state = optim.recipe(optim.adam, 0.1, ema=0.9, plateau={}).init(PARAMS)
    assert jax.tree.structure(begin_epoch(state, 5)) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, begin_epoch(state, 5), state)


def test_every_buffer_can_be_donated():
    tx = accumulate(optim.sgd(0.1), 2)
    state = begin_epoch(tx.init(PARAMS), 3)
    jax.jit(lambda state: tx.update(PARAMS, state, PARAMS)[1], donate_argnums=0)(state)


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_a_number_of_batches_below_one_is_refused(every):
    with pytest.raises(ValueError, match=r"accumulate must be"):
        accumulate(optim.sgd(0.1), every)
