"""Pictures of data: what they show."""

import jax
import numpy as np
import pytest

from jaxdl import data, plots, transforms

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
    figure = plots.augmentations(
        IMAGES[:2], transforms.random_flip(1.0), jax.random.key(0), num_copies=2
    )
    assert titles(figure) == ["original", "augmented", "", "", "", ""]
    for row in range(2):
        original, *copies = figure.axes[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(pixels(original), IMAGES[row, ..., 0])
        for copy in copies:
            np.testing.assert_array_equal(pixels(copy), IMAGES[row, :, ::-1, 0])


def test_every_copy_has_its_own_key():
    figure = plots.augmentations(
        IMAGES[:1], lambda key, image: image + jax.random.bits(key, (), "uint8"), jax.random.key(0)
    )
    assert len({pixels(axes).tobytes() for axes in figure.axes}) == 8


def test_class_balance_has_a_bar_a_class_and_split():
    figure = plots.class_balance({"train": [3, 1500], "test": np.array([1, 0])}, ["cat", "$dog"])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [3, 1500, 1, 0]
    assert [text.get_text() for text in axes.texts] == ["3", "1,500", "1", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "$dog"]
    low, high = axes.get_ylim()
    assert low > high  # the first class is on top
    with pytest.raises(ValueError, match=r"counts of 'train' must have shape \(2,?\)"):
        plots.class_balance({"train": [1, 2, 3]}, ["cat", "dog"])
    with pytest.raises(ValueError, match="no classes"):
        plots.class_balance({}, [])


def test_many_classes_are_drawn_without_numbers():
    figure = plots.class_balance({"train": np.arange(200)}, [str(i) for i in range(200)])
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
