"""experiments/gan_faces.py in small."""

import numpy as np
import pytest
from helpers.gan_runs import PICTURES, files

import gan_faces


@pytest.mark.slow
def test_a_dense_gan_makes_whole_images(tmp_path, folder):
    cfg = gan_faces.Config(
        images=str(folder), players="dense", num_train=4, workdir=tmp_path / "run"
    )
    history = gan_faces.main(cfg)
    assert history[-1]["step"] == 4
    assert np.load(tmp_path / "run" / "frames.npy").shape[2:] == (20, 30, 3)
    assert files(tmp_path / "run") == PICTURES | {"real.png", "metrics.jsonl"}


@pytest.mark.parametrize("players", ["book", "gelu"])
def test_the_books_networks_make_128_pixels(players):
    cfg = gan_faces.Config(players=players, num_train=3)
    images = gan_faces.load_images(cfg)
    assert images.shape == (3, 128, 128, 3)
    made = gan_faces.make_players(cfg, images.shape[1:])
    assert (made.num_latents, made.signed) == (100, False)
