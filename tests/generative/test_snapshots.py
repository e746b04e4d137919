"""Snapshots of a GAN's training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import generative, models, optim, train, tree
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.train import Players, gan

NOISE = jax.random.normal(jax.random.key(1), (6, 3))


def setup(num_steps, num_frames=4, num_points=5):
    """Players, their step, the step with snapshots, the first snapshots, and images."""
    nets = (models.DenseGenerator((3,), (2, 2, 1), 3), models.DenseDiscriminator((3,)))
    txs = (optim.ema(optax.sgd(4.0), 0.5), optax.sgd(0.5))
    players = Players(*nets, *txs, adversarial.non_saturating())
    step = train.make_gan_step(players)
    options = {"num_steps": num_steps, "num_frames": num_frames, "num_points": num_points}
    wrapped = generative.with_snapshots(step, players, jax.random.key(0), NOISE, **options)
    images = np.random.default_rng(0).uniform(size=(num_steps, 2, 2, 1)).astype(np.float32)
    return players, step, *wrapped, {"image": images}


@pytest.mark.slow
def test_snapshots_change_no_weight_and_show_the_same_noise():
    players, step, wrapped, start, data = setup(num_steps=10)
    options = {"num_epochs": 1, "batch_size": 1, "key": jax.random.key(2), "progress": False}
    final, history = train.run(wrapped, start, data, **options)
    expected, expected_history = train.run(step, start.gan, data, **options)
    assert max(tree.max_difference(final.gan, expected).values()) < 1e-6
    assert history[0]["train/generator_loss"] == pytest.approx(
        expected_history[0]["train/generator_loss"], rel=1e-5
    )
    frames = np.asarray(final.frames, np.float32)
    assert frames.shape == (5, 6, 2, 2, 1)
    for index, state in ((0, start.gan), (-1, expected)):
        images = gan.generate(players, state, NOISE)
        np.testing.assert_allclose(frames[index], images, atol=1e-3, rtol=1e-3)
    assert all(abs(frames[i + 1] - frames[i]).max() > 1e-3 for i in range(4))
    # every second step is a point of the curves; together they are the mean of the epoch
    steps, curves = final.loss_history(10)
    assert steps.tolist() == [1, 3, 5, 7, 9]
    assert final.counts.tolist() == [[2, 2]] * 5
    for name in ("discriminator_loss", "generator_loss"):
        assert float(curves[name].mean()) == pytest.approx(history[0][f"train/{name}"], rel=1e-5)


@pytest.mark.slow
def test_snapshots_of_an_interrupted_run_are_complete(tmp_path):
    _, _, step, start, data = setup(num_steps=12, num_frames=6)
    options = {"batch_size": 2, "key": jax.random.key(2), "progress": False, "num_epochs": 2}
    expected, _ = train.run(step, start, data, **options)

    def stop(end):
        return end.row["epoch"] == 1

    train.run(step, start, data, workdir=tmp_path, hooks=[stop], **options)
    resumed, _ = train.run(step, start, data, workdir=tmp_path, resume=True, **options)
    assert max(tree.max_difference(resumed, expected).values()) == 0
    assert np.isfinite(np.asarray(resumed.loss_history(12)[1]["generator_loss"])).all()


@pytest.mark.slow
def test_the_gradient_of_a_diverged_player_is_named():
    nets = (models.DenseGenerator((2,), (2, 2, 1), 3), models.DenseDiscriminator((2,)))
    players = Players(*nets, optax.sgd(1e30), optax.sgd(1e30), adversarial.wasserstein())
    step, start = generative.with_snapshots(
        train.make_gan_step(players), players, jax.random.key(0), jnp.ones((2, 3)), num_steps=40
    )
    images = np.random.default_rng(0).uniform(size=(8, 2, 2, 1)).astype(np.float32)
    with pytest.raises(FloatingPointError, match=r"largest gradient is .* in (gen|discr)"):
        train.run(
            step,
            start,
            {"image": images},
            num_epochs=10,
            batch_size=2,
            key=jax.random.key(0),
            progress=False,
        )


@pytest.mark.slow
def test_a_discriminator_is_trained_against_noise():
    nets = (tutorial.NoiseSource((2, 2, 1)), models.DenseDiscriminator((8,)))
    txs = (optim.sgd(0.0), optim.adam(0.02))
    players = Players(*nets, *txs, adversarial.non_saturating(), noise=jax.random.uniform)
    state = train.init_gan_state(players, jax.random.key(0))
    images = np.full((64, 2, 2, 1), 0.9, np.float32)
    options = {"num_epochs": 30, "batch_size": 16, "key": jax.random.key(1), "progress": False}
    _, history = train.run(train.make_gan_step(players), state, {"image": images}, **options)
    assert history[-1]["train/real_output"] > 1 > 0 > history[-1]["train/fake_output"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, "num_steps must be greater than 0"),
        ({"num_steps": 5, "num_frames": 0}, "num_frames must be greater than 0"),
        ({"num_steps": 2**30}, "1073741824 steps can have at most 1 frames and points"),
    ],
)
def test_bad_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        setup_without_training(**options)


def setup_without_training(**options):
    nets = (models.DenseGenerator((3,), (2, 2, 1), 3), models.DenseDiscriminator((3,)))
    players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    step = train.make_gan_step(players)
    return generative.with_snapshots(step, players, jax.random.key(0), NOISE, **options)
