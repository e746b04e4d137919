"""Grids, animations, and figures of generated examples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl import generative, models, optim, train
from jaxdl.generative import figures
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.train import Players


def test_grids_and_animations_hold_the_pixels(tmp_path):
    images = np.zeros((5, 3, 4, 1))
    images[1] = 1.0
    generative.figures.save_grid(images, tmp_path / "grid.png", num_columns=2, scale=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    # three rows and two columns of images with one pixel of padding, times three
    assert pixels.shape == (3 * (3 * 4 + 1), 3 * (2 * 5 + 1))
    assert (pixels == 255).sum() == 9 * 3 * 4
    assert (pixels[3:12, 18:30] == 255).all()
    frames = np.stack([images, 1 - images])
    generative.figures.save_animation(
        frames, tmp_path / "film.gif", num_columns=5, scale=1, seconds=0.1
    )
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == 2
        assert film.info["loop"] == 0
        assert film.convert("L").getpixel((6, 1)) == 255
        film.seek(1)
        assert film.info["duration"] == 1000
        assert film.convert("L").getpixel((6, 1)) == 0


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"ending in \.png for a PNG file, got '.*grid.jpg'"):
        generative.figures.save_grid(np.zeros((1, 2, 2, 1)), tmp_path / "grid.jpg")
    with pytest.raises(ValueError, match=r"ending in \.gif"):
        generative.figures.save_animation(np.zeros((1, 1, 2, 2, 1)), tmp_path / "film.png")


def test_loss_curves_show_the_ideal_loss():
    values = {"discriminator_loss": np.array([0.3, np.nan]), "generator_loss": np.array([1.0, 2])}
    figure = figures.loss_curves([1, 2], values, ideal=0.25, title="x")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert list(lines) == ["discriminator loss", "generator loss", "ideal: 0.25"]
    assert set(lines["ideal: 0.25"]) == {0.25}
    assert figure.axes[0].get_ylim()[0] == 0


def test_rows_show_their_numbers_and_neighbors_their_distances():
    figure = figures.rows_over_time(np.array([[0.1, 0.9]]), labels=("a", "b"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.10", "0.90"]
    one = np.ones((2, 3, 3, 1), np.uint8)
    figure = figures.neighbors(one / 2.0, 255 * one, [0.5, 1.25])
    assert len(figure.axes) == 4
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["0.5", "1.2"]


def make_players(num_classes=None, **options):
    return Players(
        models.DenseGenerator((4,), (3, 3, 1), 5, num_classes),
        models.DenseDiscriminator((4,), num_classes),
        optim.sgd(0.1), optim.sgd(0.1), adversarial.hinge(), **options,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "num_classes"), [(jax.random.normal, None), (jax.random.uniform, 4)]
)
def test_latent_pictures_follow_the_noise(tmp_path, noise, num_classes):
    players = make_players(num_classes, noise=noise)
    state = train.init_gan_state(players, jax.random.key(0))
    pictures = generative.figures.save_latent_pictures(
        tmp_path, players, state, jax.random.key(1), label=3, num_pairs=2, num_stops=3
    )
    assert {name: len(images) for name, images in pictures.items()} == {
        "interpolation": 24,
        "arithmetic": 10,
        "walk": 30,
    }
    between, rows = (pictures[name].reshape(2, -1, 9) for name in ("interpolation", "arithmetic"))
    np.testing.assert_allclose(between[:, [0, -1]], rows[:, :2], atol=1e-6)
    files = {"interpolation.png", "arithmetic.png", "walk.gif"}
    assert {path.name for path in tmp_path.iterdir()} == files


class State:
    step = 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "files"),
    [
        ((2, 2, 1), {"losses.png", "samples.png", "training.gif", "neighbors.png", "frames.npy"}),
        ((4,), {"losses.png", "frames.npy"}),
    ],
)
def test_pictures_show_the_frames_so_far(tmp_path, shape, files):
    frames = jnp.zeros((4, 5, *shape), jnp.float16).at[:3].set(0.5).at[1].set(-1.0)
    curves = jnp.ones((6, 2))
    snapshots = Snapshots(State(), frames, curves, curves)
    examples = np.zeros((7, *shape), np.uint8)
    returned = generative.figures.save_pictures(
        tmp_path, make_players(signed=True), snapshots, examples, num_steps=6, ideal=0.25
    )
    assert {path.name for path in tmp_path.iterdir()} == files
    saved = np.load(tmp_path / "frames.npy")
    assert saved.shape == returned.shape == (3, 5, *shape)
    np.testing.assert_array_equal(saved[:, 0].reshape(3, -1)[:, 0], [0.75, 0, 0.75])
    if "training.gif" in files:
        with Image.open(tmp_path / "training.gif") as film:
            assert film.n_frames >= 2
