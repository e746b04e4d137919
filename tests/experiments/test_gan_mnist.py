"""experiments/gan_mnist.py in small."""

import json

import jax
import numpy as np
import pytest
from helpers.gan_runs import LATENT_PICTURES, PICTURES, few_digits, files
from helpers.same import assert_same
from PIL import Image

import gan_mnist
from jaxdl import generative


@pytest.fixture(scope="module")
def reference():
    """Of a classifier of one epoch."""
    digits = few_digits(None)
    return generative.make_reference(digits, num_images=40, num_epochs=1, progress=False)


@pytest.fixture
def small(monkeypatch, reference):
    """64 training images and a quick classifier."""
    monkeypatch.setattr(gan_mnist.data, "load", lambda *args: few_digits(64))
    monkeypatch.setattr(gan_mnist.generative, "make_reference", lambda *args, **options: reference)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "norm"), [("hinge", "spectral"), ("least_squares", "batch")])
def test_train_is_a_function_of_configuration_and_data(loss, norm):
    cfg = gan_mnist.Config(features=4, num_epochs=1, loss=loss, norm=norm)
    first, again = (gan_mnist.train(cfg, few_digits(64)) for _ in range(2))
    assert_same(first[0], again[0])
    assert first[1][0]["train/discriminator_loss"] == again[1][0]["train/discriminator_loss"]


@pytest.mark.slow
def test_a_run_that_was_interrupted_is_resumed(tmp_path, small):
    cfg = gan_mnist.Config(features=4, num_epochs=3, num_samples=0, workdir=tmp_path / "run")
    whole, _ = gan_mnist.train(gan_mnist.Config(features=4, num_epochs=3), few_digits(64))

    def stop(end):
        return end.row["epoch"] == 1

    original = gan_mnist.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan_mnist, "run", lambda *a, **o: original(*a, **o | {"hooks": [stop]}))
        gan_mnist.train(cfg, few_digits(64))
    resumed, _ = gan_mnist.train(gan_mnist.dataclasses.replace(cfg, resume=True), few_digits(64))
    assert_same(resumed, whole)
    assert int(jax.device_get(resumed.step)) == 3
