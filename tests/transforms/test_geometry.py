"""Affine maps, resizing and blurring: PyTorch's and Pillow's numbers, and the random forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_transforms import AFFINES
from helpers.oracle import compare, read_cases
from PIL import Image

from jaxdl import transforms

CASES = read_cases("transforms")


IMAGE = CASES["inputs"]["image"]


# Affine maps


@pytest.mark.slow
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("name", AFFINES)
def test_affine_and_its_gradient_are_those_of_grid_sample(name, interpolation):
    case = CASES[f"affine {interpolation}, {name}"]
    change = functools.partial(transforms.affine, **AFFINES[name], interpolation=interpolation)

    @jax.jit
    def both(image):
        y, pull = jax.vjp(change, image)
        return y, pull(jnp.asarray(CASES["inputs"]["weights"]))[0]

    y, gradient = both(IMAGE)
    compare(f"affine, {interpolation}", y, case["y"], 5e-6)
    compare(f"affine, {interpolation}, gradient", gradient, case["gradient"], 5e-6)


def test_affine_of_a_batch_is_that_of_its_images():
    images = jnp.stack([IMAGE, IMAGE[::-1]]).reshape(2, 1, *IMAGE.shape)
    change = jax.jit(lambda x: transforms.affine(x, 20, (1, 2), fill=0.5))
    np.testing.assert_allclose(change(images)[1, 0], change(IMAGE[::-1]), atol=1e-6)


PHOTO = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def levels(a, b):
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32))


def test_rotation_is_that_of_pillow():
    square = PHOTO[:, :40]
    rotate = jax.jit(transforms.rotate, static_argnames="interpolation")
    for degrees in (30, -75):
        turned = rotate(square, degrees, interpolation="nearest")
        theirs = Image.fromarray(square).rotate(degrees, Image.Resampling.NEAREST)
        # a place between two pixels, to the last bit, may fall to either
        assert (levels(turned, theirs) == 0).mean() > 0.999
        turned = rotate(square, degrees)
        theirs = Image.fromarray(square).rotate(degrees, Image.Resampling.BILINEAR)
        # Pillow has no blend with the outside in the last half pixel: look at a disc within.
        y, x = np.mgrid[:40, :40] - 19.5
        assert levels(turned, theirs)[np.hypot(x, y) < 18].max() <= 1


def test_rotate_turns_counterclockwise_and_affine_clockwise():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3, 1)
    np.testing.assert_array_equal(jax.jit(transforms.rotate)(image, 90), np.rot90(image))
    np.testing.assert_array_equal(jax.jit(transforms.affine)(image, 90), np.rot90(image, -1))
    turn = jax.jit(transforms.random_rotation((90, 90)))
    np.testing.assert_array_equal(turn(jax.random.key(0), image), np.rot90(image))


def test_translate_by_pixels_and_halves_with_a_fill():
    row = jnp.array([10, 20, 30], jnp.uint8).reshape(1, 3, 1)
    move = jax.jit(transforms.translate, static_argnames="fill")
    assert move(row, -1, 0, fill=7).ravel().tolist() == [20, 30, 7]
    assert move(row, 0.5, 0, fill=2).ravel().tolist() == [6, 15, 25]  # (2 + 10) / 2, ...
    assert move(row, 1e9, -5, fill=9).ravel().tolist() == [9, 9, 9]
    assert move(row.reshape(3, 1, 1), 0, 2).ravel().tolist() == [0, 0, 10]


def test_shear_by_hand():
    # Slope 1 about the middle row: the row above moves one pixel right, the one below left.
    image = jnp.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], jnp.uint8)[..., None]
    sheared = transforms.affine(image, shear=(45.0, 0.0), interpolation="nearest")
    assert sheared[..., 0].tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 0]]


def test_random_shears_lie_in_their_ranges():
    # The middle column of the row above the center shows the shear in x: its place is tan a.
    image = jnp.zeros((21, 41, 1)).at[0, 20].set(1.0)
    shear = transforms.random_affine(0, shear=(-30.0, 10.0, 0.0, 0.0))
    sheared = jax.jit(jax.vmap(shear, (0, None)))(jax.random.split(jax.random.key(0), 300), image)
    row = np.asarray(sheared)[:, 0, :, 0]
    place = (row * (np.arange(41) - 20).reshape(1, -1)).sum(1) / row.sum(1)
    angles = np.degrees(np.arctan(place / 10))
    assert -30.1 < angles.min() < -28
    assert 8 < angles.max() < 10.1
    assert abs(angles.mean() + 10) < 4 * 40 / np.sqrt(12 * 300)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.affine(PHOTO, scale=0), r"scale must be greater than 0, got 0"),
        (lambda: transforms.affine(PHOTO, shear=(90.0, 0)), r"shear must lie between -90 and 90"),
        (lambda: transforms.rotate(PHOTO, 3, interpolation="cubic"), r"nearest, bilinear, got 'cu"),
        (lambda: transforms.rotate(PHOTO[0], 3), r"\(H, W, C\).*got shape \(50, 3\).*\[\.\.\., No"),
        (lambda: transforms.random_affine(0, shear=(3, 2)), r"shear must be .*got \(3, 2\)"),
        (lambda: transforms.random_affine(0, shear=(3, 4, 5)), r"a number, a pair or four"),
        (lambda: transforms.random_rotation((9, 2)), r"degrees must be .*got"),
        (lambda: transforms.random_rotation(9, interpolation=""), r"interpolation must be one of"),
    ],
)
def test_affine_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


RNG = np.random.default_rng(0)


IMAGES = {
    "uint8": jnp.asarray(RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)),
    "float32": jnp.asarray(RNG.random((6, 8, 10, 3), dtype=np.float32)),
}


# Affine


def affine(image, *args, **kwargs):
    return transforms.random_affine(*args, **kwargs)(jax.random.key(0), image)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", IMAGES)
def test_affine_that_does_nothing_is_the_identity(dtype):
    image = IMAGES[dtype][0]
    np.testing.assert_array_equal(affine(image, 0), image)


@pytest.mark.slow
@pytest.mark.parametrize(("degrees", "quarters"), [(90, -1), (-90, 1), (180, 2)])
def test_affine_turns_clockwise(degrees, quarters):
    image = IMAGES["uint8"][0, :, :8]
    turned = affine(image, (degrees, degrees))
    np.testing.assert_array_equal(turned, jnp.rot90(image, quarters))


def column(*values):
    return jnp.asarray(values, jnp.float32)[None, :, None]  # one row of pixels, (1, W, 1)


def test_affine_scales_about_the_center():
    # Factor 2 of 0 4 8 about its middle reads at -.5+..: half a pixel to either side of the 4.
    enlarged = affine(column(0, 4, 8), 0, scale=(2.0, 2.0))
    np.testing.assert_allclose(enlarged[0, :, 0], [2, 4, 6], atol=1e-6)
    # Factor 1/2 reads two pixels to either side: outside, zero.
    reduced = affine(column(1, 4, 8), 0, scale=(0.5, 0.5))
    np.testing.assert_allclose(reduced[0, :, 0], [0, 4, 0], atol=1e-6)


def test_affine_rounds_uint8():
    image = jnp.array([0, 4, 7], jnp.uint8)[None, :, None]
    enlarged = affine(image, 0, scale=(2.0, 2.0))  # 2, 4, 5.5
    assert enlarged[0, :, 0].tolist() == [2, 4, 6]


def draws(augment, image, number):
    """The same image changed in a number of ways, (number, H, W, C)."""
    keys = jax.random.split(jax.random.key(0), number)
    return np.asarray(jax.jit(jax.vmap(augment, in_axes=(0, None)))(keys, image))


def test_affine_shifts_by_whole_pixels_up_to_the_fraction():
    move = transforms.random_affine(0, translate=(0.4, 0.0))
    moved = draws(move, column(1, 2, 3, 4, 5), 200)[:, 0, :, 0]
    assert {tuple(row) for row in moved.tolist()} == {
        (3, 4, 5, 0, 0),
        (2, 3, 4, 5, 0),
        (1, 2, 3, 4, 5),
        (0, 1, 2, 3, 4),
        (0, 0, 1, 2, 3),
    }
    image = jnp.zeros((4, 1, 1)).at[0].set(1.0)
    down = transforms.random_affine(0, translate=(0.0, 1.0))
    places = draws(down, image, 200)[..., 0, 0]
    assert {int(np.argmax(row)) for row in places if row.any()} == {0, 1, 2, 3}


def test_affine_angle_is_uniform_between_its_limits():
    # A white pixel right of the center moves along a circle; its angle shows the rotation.
    image = jnp.zeros((41, 41, 1)).at[20, 35].set(1.0)
    turned = draws(transforms.random_affine(45), image, 400)[..., 0]
    offset = np.arange(41.0) - 20
    weight = turned.sum((1, 2))
    y = (turned.sum(2) * offset[None]).sum(1) / weight
    x = (turned.sum(1) * offset[None]).sum(1) / weight
    angles = np.degrees(np.arctan2(y, x))
    assert abs(angles).max() < 47
    assert abs(angles.mean()) < 4 * 90 / np.sqrt(12 * 400)
    assert abs(angles.std() - 90 / np.sqrt(12)) < 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degrees": (10, -10)}, r"degrees must be .*got \(10, -10\)"),
        ({"degrees": 5, "translate": (0.0, 1.5)}, r"translate must be .*got \(0\.0, 1\.5\)"),
        ({"degrees": 5, "scale": (0.0, 1.0)}, r"scale must be .*got \(0\.0, 1\.0\)"),
    ],
)
def test_random_affine_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        transforms.random_affine(**arguments)
