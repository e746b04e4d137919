"""Tests of ``jaxdl.transforms.resizing``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_transforms import BOX, SIZES
from helpers.oracle import compare, read_cases
from PIL import Image

from jaxdl import transforms
from jaxdl.transforms.resizing import random_box

CASES = read_cases("transforms")


IMAGE = CASES["inputs"]["image"]


PHOTO = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)


PIL_METHODS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def levels(a, b):
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32))


# Resizing


@pytest.mark.slow
@pytest.mark.parametrize("method", PIL_METHODS)
@pytest.mark.parametrize("name", SIZES)
def test_resize_is_that_of_pytorch_and_of_pillow(name, method):
    resize = jax.jit(functools.partial(transforms.resize, size=SIZES[name], method=method))
    theirs = CASES[f"resize {method}, {name}"]["y"]
    compare(f"resize, {method}", resize(IMAGE), theirs, 0 if method == "nearest" else 2e-6)
    photo = PHOTO[:12, :15]
    # Columns first, then rows, each rounded: Pillow 13 turns the order round where that is less.
    height, width = SIZES[name]
    theirs = Image.fromarray(photo).resize((width, 12), PIL_METHODS[method])
    theirs = theirs.resize((width, height), PIL_METHODS[method])
    assert levels(resize(photo), theirs).max() <= (0 if method == "nearest" else 1)


def test_resize_of_the_shorter_side():
    resize = jax.jit(functools.partial(transforms.resize, size=20))
    wide = resize(PHOTO)
    assert wide.shape == (20, 25, 3)
    assert jax.eval_shape(resize, PHOTO[:30, :47]).shape == (20, 31, 3)  # int(20 · 47 / 30)
    assert levels(resize(PHOTO.transpose(1, 0, 2)), wide.transpose(1, 0, 2)).max() <= 1
    np.testing.assert_array_equal(transforms.resize(PHOTO, 40), PHOTO)


def test_resize_of_a_batch_and_by_much():
    images = jnp.asarray(np.stack([PHOTO, PHOTO[::-1]]))
    small = jax.jit(functools.partial(transforms.resize, size=(2, 3)))(images)
    for ours, photo in zip(small, (PHOTO, PHOTO[::-1]), strict=True):
        theirs = Image.fromarray(photo).resize((3, 2), Image.Resampling.BILINEAR)
        assert levels(ours, theirs).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_resized_crop_counts_no_pixel_outside_the_box(method):
    # The box as numbers, and traced: the same result.
    static = jax.jit(lambda: transforms.resized_crop(IMAGE, *BOX, (8, 6), method))()
    traced = jax.jit(lambda *box: transforms.resized_crop(IMAGE, *box, (8, 6), method))(*BOX)
    theirs = CASES[f"resized crop {method}"]["y"]
    compare(f"resized crop, {method}", static, theirs, 2e-6)
    compare(f"resized crop, {method}", traced, theirs, 2e-6)


def test_random_boxes_are_those_of_the_definition():
    scale, ratio = (0.2, 0.5), (0.5, 2.0)
    draw = jax.jit(jax.vmap(lambda key: jnp.stack(random_box(key, 100, 120, scale, ratio))))
    top, left, height, width = np.asarray(draw(jax.random.split(jax.random.key(0), 4000))).T
    assert (top >= 0).all() and (left >= 0).all()  # noqa: PT018
    assert (top + height <= 100).all()
    assert (left + width <= 120).all()
    # Sides are rounded: area and ratio hold to half a pixel a side.
    assert ((height + 0.5) * (width + 0.5) >= 0.2 * 12000).all()
    assert ((height - 0.5) * (width - 0.5) <= 0.5 * 12000).all()
    assert ((width + 0.5) / (height - 0.5) >= 0.5).all()
    assert ((width - 0.5) / (height + 0.5) <= 2).all()
    # Every place that fits is equally likely: the middle of the box is, on average, the middle.
    share = (top / np.maximum(100 - height, 1))[height < 90]
    assert abs(share.mean() - 0.5) < 4 * 0.29 / np.sqrt(len(share)) + 0.01
    assert set(top[height == 99]) <= {0, 1}


def test_random_box_falls_back_to_the_middle():
    # A whole wide image has no ratio up to 4/3: the widest central box that has.
    for rows, columns, box in ((10, 100, [0, 43, 10, 13]), (100, 10, [43, 0, 13, 10])):
        drawn = jax.jit(random_box, static_argnums=(1, 2, 3, 4))(
            jax.random.key(0), rows, columns, (1.0, 1.0), (3 / 4, 4 / 3)
        )
        assert [int(x) for x in drawn] == box


@pytest.mark.slow
def test_random_resized_crop_of_everything_is_resize():
    whole = transforms.random_resized_crop((20, 25), scale=(1.0, 1.0), ratio=(1.25, 1.25))
    ours = jax.jit(whole)(jax.random.key(0), PHOTO)
    assert ours.dtype == jnp.uint8
    assert levels(ours, transforms.resize(PHOTO, (20, 25))).max() <= 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.resize(PHOTO, 0), r"size must be a whole number above 0.*got 0"),
        (lambda: transforms.resize(PHOTO, (3, -1)), r"\(height, width\), got \(3, -1\)"),
        (lambda: transforms.resize(PHOTO, 3, "area"), r"nearest, bilinear, bicubic, got 'area'"),
        (lambda: transforms.random_resized_crop(8, scale=(0.5, 1.5)), r"scale must .*\(0\.5, 1\.5"),
        (lambda: transforms.random_resized_crop(8, ratio=(2.0, 1.0)), r"ratio must be .*in order"),
        (lambda: transforms.random_resized_crop(8, method=""), r"method must be one of"),
        (lambda: transforms.resized_crop(PHOTO, 30, 0, 20, 9, 4), r"top must lie in 0 to 20.*30"),
        (lambda: transforms.resized_crop(PHOTO, 0, 0, 41, 9, 4), r"41x9 is larger than .* 40x50"),
    ],
)
def test_resize_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
def test_uint8_resize_rounds_halves_up():
    """As Pillow and torch: the mean of 0 and 5 is 3, that of 1 and 2 is 2."""
    image = jnp.array([[0, 5], [1, 2]], jnp.uint8)[..., None]
    assert transforms.resize(image, (2, 1)).ravel().tolist() == [3, 2]
    theirs = Image.fromarray(np.asarray(image[..., 0])).resize((1, 2), Image.Resampling.BILINEAR)
    assert np.asarray(theirs).ravel().tolist() == [3, 2]
