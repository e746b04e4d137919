"""The judge, the report and the film of a generator, on scikit-learn's digits."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from jaxdl import data, generative, models, optim, train, tree
from jaxdl.losses import adversarial
from jaxdl.models import tutorial

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def reference(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    judge = generative.train_classifier(digits, num_epochs=3, cache_dir=folder, progress=False)
    again = generative.train_classifier(digits, num_epochs=3, cache_dir=folder, progress=False)
    assert max(tree.max_difference(judge.variables, again.variables).values()) == 0
    # three epochs of 1,437 digits give about .9; a judge that learnt nothing has .1
    assert judge.accuracy == again.accuracy > 0.85
    return generative.make_reference(judge, digits.test["image"])


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
    assert real["class_entropy"] > 2.25  # ln 10 is 2.303; 360 digits and the judge's mistakes
    assert sum(real["classes"]) == real["num_samples"] == 360
    assert not real["collapsed"]


def test_one_image_again_and_again_is_a_collapse(digits, reference):
    images = np.repeat(digits.test["image"][:1], 50, axis=0) / np.float32(255)
    row = generative.measure(reference, images)
    assert row["collapsed"]
    assert (row["num_classes"], row["class_entropy"]) == (1, 0.0)
    assert "conditional_accuracy" not in row


def test_features_do_not_depend_on_the_batch_size(digits, reference):
    images = digits.test["image"][:23]
    few, many = (generative.look(reference.judge, images, batch_size=size) for size in (5, 250))
    assert few[0].shape == (23, 128)
    for a, b in zip(few, many, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_images_that_a_judge_cannot_read_are_named(reference):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got -1 to"):
        generative.measure(reference, np.linspace(-1, 1, 640).reshape(10, 8, 8, 1))
    with pytest.raises(ValueError, match=r"images must have shape \(any, 8, 8, 1\)"):
        generative.measure(reference, np.zeros((10, 28, 28, 1)))
    with pytest.raises(ValueError, match=r"images holds none"):
        generative.look(reference.judge, np.zeros((0, 8, 8, 1)))


def test_the_hook_writes_a_row_an_epoch_once(tmp_path, digits, reference):
    said = []
    images = jnp.asarray(digits.test["image"][:40] / np.float32(255))
    hook = generative.make_hook(
        reference, lambda state: state, labels=digits.test["label"][:40], say=said.append
    )
    for epoch in (1, 2, 2):  # the second epoch again, as after a crash
        row = {"epoch": epoch, "step": 10 * epoch}
        hook(train.EpochEnd(images, row, [row], tmp_path, None))
    rows = [json.loads(line) for line in (tmp_path / "generator.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert rows[0]["conditional_accuracy"] > 0.8
    assert "as asked" in said[0]
    alarm = generative.make_hook(reference, lambda state: state, say=said.append)
    alarm(train.EpochEnd(images[:1].repeat(9, axis=0), row, [row], None, None))
    assert "collapsed" in said[-1]


# The film


def film_of(num_steps, num_frames=4, num_points=5):
    nets = (models.DenseGenerator((3,), (2, 2, 1), 3), models.DenseDiscriminator((3,)))
    txs = (optim.ema(optax.sgd(4.0), 0.5), optax.sgd(0.5))
    step = train.make_gan_step(*nets, *txs, adversarial.non_saturating())
    state = train.init_gan_state(*nets, *txs, jax.random.key(0))
    noise = jax.random.normal(jax.random.key(1), (6, 3))
    film = generative.start_snapshots(
        nets[0], state, noise, num_frames=num_frames, num_points=num_points
    )
    film_step = generative.make_snapshot_step(step, nets[0], noise, num_steps=num_steps)
    images = np.random.default_rng(0).uniform(size=(num_steps, 2, 2, 1)).astype(np.float32)
    return nets[0], step, film_step, state, film, noise, images


def test_a_film_changes_no_weight_and_shows_what_the_noise_became():
    generator, step, film_step, state, film, noise, images = film_of(num_steps=10)
    options = {"num_epochs": 1, "batch_size": 1, "key": jax.random.key(2), "progress": False}
    final, history = train.run(film_step, film, {"image": images}, **options)
    expected, expected_history = train.run(step, state, {"image": images}, **options)
    assert max(tree.max_difference(final.gan, expected).values()) < 1e-6
    assert history[0]["train/generator_loss"] == pytest.approx(
        expected_history[0]["train/generator_loss"], rel=1e-5
    )
    frames = np.asarray(final.frames, np.float32)
    assert frames.shape == (5, 6, 2, 2, 1)
    np.testing.assert_allclose(
        frames[0], train.generate(generator, state, noise), atol=1e-3, rtol=1e-3
    )
    np.testing.assert_allclose(
        frames[-1], train.generate(generator, expected, noise), atol=1e-3, rtol=1e-3
    )
    assert all(abs(frames[i + 1] - frames[i]).max() > 1e-3 for i in range(4))
    # every second step is a point of the curves; together they are the mean of the epoch
    steps, curves = generative.curves(final, 10)
    assert steps.tolist() == [1, 3, 5, 7, 9]
    assert final.counts.tolist() == [[2, 2]] * 5
    for name in ("discriminator_loss", "generator_loss"):
        assert float(curves[name].mean()) == pytest.approx(history[0][f"train/{name}"], rel=1e-5)


def test_a_film_that_was_interrupted_lacks_nothing(tmp_path):
    _, _, film_step, _, film, _, images = film_of(num_steps=12, num_frames=6)
    options = {"batch_size": 2, "key": jax.random.key(2), "progress": False}
    expected, _ = train.run(film_step, film, {"image": images}, num_epochs=2, **options)

    def stop(end):
        return end.row["epoch"] == 1

    train.run(
        film_step, film, {"image": images}, num_epochs=2, workdir=tmp_path, hooks=[stop], **options
    )
    resumed, _ = train.run(
        film_step, film, {"image": images}, num_epochs=2, workdir=tmp_path, resume=True, **options
    )
    assert max(tree.max_difference(resumed, expected).values()) == 0
    assert np.isfinite(np.asarray(generative.curves(resumed, 12)[1]["generator_loss"])).all()


def test_a_film_names_the_gradient_of_a_player_that_diverged():
    nets = (models.DenseGenerator((2,), (2, 2, 1), 3), models.DenseDiscriminator((2,)))
    txs = (optax.sgd(1e30), optax.sgd(1e30))
    step = train.make_gan_step(*nets, *txs, adversarial.wasserstein())
    noise = jnp.ones((2, 3))
    state = train.init_gan_state(*nets, *txs, jax.random.key(0))
    film = generative.start_snapshots(nets[0], state, noise)
    film_step = generative.make_snapshot_step(step, nets[0], noise, num_steps=40)
    images = np.random.default_rng(0).uniform(size=(8, 2, 2, 1)).astype(np.float32)
    with pytest.raises(FloatingPointError, match=r"largest gradient is .* in (gen|discr)"):
        train.run(
            film_step,
            film,
            {"image": images},
            num_epochs=10,
            batch_size=2,
            key=jax.random.key(0),
            progress=False,
        )


def test_noise_is_a_generator_that_learns_nothing():
    nets = (tutorial.NoiseSource((2, 2, 1)), models.DenseDiscriminator((8,)))
    txs = (optim.sgd(0.0), optim.adam(0.02))
    step = train.make_gan_step(*nets, *txs, adversarial.non_saturating(), noise=jax.random.uniform)
    state = train.init_gan_state(*nets, *txs, jax.random.key(0))
    images = np.full((64, 2, 2, 1), 0.9, np.float32)
    options = {"num_epochs": 30, "batch_size": 16, "key": jax.random.key(1), "progress": False}
    _, history = train.run(step, state, {"image": images}, **options)
    assert history[-1]["train/real_output"] > 1 > 0 > history[-1]["train/fake_output"]


# Pictures


def test_grids_and_films_hold_the_pixels(tmp_path):
    images = np.zeros((5, 3, 4, 1))
    images[1] = 1.0
    generative.save_grid(images, tmp_path / "grid.png", columns=2, scale=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    # three rows and two columns of images with one pixel about each, threefold
    assert pixels.shape == (3 * (3 * 4 + 1), 3 * (2 * 5 + 1))
    assert (pixels == 255).sum() == 9 * 3 * 4
    assert (pixels[3:12, 18:30] == 255).all()
    frames = np.stack([images, 1 - images])
    generative.save_animation(frames, tmp_path / "film.gif", columns=5, scale=1, seconds=0.1)
    film = Image.open(tmp_path / "film.gif")
    assert film.n_frames == 2
    assert film.info["loop"] == 0
    assert film.convert("L").getpixel((6, 1)) == 255
    with pytest.raises(ValueError, match=r"ending in \.png, got '.*grid.jpg'"):
        generative.save_grid(images, tmp_path / "grid.jpg")
    with pytest.raises(ValueError, match=r"ending in \.gif"):
        generative.save_animation(frames, tmp_path / "film.png")
    film.seek(1)
    assert film.info["duration"] == 1000
    assert film.convert("L").getpixel((6, 1)) == 0


def test_curves_mark_the_ideal_loss():
    values = {"discriminator_loss": np.array([0.3, np.nan]), "generator_loss": np.array([1.0, 2])}
    figure = generative.loss_curves([1, 2], values, ideal=0.25, title="x")
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].get_lines()}
    assert list(lines) == ["discriminator loss", "generator loss", "ideal: 0.25"]
    assert set(lines["ideal: 0.25"]) == {0.25}
    assert figure.axes[0].get_ylim()[0] == 0


def test_rows_over_time_have_their_numbers_and_neighbours_their_distances():
    figure = generative.rows_over_time(np.array([[0.1, 0.9]]), labels=("a", "b"))
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.10", "0.90"]
    one = np.ones((2, 3, 3, 1), np.uint8)
    figure = generative.neighbors(one / 2.0, 255 * one, [0.5, 1.25])
    assert len(figure.axes) == 4
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["0.5", "1.2"]
