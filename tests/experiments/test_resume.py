"""Experiments that are killed after a checkpoint and resumed end with the bits of an unbroken run.

Other tests kill classify, custom_step, gan_mnist and sweep.
"""

import jax
import numpy as np
import pytest
import toy_network
from helpers.gan_runs import few_digits
from helpers.same import assert_same

import autoencode
import cgan_mnist
import fine_tune
import gan_book
import gan_conv
import gan_faces
import gan_pattern
import mnist
import mnist_tensorboard
import text_classification
from jaxdl import data
from jaxdl.train import Watch

pytestmark = pytest.mark.slow


class Killed(BaseException):
    """Nothing catches it, as nothing sees a SIGKILL."""


def colors(size):
    return np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)


def squares():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (32, 28, 28, 1), dtype=np.uint8)
    split = {"image": images, "label": np.arange(32, dtype=np.int32) % 10}
    return data.Dataset("squares", split, split, tuple("0123456789"))


def sentences():
    split = {"text": ["so good", "so bad"] * 4, "label": np.arange(8, dtype=np.int32) % 2}
    return {"train": split, "dev": split}


GAN = {"num_samples": 0, "num_epochs": 2}
RUNS = {
    "autoencode": (autoencode, {"num_epochs": 2}, lambda: (few_digits(256),)),
    "cgan_mnist": (cgan_mnist, {**GAN, "players": "book"}, lambda: (few_digits(128),)),
    "fine_tune": (fine_tune, {"num_epochs": 2}, lambda: (few_digits(128),)),
    "gan_book": (gan_book, GAN, lambda: (few_digits(32),)),
    "gan_conv": (
        gan_conv,
        {"size": 8, "features": 2, "batch_size": 4, "num_epochs": 2},
        lambda: (colors(8),),
    ),
    "gan_faces": (gan_faces, {"players": "dense", "num_epochs": 2}, lambda: (colors(8),)),
    "gan_pattern": (
        gan_pattern,
        {"num_examples": 40, "num_epochs": 2},
        lambda: (data.synthetic.pattern_1010(jax.random.key(0), 40)["input"],),
    ),
    "mnist": (mnist, {"num_epochs": 2}, lambda: (few_digits(128),)),
    "mnist_tensorboard": (
        mnist_tensorboard,
        {"num_epochs": 2, "batch_size": 16, "step_size": 1},
        lambda: (squares(),),
    ),
    "text_classification": (
        text_classification,
        {"num_epochs": 2, "batch_size": 4, "min_count": 1, "features": 4},
        lambda: (sentences(),),
    ),
    "toy_network": (toy_network, {"num_epochs": 2}, data.synthetic.toy_points),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_is_resumed_bitwise(name, tmp_path, monkeypatch):
    module, settings, make_data = RUNS[name]
    inputs = make_data()
    if name == "mnist_tensorboard":  # its full watch compiles for a minute
        monkeypatch.setattr(module, "WATCH", Watch(every=1))
    whole, _ = module.train(module.Config(**settings, workdir=tmp_path / "whole"), *inputs)

    ends = []

    def kill(end):
        ends.append(end)
        if len(ends) == 2:
            raise Killed

    original = module.run

    def killed_run(*arguments, hooks=(), **options):
        return original(*arguments, hooks=[*hooks, kill], save_every_seconds=0.0, **options)

    options = {**settings, "workdir": tmp_path / "run"}
    monkeypatch.setattr(module, "run", killed_run)
    with pytest.raises(Killed):
        module.train(module.Config(**options), *inputs)
    saved = {int(path.name) for path in (tmp_path / "run/checkpoints/last").glob("*")}
    seen = []

    def resumed_run(*arguments, hooks=(), **options):
        return original(*arguments, hooks=[*hooks, seen.append], **options)

    monkeypatch.setattr(module, "run", resumed_run)
    resumed, _ = module.train(module.Config(**options, resume=True), *inputs)
    assert_same(resumed, whole)
    assert min(end.row["step"] for end in seen) > min(saved)  # it went on, not from the start
