"""Measurements of generated images and the hook that writes them, on scikit-learn's digits."""

import json

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import generative, models, optim, train
from jaxdl.generative import report
from jaxdl.losses import adversarial
from jaxdl.train import Players

pytestmark = pytest.mark.slow  # all share one run


def test_real_images_are_near_and_noise_is_far(digits, reference):
    images = digits.train["image"][:360] / np.float32(255)
    labels = digits.train["label"][:360]
    real = generative.measure(reference, images, labels)
    noise = np.random.default_rng(0).uniform(size=images.shape)
    far = generative.measure(reference, noise, labels)
    assert real["conditional_accuracy"] > 0.85 > 0.5 > far["conditional_accuracy"]
    assert 10 * real["frechet_distance"] < far["frechet_distance"]
    assert min(real["precision"], real["recall"]) > 0.7 > 0.2 > far["recall"]
    assert real["num_classes"] == 10
    assert real["class_entropy"] > 2.25  # ln 10 is 2.303; 360 digits and the classifier's errors
    assert sum(real["classes"]) == real["num_samples"] == 360
    assert not real["collapsed"]


def test_one_repeated_image_is_a_collapse(digits, reference):
    images = np.repeat(digits.test["image"][:1], 50, axis=0) / np.float32(255)
    row = generative.measure(reference, images)
    assert row["collapsed"]
    assert (row["num_classes"], row["class_entropy"]) == (1, 0.0)
    assert "conditional_accuracy" not in row


@pytest.mark.slow
def test_images_outside_the_unit_interval_are_refused(reference):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got -1 to"):
        generative.measure(reference, np.linspace(-1, 1, 640).reshape(10, 8, 8, 1))


def sorted_by_class(digits, number):
    """Image i is of class i % 10."""
    images, labels = digits.test["image"], digits.test["label"]
    order = [np.flatnonzero(labels == i % 10)[i // 10] for i in range(number)]
    return jnp.asarray(images[order] / np.float32(255))


@flax.struct.dataclass
class State:
    step: int = 1


def make_hook(monkeypatch, reference, images, **options):
    """A hook for three epochs and a conditional generator that makes the first of these images."""
    monkeypatch.setattr(report, "sample", lambda players, state, key, n, label: images[:n])
    nets = models.DenseGenerator(num_classes=10), models.DenseDiscriminator(num_classes=10)
    players = Players(*nets, optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge())
    return generative.make_hook(reference, players, jax.random.key(0), num_epochs=3, **options)


def test_the_hook_writes_one_row_per_epoch_and_a_last_one(tmp_path, monkeypatch, digits, reference):
    lines = []
    images = sorted_by_class(digits, 60)
    hook = make_hook(monkeypatch, reference, images, num_samples=60, say=lines.append)
    for epoch in (1, 2, 2, 3):  # the second epoch again, as after a crash
        row = {"epoch": epoch, "step": 10 * epoch}
        hook(train.EpochEnd(State(), row, [row], tmp_path, None))
    rows = [json.loads(line) for line in (tmp_path / "generator.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["num_samples"]) for row in rows] == [(1, 6), (2, 6), (3, 6)]
    last = json.loads((tmp_path / "generator.json").read_text())
    assert last["num_samples"] == 60
    assert last["conditional_accuracy"] > 0.8
    assert "of the requested class" in lines[0]
    assert lines[-1].startswith("  60 images: Fréchet distance")


def test_too_few_samples_are_refused_before_training(monkeypatch, reference):
    with pytest.raises(ValueError, match="num_samples must be at least 40, got 39"):
        make_hook(monkeypatch, reference, None, num_samples=39)


@pytest.mark.slow
def test_the_hook_reports_a_collapse(monkeypatch, digits, reference):
    lines = []
    images = sorted_by_class(digits, 1).repeat(9, axis=0)
    hook = make_hook(monkeypatch, reference, images, num_samples=90, say=lines.append)
    hook(train.EpochEnd(State(), {"epoch": 1, "step": 1}, [], None, None))
    assert "collapsed, images by class [9, 0, 0" in lines[-1]


def test_the_same_step_draws_the_same_images(reference):
    players = Players(
        models.DenseGenerator((4,), (8, 8, 1)), models.DenseDiscriminator((4,)),
        optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge(),
    )  # fmt: skip
    state = train.init_gan_state(players, jax.random.key(0))
    lines = []
    hook = generative.make_hook(
        reference, players, jax.random.key(1), num_epochs=9, num_samples=50, say=lines.append
    )
    for step in (3, 3, 4):
        state = state.replace(step=jnp.int32(step))
        hook(train.EpochEnd(state, {"epoch": 1, "step": step}, [], None, None))
    assert lines[0] == lines[1] != lines[2]
