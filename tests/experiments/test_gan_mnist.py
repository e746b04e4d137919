"""experiments/gan_mnist.py in small."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gan_runs import LATENT_PICTURES, PICTURES, few_digits, files, untrained_reference
from helpers.same import assert_same_run
from PIL import Image

import gan_mnist
from jaxdl import train, transforms


@pytest.fixture
def small(monkeypatch):
    """64 training images and an untrained classifier."""
    reference = untrained_reference(40)
    monkeypatch.setattr(gan_mnist.data, "load", lambda *args: few_digits(64))
    monkeypatch.setattr(gan_mnist.generative, "make_reference", lambda *args, **options: reference)


def test_a_run_is_measured_and_drawn(tmp_path, small):
    cfg = gan_mnist.Config(features=4, num_epochs=2, num_samples=40, workdir=tmp_path / "run")
    history = gan_mnist.main(cfg)
    assert history[-1]["step"] == 2
    tables = {"metrics.jsonl", "generator.jsonl"}
    assert files(tmp_path / "run") == PICTURES | LATENT_PICTURES | tables
    rows = (tmp_path / "run" / "generator.jsonl").read_text().splitlines()
    assert [json.loads(row)["num_samples"] for row in rows] == [4, 4]
    row = json.loads((tmp_path / "run" / "generator.json").read_text())
    assert row["frechet_distance"] > 0
    assert sum(row["classes"]) == 40
    frames = np.load(tmp_path / "run" / "frames.npy")
    assert frames.shape == (3, 64, 8, 8, 1)
    assert abs(frames[-1] - frames[0]).max() > 0.001
    with Image.open(tmp_path / "run" / "training.gif") as film:
        assert film.n_frames == 3


def test_least_squares_make_a_step():
    cfg = gan_mnist.Config(features=4, loss="least_squares", norm="batch")
    players = gan_mnist.make_players(cfg, (8, 8, 1), 10)
    step = train.make_gan_step(players, preprocess=transforms.normalize(0.5, 0.5))
    state = train.init_gan_state(players, jax.random.key(0))
    batch = {"image": jnp.zeros((4, 8, 8, 1), jnp.uint8)}
    after, metrics = jax.eval_shape(step, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"discriminator_loss", "generator_loss"} <= set(metrics)


def test_a_run_that_was_interrupted_is_resumed(tmp_path, monkeypatch):
    options = {"features": 4, "num_epochs": 3, "loss": "hinge", "norm": "spectral"}
    whole, rows = gan_mnist.train(gan_mnist.Config(**options), few_digits(64))
    cfg, original = gan_mnist.Config(**options, workdir=tmp_path / "run"), gan_mnist.run

    def stop(end):
        return end.row["epoch"] == 1

    monkeypatch.setattr(gan_mnist, "run", lambda *a, **o: original(*a, **o | {"hooks": [stop]}))
    gan_mnist.train(cfg, few_digits(64))
    monkeypatch.setattr(gan_mnist, "run", original)
    cfg = dataclasses.replace(cfg, resume=True)
    resumed = gan_mnist.train(cfg, few_digits(64))
    assert_same_run(resumed, (whole, rows))
    assert int(whole.step) == 3
