"""experiments/gan_mnist.py, cgan_mnist.py, gan_conv.py and gan_seeds.py in small."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import _gan
import cgan_mnist
import gan_conv
import gan_mnist
import gan_seeds
from jaxdl import data, generative


@pytest.fixture(scope="module")
def reference():
    """The judge of one epoch."""
    dataset = data.load("digits")
    judge = generative.train_classifier(dataset, num_epochs=1, progress=False)
    return generative.make_reference(judge, dataset.test["image"][:40])


@pytest.fixture
def small(monkeypatch, reference):
    """A quick judge and 40 samples."""
    monkeypatch.setattr(_gan, "NUM_SAMPLES", 40)
    monkeypatch.setattr(_gan, "NUM_WATCHED", 20)
    for module in (gan_mnist, cgan_mnist):
        monkeypatch.setattr(module, "judge_of", lambda dataset: reference)


def files(folder):
    return {path.name for path in folder.glob("*.*") if path.suffix in (".png", ".gif", ".jsonl")}


def test_the_improved_gan_is_measured_and_drawn_and_its_seeds_too(tmp_path, small):
    cfg = gan_mnist.Config(
        players="improved", num_train=120, num_epochs=1, workdir=tmp_path / "run"
    )
    history = gan_mnist.main(cfg)
    assert history[-1]["step"] == 120
    drawn = {"losses.png", "samples.png", "training.gif", "neighbours.png"}
    assert files(tmp_path / "run") == drawn | {"metrics.jsonl", "generator.jsonl"}
    assert json.loads((tmp_path / "run" / "generator.jsonl").read_text())["num_samples"] == 20
    row = json.loads((tmp_path / "run" / "generator.json").read_text())
    assert row["frechet_distance"] > 0
    assert sum(row["classes"]) == 40
    assert Image.open(tmp_path / "run" / "training.gif").n_frames > 20
    frames = np.load(tmp_path / "run" / "frames.npy")
    assert frames.shape == (41, 64, 8, 8, 1)
    assert abs(frames[-1] - frames[0]).max() > 0.03  # 120 steps at a rate of 1e-4

    rows = gan_seeds.main(gan_seeds.Config(run=tmp_path / "run", num_pairs=2, num_stops=3))
    assert rows == [{"interpolation": 24, "arithmetic": 10, "walk": 30}]
    assert files(tmp_path / "run") > {"interpolation.png", "arithmetic.png", "walk.gif"}
    players, state = gan_seeds.load(tmp_path / "run")
    made = players.unit(_gan.train.generate(players.generator, state, np.zeros((1, 100))))
    assert made.shape == (1, 8, 8, 1)


def test_the_discriminator_alone_tells_digits_from_noise(tmp_path):
    cfg = gan_mnist.Config(players="improved", alone=True, workdir=tmp_path / "run")
    history = gan_mnist.main(dataclasses.replace(cfg, num_train=600))
    # 600 steps instead of the book's 60,000
    assert history[-1]["train/real_output"] > 0.8 > 0.2 > history[-1]["train/fake_output"]


def test_classes_are_asked_for(tmp_path, small):
    cfg = cgan_mnist.Config(players="book", num_train=60, num_epochs=1, workdir=tmp_path / "run")
    cgan_mnist.main(cfg)
    assert files(tmp_path / "run") > {"classes.png", "asked.png", "generator.jsonl"}
    row = json.loads((tmp_path / "run" / "generator.json").read_text())
    assert 0 <= row["conditional_accuracy"] <= 1
    gan_seeds.main(gan_seeds.Config(run=tmp_path / "run", num_pairs=1, num_stops=2))
    assert (tmp_path / "run" / "walk.gif").is_file()


def test_colour_images_from_a_folder(tmp_path):
    generator = np.random.default_rng(0)
    for index in range(12):
        folder = tmp_path / "images" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    cfg = gan_conv.Config(
        images=str(tmp_path / "images"),
        size=8,
        features=2,
        batch_size=4,
        num_epochs=2,
        augment=True,
        workdir=tmp_path / "run",
    )
    history = gan_conv.main(cfg)
    assert history[-1]["step"] == 6
    drawn = {"losses.png", "samples.png", "training.gif", "neighbours.png", "real.png"}
    assert files(tmp_path / "run") == drawn | {"metrics.jsonl"}


def test_images_are_cut_in_the_middle_and_resized():
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 255
    assert gan_conv.fit(image, 2).tolist() == np.full((2, 2, 3), 255).tolist()
    assert gan_conv.fit(image, None) is image
    pieces = gan_conv.photographs(6, 16, 0)
    assert pieces.shape == (6, 16, 16, 3)
    assert len({piece.tobytes() for piece in pieces}) == 6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"images": "nothing/here"}, FileNotFoundError, "neither a folder nor a file"),
        ({"images": "EMPTY"}, FileNotFoundError, "there are no images in"),
        ({"size": 4}, ValueError, "at least 5 pixels high and wide for DCGAN, got 4x4"),
        ({"size": 64, "players": "book"}, ValueError, "make 128x128 pixels: --size 128"),
    ],
)
def test_what_cannot_be_made_is_named(tmp_path, options, error, message):
    (tmp_path / "empty").mkdir()
    if options.get("images") == "EMPTY":
        options = {"images": str(tmp_path / "empty")}
    cfg = gan_conv.Config(num_train=8, workdir=tmp_path / "run", **options)
    with pytest.raises(error, match=message):
        gan_conv.main(cfg)


def test_grey_images_are_refused_where_colours_are_expected():
    with pytest.raises(ValueError, match=r"colour images \(H, W, 3\) are expected, got \(8, 8\)"):
        gan_conv.fit(np.zeros((8, 8), np.uint8), 8)
    with pytest.raises(ValueError, match=r"colour images .* got \(8, 8, 1\)"):
        gan_conv.fit(np.zeros((8, 8, 1), np.uint8), 8)


def test_a_folder_without_a_gan_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished GAN"):
        gan_seeds.main(gan_seeds.Config(run=tmp_path))
