"""Tests of ``jaxdl.transforms.cropping``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import transforms


def test_integers_other_than_uint8_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \(0 to 255\) or floating point, got int32"):
        transforms.random_flip()(jax.random.key(0), jnp.zeros((2, 2, 1), jnp.int32))


RNG = np.random.default_rng(0)


IMAGES = {
    "uint8": jnp.asarray(RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)),
    "float32": jnp.asarray(RNG.random((6, 8, 10, 3), dtype=np.float32)),
}


def column(*values):
    return jnp.asarray(values, jnp.float32)[None, :, None]  # one row of pixels, (1, W, 1)


# Flip


def test_flip_mirrors_left_to_right_and_twice_is_the_identity():
    flip = transforms.random_flip(1.0)
    first, second = jax.random.split(jax.random.key(0))
    np.testing.assert_array_equal(flip(first, column(1, 2, 3))[0, :, 0], [3, 2, 1])
    image = IMAGES["uint8"][0]
    once = flip(jax.random.clone(first), image)
    np.testing.assert_array_equal(once, image[:, ::-1])
    np.testing.assert_array_equal(flip(second, once), image)


def draws(augment, image, number):
    """The same image changed in a number of ways, (number, H, W, C)."""
    keys = jax.random.split(jax.random.key(0), number)
    return np.asarray(jax.jit(jax.vmap(augment, in_axes=(0, None)))(keys, image))


def test_flip_happens_with_its_probability():
    flipped = draws(transforms.random_flip(0.25), column(0, 1), 4000)
    share = (flipped[:, 0, 0, 0] == 1).mean()
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    never = transforms.random_flip(0.0)(jax.random.key(1), column(0, 1))
    np.testing.assert_array_equal(never, column(0, 1))
    with pytest.raises(ValueError, match=r"probability must lie in 0 to 1, got 1\.5"):
        transforms.random_flip(1.5)


# Crop


def test_crop_with_padding_0_is_the_identity():
    image = IMAGES["uint8"][0]
    np.testing.assert_array_equal(transforms.random_crop(0)(jax.random.key(0), image), image)


def test_crop_reaches_every_offset_and_fills_with_zeros():
    # One row, so only the columns move: 1 2 3 by -1, 0 or 1 pixel.
    crops = draws(transforms.random_crop((0, 1)), column(1, 2, 3), 300)
    rows, counts = np.unique(crops[:, 0, :, 0], axis=0, return_counts=True)
    assert rows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0]]
    assert (abs(counts - 100) < 4 * np.sqrt(300 * 2 / 9)).all()


def test_crop_moves_rows_and_columns_independently():
    image = jnp.zeros((5, 5, 1), jnp.uint8).at[2, 2].set(1)
    crops = draws(transforms.random_crop(2), image, 1000)
    places = {tuple(np.argwhere(crop[..., 0])[0].tolist()) for crop in crops}
    assert places == {(i, j) for i in range(5) for j in range(5)}


def test_crop_errors():
    with pytest.raises(ValueError, match=r"padding must be 0 or greater, got \(1, -2\)"):
        transforms.random_crop((1, -2))


def test_crop_by_numbers_and_by_traced_numbers():
    image = jnp.asarray(RNG.integers(0, 256, (28, 28, 1), dtype=np.uint8))
    cut = transforms.crop(image, 5, 5, 18, 18)
    np.testing.assert_array_equal(cut, image[5:23, 5:23])
    traced = jax.jit(lambda top, left: transforms.crop(image, top, left, 18, 18))(5, 5)
    np.testing.assert_array_equal(traced, cut)
    batch = transforms.crop(IMAGES["uint8"], 1, 2, 3, 4)
    np.testing.assert_array_equal(batch, IMAGES["uint8"][:, 1:4, 2:6])


def test_center_crop_of_a_celebrity():
    image = jnp.asarray(RNG.integers(0, 256, (218, 178, 3), dtype=np.uint8))
    np.testing.assert_array_equal(transforms.center_crop(image, 128), image[45:173, 25:153])
    # torchvision rounds halves to even: (8 − 3) / 2 -> 2, (10 − 7) / 2 -> 2
    batch = IMAGES["uint8"]
    np.testing.assert_array_equal(transforms.center_crop(batch, (3, 7)), batch[:, 2:5, 2:9])


def test_random_crop_of_a_size_reaches_every_place():
    image = jnp.arange(20, dtype=jnp.uint8).reshape(4, 5, 1)
    crops = draws(transforms.random_crop(size=(3, 4)), image, 400)
    assert crops.shape == (400, 3, 4, 1)
    corners, counts = np.unique(crops[:, 0, 0, 0], return_counts=True)
    assert corners.tolist() == [0, 1, 5, 6]
    assert (abs(counts - 100) < 4 * np.sqrt(400 * 3 / 16)).all()


def test_pad_in_every_mode():
    row = jnp.array([1, 2, 3], jnp.uint8).reshape(1, 3, 1)
    expected = {
        "constant": [9, 9, 1, 2, 3, 9],
        "edge": [1, 1, 1, 2, 3, 3],
        "reflect": [3, 2, 1, 2, 3, 2],
        "symmetric": [2, 1, 1, 2, 3, 3],
    }
    for mode, values in expected.items():
        padded = transforms.pad(row, (0, (2, 1)), mode, 9)
        assert padded.ravel().tolist() == values
        assert padded.dtype == jnp.uint8
    assert transforms.pad(IMAGES["uint8"], (1, 2)).shape == (6, 10, 14, 3)
    moved = draws(transforms.random_crop((0, 1), mode="reflect"), column(1, 2, 3), 50)
    assert {tuple(r) for r in moved[:, 0, :, 0].tolist()} == {(2, 1, 2), (1, 2, 3), (2, 3, 2)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: transforms.center_crop(x, 9), r"9x9 is larger than the image of 8x10.*pad or"),
        (lambda x: transforms.crop(x, 6, 0, 3, 3), r"top must lie in 0 to 5 for 3 of 8.*got 6"),
        (lambda x: transforms.crop(x, 0, -1, 3, 3), r"left must lie in 0 to 7 for 3 of 10.*got -1"),
        (lambda x: transforms.crop(x, 0, 0, 0, 3), r"the crop must be a whole number above 0"),
        (lambda x: transforms.pad(x, 1, "wrap"), r"mode must be one of constant, edge.*got 'wrap'"),
        (lambda x: transforms.pad(x, (8, 0), "reflect"), r"at most 7 pixels to a side of 8, got 8"),
        (lambda x: transforms.pad(x, -1), r"padding must be 0 or greater, got -1"),
        (lambda x: transforms.pad(x[..., 0], 1), r"image \(H, W, C\).*got shape \(8, 10\)"),
    ],
)
def test_crop_and_pad_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(IMAGES["uint8"][0])


def test_random_crop_larger_than_the_padded_image():
    with pytest.raises(ValueError, match=r"crop of 13x13 is larger than the image of 12x14"):
        transforms.random_crop(2, size=13)(jax.random.key(0), IMAGES["uint8"][0])


def test_flip_top_to_bottom():
    images = IMAGES["uint8"]
    np.testing.assert_array_equal(transforms.flip(images, vertical=True), images[:, ::-1])
    np.testing.assert_array_equal(transforms.flip(images), images[:, :, ::-1])
    flip = transforms.random_flip(1.0, vertical=True)
    np.testing.assert_array_equal(flip(jax.random.key(0), images[0]), images[0, ::-1])


# Erase


def test_erase_writes_a_value_a_channel():
    image = jnp.zeros((3, 4, 2), jnp.uint8)
    erased = transforms.erase(image, 1, 2, 5, 1, [7, 9])
    assert erased[..., 0].tolist() == [[0, 0, 0, 0], [0, 0, 7, 0], [0, 0, 7, 0]]
    assert erased[1, 2].tolist() == [7, 9]
    with pytest.raises(ValueError, match=r"one for each of 2 channels, got shape \(3,\)"):
        transforms.erase(image, 0, 0, 1, 1, [1, 2, 3])


def test_erase_writes_one_rectangle_within_its_limits():
    erase = transforms.random_erase(1.0, scale=(0.1, 0.2), ratio=(0.5, 2.0), value=7)
    erased = draws(erase, jnp.full((20, 30, 2), 3, jnp.uint8), 200)
    assert set(np.unique(erased)) == {3, 7}
    tops = set()
    for mask in (erased == 7).all(axis=-1):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert mask.sum() == height * width  # a full rectangle
        # Sides are rounded: area and ratio hold to half a pixel a side.
        assert (height - 0.5) * (width - 0.5) <= 0.2 * 600
        assert (height + 0.5) * (width + 0.5) >= 0.1 * 600
        assert (height - 0.5) / (width + 0.5) <= 2
        assert (height + 0.5) / (width - 0.5) >= 0.5
        tops.add(int(rows[0]))
    assert 0 in tops
    assert len(tops) > 8


@pytest.mark.slow
def test_erase_everything_half_and_nothing():
    image = jnp.ones((4, 4, 1))
    whole = transforms.random_erase(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    assert whole(jax.random.key(0), image).sum() == 0
    # A quarter of the area, square: 2×2 of 16 pixels.
    quarter = transforms.random_erase(1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    assert quarter(jax.random.key(0), image).sum() == 12
    # Twice as high as the image allows: the side is shortened to it. 16 px area, 8×2 -> 4×2.
    tall = transforms.random_erase(1.0, scale=(1.0, 1.0), ratio=(4.0, 4.0))
    assert tall(jax.random.key(0), image).sum() == 8
    never = transforms.random_erase(0.0)
    np.testing.assert_array_equal(never(jax.random.key(0), image), image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": (0.3, 0.1)}, r"scale must be .*in order.*got \(0\.3, 0\.1\)"),
        ({"scale": (0.0, 2.0)}, r"scale must be .*within 0 to 1"),
        ({"ratio": (0.0, 1.0)}, r"ratio must be .*got \(0\.0, 1\.0\)"),
        ({"probability": -1.0}, r"probability must lie in 0 to 1, got -1\.0"),
    ],
)
def test_erase_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        transforms.random_erase(**arguments)


# A dull picture, so that every operation changes it: autocontrast and equalize too.
IMAGE = jnp.asarray((40 + 150 * RNG.random((20, 24, 3))).astype(np.uint8))


def test_random_choice_gives_the_key_to_its_choice():
    # Outside vmap and jit too, with keys that may be used once.
    augment = transforms.random_choice(transforms.random_crop(1), transforms.random_crop(1))
    assert augment(jax.random.key(0), IMAGE).shape == IMAGE.shape
