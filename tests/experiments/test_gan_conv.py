"""experiments/gan_conv.py and gan_faces.py in small."""

import numpy as np
import pytest
from helpers.gan_runs import LATENT_PICTURES, PICTURES, files
from PIL import Image

import gan_conv
import gan_faces


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two classes."""
    generator = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "images" / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return tmp_path / "images"


@pytest.mark.slow
def test_color_images_from_a_folder(tmp_path, folder):
    cfg = gan_conv.Config(
        images=str(folder), size=8, features=2, batch_size=4, num_epochs=2, augment=True,
        workdir=tmp_path / "run",
    )  # fmt: skip
    history = gan_conv.main(cfg)
    assert history[-1]["step"] == 6
    assert files(tmp_path / "run") == PICTURES | LATENT_PICTURES | {"real.png", "metrics.jsonl"}


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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": "nothing/here"}, FileNotFoundError, "nothing/here"),
        ({"images": "EMPTY"}, FileNotFoundError, "empty holds neither images"),
        ({"size": 4}, ValueError, "images must be at least 5 pixels .* for DCGAN, got 4x4"),
        ({"size": 1000}, ValueError, "size must be at most 214, got 1000"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path, options, error, message):
    (tmp_path / "empty").mkdir()
    if options.get("images") == "EMPTY":
        options = {"images": str(tmp_path / "empty")}
    cfg = gan_conv.Config(num_train=8, workdir=tmp_path / "run", **options)
    with pytest.raises(error, match=message):
        gan_conv.main(cfg)
