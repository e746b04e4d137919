"""Affine maps, resizing and blurring: PyTorch's and Pillow's numbers, and the random forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_transforms import AFFINES, BOX, SIZES
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


# Affine maps


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


# Resizing


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


# Blurring


@pytest.mark.parametrize(("size", "sigma"), [((3, 3), 0.8), ((5, 7), 1.7)])
def test_blur_is_that_of_torchvision(size, sigma):
    blur = jax.jit(functools.partial(transforms.gaussian_blur, kernel_size=size, sigma=sigma))
    compare("gaussian blur", blur(IMAGE), CASES[f"blur {size} {sigma}"]["y"], 2e-6)


def test_blur_by_hand():
    # One white pixel, σ = 1, three taps: e^-½ / (1 + 2 e^-½) = 0.2741 beside, 0.4519 in the middle.
    image = jnp.zeros((5, 5, 1), jnp.uint8).at[2, 2].set(255)
    weights = np.array([np.exp(-0.5), 1, np.exp(-0.5)]) / (1 + 2 * np.exp(-0.5))
    expected = np.round(255 * np.outer(weights, weights))
    blurred = transforms.gaussian_blur(image, 3, 1.0)
    assert blurred.dtype == jnp.uint8
    np.testing.assert_array_equal(blurred[1:4, 1:4, 0], expected)
    assert int(blurred.sum()) == int(expected.sum())


def test_random_blur_draws_its_width():
    image = jnp.zeros((9, 9, 1)).at[4, 4].set(1.0)
    blur = jax.jit(jax.vmap(transforms.random_blur((1, 9), (0.5, 1.5)), (0, None)))
    rows = np.asarray(blur(jax.random.split(jax.random.key(0), 200), image))[:, 4, :, 0]
    # neighbor / middle = exp(-1 / 2σ²)
    sigma = np.sqrt(-0.5 / np.log(rows[:, 3] / rows[:, 4]))
    assert 0.5 <= sigma.min() < 0.55
    assert 1.45 < sigma.max() <= 1.5
    assert abs(sigma.mean() - 1.0) < 4 / np.sqrt(12 * 200)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.gaussian_blur(PHOTO, 4, 1.0), r"kernel_size must be odd, got 4"),
        (lambda: transforms.gaussian_blur(PHOTO, 3, 0.0), r"sigma must be greater than 0, got 0"),
        (lambda: transforms.gaussian_blur(PHOTO, 81, 1.0), r"at most 39 pixels .* of 40, got 40"),
        (lambda: transforms.random_blur(3, (2.0, 1.0)), r"sigma must be .*in order"),
    ],
)
def test_blur_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_uint8_resize_rounds_halves_up():
    """As Pillow and torch: the mean of 0 and 5 is 3, that of 1 and 2 is 2."""
    image = jnp.array([[0, 5], [1, 2]], jnp.uint8)[..., None]
    assert transforms.resize(image, (2, 1)).ravel().tolist() == [3, 2]
    theirs = Image.fromarray(np.asarray(image[..., 0])).resize((1, 2), Image.Resampling.BILINEAR)
    assert np.asarray(theirs).ravel().tolist() == [3, 2]
