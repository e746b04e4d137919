"""Pictures of data: what they show."""

import jax
import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest

from jaxdl import data, plots, transforms
from jaxdl.plots.images import augmentations, class_balance

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 1), dtype=np.uint8)


def pixels(axes):
    return np.asarray(axes.get_images()[0].get_array())


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_samples_are_examples_with_their_class_and_none_comes_twice():
    labels = np.arange(9, dtype=np.int32)
    source = data.ArraySource({"image": IMAGES, "label": labels}, [f"class {i}" for i in labels])
    figure = plots.samples(source, jax.random.key(0), num_examples=100)
    assert sorted(titles(figure)) == sorted(source.class_names)
    for axes in figure.axes:
        np.testing.assert_array_equal(pixels(axes), IMAGES[int(axes.get_title()[-1]), ..., 0])
    assert titles(figure) != list(source.class_names)
    figure = plots.samples({"image": IMAGES}, jax.random.key(1), num_examples=2)
    assert titles(figure) == ["", ""]
    with pytest.raises(ValueError, match="no 'image', only 'x'"):
        plots.samples({"x": IMAGES}, jax.random.key(2))


def test_augmentations_stand_beside_the_original():
    figure = augmentations(IMAGES[:2], transforms.random_flip(1.0), jax.random.key(0), num_copies=2)
    assert titles(figure) == ["original", "augmented", "", "", "", ""]
    for row in range(2):
        original, *copies = figure.axes[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(pixels(original), IMAGES[row, ..., 0])
        for copy in copies:
            np.testing.assert_array_equal(pixels(copy), IMAGES[row, :, ::-1, 0])


def test_every_copy_has_its_own_key():
    figure = augmentations(
        IMAGES[:1], lambda key, image: image + jax.random.bits(key, (), "uint8"), jax.random.key(0)
    )
    assert len({pixels(axes).tobytes() for axes in figure.axes}) == 8


def test_class_balance_has_a_bar_a_class_and_split():
    figure = class_balance({"train": [3, 1500], "test": np.array([1, 0])}, ["cat", "$dog"])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [3, 1500, 1, 0]
    assert [text.get_text() for text in axes.texts] == ["3", "1,500", "1", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "$dog"]
    low, high = axes.get_ylim()
    assert low > high  # the first class is on top
    with pytest.raises(ValueError, match=r"counts of 'train' must have shape \(2,?\)"):
        class_balance({"train": [1, 2, 3]}, ["cat", "dog"])
    with pytest.raises(ValueError, match="no classes"):
        class_balance({}, [])


def test_many_classes_are_drawn_without_numbers():
    figure = class_balance({"train": np.arange(200)}, [str(i) for i in range(200)])
    assert not figure.axes[0].texts
    assert len(figure.axes[0].patches) == 200
    assert figure.get_size_inches()[1] == 12  # not ever taller


def test_a_histogram_of_whole_numbers_has_a_bar_each():
    figure = plots.histogram([1, 1, 3, np.nan], label="length", title="texts")
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [2, 0, 1]
    assert (axes.get_xlabel(), axes.get_title()) == ("length", "texts")
    bars = plots.histogram(np.arange(100), label="x", num_bins=40).axes[0].patches
    assert [bar.get_height() for bar in bars] == [3] * 33 + [1]  # not 2, 3, 2, 3, …
    with pytest.raises(ValueError, match="no finite values"):
        plots.histogram([np.nan], label="x")


@pytest.mark.parametrize(("number", "columns", "rows"), [(8, 3, 3), (8, None, 1), (9, None, 2)])
def test_the_grid_rounds_its_rows_up(number, columns, rows):
    figure = plots.image_grid(np.zeros((number, 4, 4, 1), np.uint8), num_columns=columns)
    assert len(figure.axes) == number
    expected = (rows, columns or min(number, 8))
    assert figure.axes[-1].get_gridspec().get_geometry() == expected


@pytest.mark.slow
def test_the_grid_shows_the_pixels():
    images = np.linspace(0, 1, 2 * 5 * 4 * 3).reshape(2, 5, 4, 3).astype(np.float32)
    figure = plots.image_grid(images, titles=["a", "$b$"], title_colors=["red", "black"])
    np.testing.assert_allclose(figure.axes[1].get_images()[0].get_array(), images[1])
    assert titles(figure) == ["a", "$b$"]
    assert figure.axes[0].title.get_color() == "red"


def test_gray_images_share_one_range():
    images = np.stack([np.full((4, 4, 1), value, np.uint8) for value in (10, 200)])
    figure = plots.image_grid(images)
    assert {axes.get_images()[0].get_clim() for axes in figure.axes} == {(0, 255)}
    assert plots.image_grid(images / 255).axes[0].get_images()[0].get_clim() == (0, 1)


def test_bfloat16_images_are_drawn():
    figure = plots.image_grid(jnp.full((1, 2, 2, 1), 0.5, jnp.bfloat16))
    assert figure.axes[0].get_images()[0].get_array().max() == 0.5


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 1), np.uint8), r"shape \(N, H, W, any\), got \(4, 4, 1\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"got \(2, 3, 8, 8\).*transpose\(0, 2, 3, 1\)"),
        (np.zeros((0, 8, 8, 1), np.uint8), r"got \(0, 8, 8, 1\)"),
        (np.zeros((1, 2, 2, 1), np.int32), "uint8, or floating point.*got int32"),
        (np.full((1, 2, 2, 1), 1.5), r"lie in \[0, 1\], got 1.5 to 1.5.*std \+ mean"),
        (np.full((1, 2, 2, 1), np.nan), r"lie in \[0, 1\], got nan"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images)


def test_the_grid_wants_one_title_an_image():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=r"titles must have one entry per image \(2\), got 1"):
        plots.image_grid(images, titles=["a"])
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        plots.image_grid(images, num_columns=0)


def test_predictions_are_green_if_right_and_red_with_the_true_class_if_wrong():
    figure = plots.predictions(
        np.zeros((2, 4, 4, 1), np.uint8),
        np.array([0, 0]),
        np.array([[0.9, 0.1], [0.25, 0.75]]),
        ["cat", "a very long name of a dog"],
    )
    assert titles(figure) == ["cat\n90 %", "a very long n… 75 %\ntrue: cat"]
    green, red = (matplotlib.colors.to_rgb(axes.title.get_color()) for axes in figure.axes)
    assert max(green) == green[1]
    assert max(red) == red[0]


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[3.0, -2.0], [0.5, 0.5]], "sums from 1 to 1.*softmax"),
        ([0, 1], [[0.9, 0.9], [0.5, 0.5]], "sums from 1 to 1.8.*softmax"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "labels must lie in 0 to 1, got 2 at index 1"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], r"labels must have shape \(2\), got \(1,\)"),
        ([0, 1], [[1.0], [1.0]], r"probabilities must have shape \(2, 2\), got \(2, 1\)"),
    ],
)
def test_predictions_refuse_what_does_not_fit(labels, probabilities, message):
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=message):
        plots.predictions(images, np.array(labels), np.array(probabilities), ["cat", "dog"])


def test_a_failed_save_leaves_the_old_picture_and_says_why(tmp_path, monkeypatch):
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"picture.png: No space left on device\. Make the folder"):
        plots.save(figure, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_notebook_shows_the_figure_without_pyplot():
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    assert figure._repr_png_().startswith(b"\x89PNG")
