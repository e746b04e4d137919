"""Preprocessing of arrays, texts and image files."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxdl
from jaxdl import export
from jaxdl.export.preprocessing import find_images

IMAGES = np.random.default_rng(1).integers(0, 256, (70, 6, 5, 1)).astype(np.uint8)


def test_preprocessing_is_that_of_training():
    rule = export.Preprocessing((6, 5, 1), mean=(0.25,), std=(0.5,))
    wanted = jaxdl.transforms.normalize([0.25], [0.5])(jnp.asarray(IMAGES))
    np.testing.assert_array_equal(rule(jnp.asarray(IMAGES)), wanted)
    np.testing.assert_allclose(rule(jnp.full((1, 6, 5, 1), 0.75)), 1.0)
    sixteen = dataclasses.replace(rule, scale=16.0)
    np.testing.assert_allclose(sixteen(jnp.full((1, 6, 5, 1), 8, jnp.uint8)), 0.5)
    tokens = jnp.arange(3)
    assert export.Preprocessing((3,), "int32", mean=(9.0,))(tokens) is tokens
    assert export.Preprocessing.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_texts_become_tokens_by_a_vocabulary_that_travels_with_it():
    words = ("<pad>", "<unk>", "a", "fine film", "fine", "film")
    rule = export.Preprocessing((5,), "int32", vocabulary=words, bigrams=True)
    assert export.Preprocessing.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    # words, then pairs of neighbors; of five tokens only
    expected = [[2, 4, 5, 1, 3], [0] * 5]
    for texts in (["A fine FILM", ""], np.array(["A fine FILM", ""])):
        np.testing.assert_array_equal(rule.check(texts), expected)
    np.testing.assert_array_equal(rule.check(np.array(expected)), expected)
    alone = dataclasses.replace(rule, bigrams=False)
    np.testing.assert_array_equal(alone.check(["A fine FILM"]), [[2, 4, 5, 0, 0]])
    for inputs, message in (("a fine film", r"pass \[text\]"), ([["a"]], r"pass \[text\]")):
        with pytest.raises(ValueError, match=message):
            rule.check(inputs)
    with pytest.raises(ValueError, match="got text, and there is no vocabulary"):
        export.Preprocessing((5,), "int32").check(["a fine film"])
    for fields in (
        {"shape": (5, 5)},
        {"dtype": "uint8"},
        {"vocabulary": ("a", "b", "c")},
        {"vocabulary": (*words, "film")},
        {"vocabulary": (*words, 3)},
    ):
        with pytest.raises(ValueError, match="a vocabulary is for int32 of shape"):
            dataclasses.replace(rule, **fields)


@pytest.mark.parametrize(
    ("mode", "size", "resize", "note"),
    [
        ("L", (5, 6), "none", ""),
        ("RGB", (5, 6), "none", "RGB to gray"),
        ("P", (10, 12), "stretch", "palette to gray, 10x12 to 5x6 (stretched)"),
        ("RGBA", (20, 12), "crop", "RGBA on white to gray, 20x12 to 5x6 (center)"),
    ],
)
def test_image_files_are_converted_as_the_rule_says(mode, size, resize, note, tmp_path):
    # white to the left of the middle, black to the right
    array = np.zeros((size[1], size[0]), np.uint8)
    array[:, : size[0] // 2] = 255
    Image.fromarray(array).convert(mode).save(tmp_path / "image.png")
    rule = export.Preprocessing((6, 5, 1), resize=resize)
    image, words = rule.read(tmp_path / "image.png")
    assert words == note
    assert image.shape == (6, 5, 1)
    assert image.dtype == np.uint8
    assert (image[:, :2] > 250).all()
    assert (image[:, 3:] < 50).all()


def test_a_crop_keeps_the_middle_and_its_proportions(tmp_path):
    array = np.zeros((4, 12, 3), np.uint8)
    array[:, 4:8, 0] = 200
    Image.fromarray(array).save(tmp_path / "wide.png")
    image, words = export.Preprocessing((4, 4, 3), resize="crop").read(tmp_path / "wide.png")
    assert (image == [200, 0, 0]).all()
    assert words == "12x4 to 4x4 (center)"
    with pytest.raises(ValueError, match=r"wide.png has 12x4 pixels, expected 4x4"):
        export.Preprocessing((4, 4, 3), resize="none").read(tmp_path / "wide.png")


def test_files_that_are_no_images_are_named(tmp_path):
    rule = export.Preprocessing((6, 5, 1))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text.png cannot be read as an image"):
        rule.read(tmp_path / "text.png")
    Image.fromarray(np.full((6, 5), 2**15, np.uint16)).save(tmp_path / "deep.png")
    image, note = rule.read(tmp_path / "deep.png")
    assert (image == 128).all()
    assert note == "16-bit gray to gray"
    Image.fromarray(np.zeros((6, 5), np.float32)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=r"deep\.tif holds floating point, whose range is unknown"):
        rule.read(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="not image files"):
        export.Preprocessing((7,), "float32").read(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="file not found"):
        find_images([tmp_path / "absent.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no images in"):
        find_images([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": [0]}, "shape must be positive integers"),
        ({"shape": [3], "std": [0]}, "std must be greater than 0"),
        ({"shape": [3], "dtype": "int8"}, "dtype must be uint8, float32 or int32"),
        ({"shape": [3], "resize": "magic"}, 'resize must be "stretch"'),
        ({"shape": [3], "scale": 0}, "scale must be greater than 0"),
        ({"shape": [3], "crop": 1}, "unknown field 'crop'; expected one of shape"),
        ({"mean": [1]}, "field 'shape' is missing"),
        ([3], "must be an object of fields"),
    ],
)
def test_preprocessing_that_cannot_be_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        export.Preprocessing.from_json(values)
