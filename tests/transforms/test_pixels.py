"""Image functions on the device: hand-computed values, and vmap ≡ loop ≡ jit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import transforms

RNG = np.random.default_rng(0)
IMAGES = {
    "uint8": jnp.asarray(RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)),
    "float32": jnp.asarray(RNG.random((6, 8, 10, 3), dtype=np.float32)),
}
AUGMENTATIONS = {
    "jitter": transforms.color_jitter(0.4, 0.4, 0.4, 0.1),
    "blur": transforms.random_blur(3),
    "resized crop": transforms.random_resized_crop((8, 10)),
    "flip": transforms.random_flip(),
    "crop": transforms.random_crop(padding=(1, 3)),
    "erase": transforms.random_erase(0.7),
    "affine": transforms.random_affine(30, translate=(0.2, 0.1), scale=(0.8, 1.2)),
    "chain": transforms.compose(transforms.random_crop(2), transforms.random_flip()),
}
ROUNDED = ("affine", "jitter", "blur", "resized crop")  # sums, in whatever order


def column(*values):
    return jnp.asarray(values, jnp.float32)[None, :, None]  # one row of pixels, (1, W, 1)


def draws(augment, image, number):
    """The same image changed in a number of ways, (number, H, W, C)."""
    keys = jax.random.split(jax.random.key(0), number)
    return np.asarray(jax.jit(jax.vmap(augment, in_axes=(0, None)))(keys, image))


# Scaling


def test_to_float():
    scaled = transforms.to_float(jnp.array([0, 51, 204, 255], jnp.uint8))
    assert scaled.dtype == jnp.float32
    np.testing.assert_allclose(scaled, [0, 0.2, 0.8, 1], rtol=1e-6)
    half = jnp.array([3.5], jnp.float16)
    assert transforms.to_float(half) is half
    with pytest.raises(ValueError, match=r"uint8 \(0 to 255\) or floating point, got int32"):
        transforms.to_float(jnp.array([1]))


def test_to_uint8_is_the_inverse_and_keeps_to_its_range():
    levels = jnp.arange(256).astype(jnp.uint8)
    for scaled in (transforms.to_float(levels), transforms.to_float(levels).astype(jnp.float16)):
        np.testing.assert_array_equal(transforms.to_uint8(scaled), levels)
    assert transforms.to_uint8(levels) is levels
    # torchvision: floor(255.999 x)
    outside = jnp.array([-0.1, 0.0039, 0.00391, 0.5, 0.99999, 1.2])
    assert transforms.to_uint8(outside).tolist() == [0, 0, 1, 127, 255, 255]


def test_denormalize_undoes_normalize():
    statistics = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    images = IMAGES["uint8"]
    restored = transforms.denormalize(*statistics)(transforms.normalize(*statistics)(images))
    np.testing.assert_allclose(restored, transforms.to_float(images), atol=1e-6)
    # a value between two levels may be cut off to the lower one
    assert jnp.abs(transforms.to_uint8(restored + 1e-5) - images).max() == 0
    with pytest.raises(ValueError, match="std must be greater than 0"):
        transforms.denormalize(0.0, 0.0)


def test_normalize_black_and_white_of_fashion_mnist():
    image = jnp.array([0, 255], jnp.uint8).reshape(1, 2, 1)
    for mean, std in ((0.2860406, 0.3530242), ([0.2860406], [0.3530242])):
        normalized = jax.jit(transforms.normalize(mean, std))(image)
        np.testing.assert_allclose(normalized.ravel(), [-0.81026, 2.02241], atol=5e-6)


def test_normalize_channels_of_an_image_and_a_batch():
    normalize = transforms.normalize([0.0, 0.5, 1.0], [1.0, 0.5, 0.25])
    batch = jnp.full((2, 4, 4, 3), 0.5)
    np.testing.assert_array_equal(normalize(batch)[1, 2, 3], [0.5, 0, -2])
    np.testing.assert_array_equal(normalize(batch[0]), normalize(batch)[0])


def test_normalize_undoes_the_statistics_of_the_data():
    from jaxdl.data import mean_and_std

    images = IMAGES["uint8"]
    normalized = transforms.normalize(*mean_and_std(images))(images)
    np.testing.assert_allclose(normalized.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(normalized.std((0, 1, 2)), 1, rtol=1e-6)


def test_normalize_errors():
    with pytest.raises(ValueError, match=r"std must be greater than 0, got \[1\. 0\.\]"):
        transforms.normalize([0.0, 0.0], [1.0, 0.0])
    with pytest.raises(ValueError, match=r"mean must be a finite number.*shape \(1, 2\)"):
        transforms.normalize([[0.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match=r"mean has 2 channels, got images of shape \(8, 10, 3\)"):
        transforms.normalize([0.0, 0.0], 1.0)(IMAGES["uint8"][0])


# What holds for every augmentation


@pytest.mark.parametrize("dtype", IMAGES)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_vmap_equals_loop_equals_jit(name, dtype):
    augment, images = AUGMENTATIONS[name], IMAGES[dtype]

    def keys():  # made afresh each time, because a key may be used once
        return jax.random.split(jax.random.key(0), len(images))

    mapped = jax.jit(jax.vmap(augment))(keys(), images)
    assert (mapped.shape, mapped.dtype) == (images.shape, images.dtype)
    tolerance = {"atol": 1e-5 if dtype == "float32" else 1} if name in ROUNDED else {"atol": 0}
    # One image without vmap; and without jit where that is quick.
    runs = [] if dtype == "float32" else [jax.jit(augment)]
    for run in [*runs, augment] if name in ("flip", "crop") else runs:
        np.testing.assert_allclose(
            run(keys()[2], images[2]).astype(jnp.float32),
            mapped[2].astype(jnp.float32),
            rtol=0,
            **tolerance,
        )
    changed = (mapped != images).any(axis=(1, 2, 3))
    assert changed.any()


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_is_refused_with_the_remedy(name):
    with pytest.raises(ValueError, match=r"one image \(H, W, C\), got shape \(6, 8, 10, 3\).*vmap"):
        AUGMENTATIONS[name](jax.random.key(0), IMAGES["uint8"])


def test_integers_other_than_uint8_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \(0 to 255\) or floating point, got int32"):
        transforms.random_flip()(jax.random.key(0), jnp.zeros((2, 2, 1), jnp.int32))


# Flip


def test_flip_mirrors_left_to_right_and_twice_is_the_identity():
    flip = transforms.random_flip(1.0)
    first, second = jax.random.split(jax.random.key(0))
    np.testing.assert_array_equal(flip(first, column(1, 2, 3))[0, :, 0], [3, 2, 1])
    image = IMAGES["uint8"][0]
    once = flip(jax.random.clone(first), image)
    np.testing.assert_array_equal(once, image[:, ::-1])
    np.testing.assert_array_equal(flip(second, once), image)


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


# Affine


def affine(image, *args, **kwargs):
    return transforms.random_affine(*args, **kwargs)(jax.random.key(0), image)


@pytest.mark.parametrize("dtype", IMAGES)
def test_affine_that_does_nothing_is_the_identity(dtype):
    image = IMAGES[dtype][0]
    np.testing.assert_array_equal(affine(image, 0), image)


@pytest.mark.parametrize(("degrees", "quarters"), [(90, -1), (-90, 1), (180, 2)])
def test_affine_turns_clockwise(degrees, quarters):
    image = IMAGES["uint8"][0, :, :8]
    turned = affine(image, (degrees, degrees))
    np.testing.assert_array_equal(turned, jnp.rot90(image, quarters))


def test_affine_scales_about_the_centre():
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
def test_affine_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        transforms.random_affine(**arguments)


# Compose


def test_compose_applies_in_order_with_a_key_each():
    def add(key, image):
        return image + jax.random.uniform(key)

    def double(key, image):
        return image * 2

    image = jnp.zeros((1, 1, 1))
    first, _, third = jax.random.split(jax.random.key(3), 3)
    expected = jax.random.uniform(first) * 2 + jax.random.uniform(third)
    chained = transforms.compose(add, double, add)(jax.random.key(3), image)
    np.testing.assert_allclose(chained, np.full((1, 1, 1), expected), rtol=1e-6)


def test_compose_of_nothing_is_the_identity():
    image = IMAGES["uint8"][0]
    np.testing.assert_array_equal(transforms.compose()(jax.random.key(0), image), image)


# Pillow


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_pillow_and_back_is_the_identity(channels, mode):
    image = RNG.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    picture = transforms.to_pil(jnp.asarray(image))
    assert (picture.mode, picture.size) == (mode, (7, 5))
    assert picture.getpixel((6, 2)) == (image[2, 6, 0] if channels == 1 else tuple(image[2, 6]))
    back = transforms.from_pil(picture)
    np.testing.assert_array_equal(back, image)
    back[0, 0] = 1  # writable, and its own
    np.testing.assert_array_equal(
        transforms.from_pil(transforms.to_pil(transforms.to_float(image))), image
    )
    np.testing.assert_array_equal(np.asarray(transforms.to_pil(image[..., 0])), image[..., 0])


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("1", r"got '1'\. Convert it first: image\.convert\('L'\)"),
        ("P", r"got 'P'\. Convert it first: image\.convert\('RGB'\)"),
        ("LA", r"image\.convert\('RGBA'\)"),
        ("CMYK", r"image\.convert\('RGB'\)"),
        ("I;16", r"more than eight bits"),
        ("F", r"more than eight bits"),
    ],
)
def test_from_pil_refuses_other_modes(mode, message):
    from PIL import Image

    with pytest.raises(ValueError, match=message):
        transforms.from_pil(Image.new(mode, (2, 2)))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 3, 2), np.uint8), r"1, 3 or 4 channels, got shape \(2, 3, 2\)"),
        (np.zeros((1, 2, 3, 3), np.uint8), r"one image .*got shape \(1, 2, 3, 3\)"),
        (np.full((2, 2, 1), -0.1, np.float32), r"from 0 to 1, got float32 from -0\.1.*denormalize"),
        (np.full((2, 2, 1), np.nan, np.float32), r"from 0 to 1, got float32 from nan"),
        (np.zeros((2, 2, 1), np.int32), r"to_pil takes uint8.*got int32"),
    ],
)
def test_to_pil_errors(image, message):
    with pytest.raises(ValueError, match=message):
        transforms.to_pil(image)


# Mixing


def test_mixup_blends_and_cutmix_pastes():
    images = jax.random.uniform(jax.random.key(0), (5, 16, 12, 2))
    blended = jax.jit(transforms.mixup(0.5))
    for seed in range(4):
        mixed, partner, weight = blended(jax.random.key(seed), images)
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
        assert 0 <= float(weight) <= 1
        blend = weight * images + (1 - weight) * images[partner]
        np.testing.assert_allclose(mixed, blend, rtol=1e-6)
    weights = []
    pasted_over = jax.jit(transforms.cutmix())
    for seed in range(8):
        mixed, partner, weight = pasted_over(jax.random.key(seed), images)
        own, pasted = mixed == images, mixed == images[partner]
        assert (own | pasted).all()
        moved = partner != jnp.arange(5)
        kept = own.all(-1)[moved].mean((1, 2))
        np.testing.assert_allclose(kept, weight, atol=1e-6)
        weights.append(float(weight))
    assert max(weights) - min(weights) > 0.2


@pytest.mark.parametrize("make", [transforms.mixup, transforms.cutmix])
def test_mixing_refuses_what_it_cannot_mix(make):
    with pytest.raises(ValueError, match="alpha must be greater than 0, got 0"):
        make(0.0)
    with pytest.raises(ValueError, match="floating-point batch"):
        make(1.0)(jax.random.key(0), jnp.zeros((2, 4, 4, 1), jnp.uint8))
