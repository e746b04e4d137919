"""experiments/gan_book.py in small."""

import numpy as np
import pytest
from helpers.gan_runs import LATENT_PICTURES, PICTURES, few_digits, files

import gan_book


@pytest.mark.slow
def test_the_first_attempt_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_book.data, "load", lambda *args: few_digits(60))
    cfg = gan_book.Config(players="first", num_epochs=1, num_samples=0, workdir=tmp_path / "run")
    history = gan_book.main(cfg)
    assert history[-1]["step"] == 60
    assert files(tmp_path / "run") == PICTURES | LATENT_PICTURES | {"metrics.jsonl"}


@pytest.mark.slow
def test_the_improved_generator_moves():
    cfg = gan_book.Config(num_epochs=1)
    snapshots, history = gan_book.train(cfg, few_digits(120))
    assert history[-1]["step"] == 120
    frames = np.asarray(snapshots.frames, np.float32)
    assert frames.shape == (41, 64, 8, 8, 1)
    assert abs(frames[-1] - frames[0]).max() > 0.03  # 120 steps at a rate of 1e-4


@pytest.mark.slow
def test_the_discriminator_alone_distinguishes_digits_from_noise():
    _, history = gan_book.train(gan_book.Config(alone=True, num_epochs=1), few_digits(600))
    # 600 steps instead of the book's 60,000
    assert history[-1]["train/real_output"] > 0.8 > 0.2 > history[-1]["train/fake_output"]
