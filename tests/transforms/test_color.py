"""Colors: equal to Pillow's, level by level, or computed by hand; and the random forms."""

import colorsys
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxdl import transforms

RNG = np.random.default_rng(0)


PHOTO = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


DULL = (60 + 90 * RNG.beta(2, 5, (20, 30, 3))).astype(np.uint8)  # few levels, none at the ends


GRAY = DULL[..., :1]


PHOTOS = {"photo": PHOTO, "dull": DULL, "gray": GRAY}


def pil(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def array(image):
    values = np.asarray(image)
    return values[..., None] if values.ndim == 2 else values


def levels(a, b):
    return np.abs(np.asarray(a, np.int32) - np.asarray(b, np.int32))


# Deterministic forms, against Pillow

FACTORS = (0.0, 0.35, 1.0, 1.9)


ENHANCERS = {
    "brightness": (transforms.adjust_brightness, ImageEnhance.Brightness),
    "contrast": (transforms.adjust_contrast, ImageEnhance.Contrast),
    "saturation": (transforms.adjust_saturation, ImageEnhance.Color),
    "sharpness": (transforms.adjust_sharpness, ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("name", ENHANCERS)
def test_blends_are_those_of_pillow(name):
    ours, theirs = ENHANCERS[name]
    adjust = jax.jit(ours)
    for image in PHOTOS.values():
        for factor in FACTORS:
            difference = levels(adjust(image, factor), array(theirs(pil(image)).enhance(factor)))
            # A whole number that floating point misses by its last bit falls to the level below.
            assert difference.max() <= 1
            assert (difference > 0).mean() < 0.002
        np.testing.assert_array_equal(adjust(image, 1.0), image)


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTOS)
def test_levels_are_those_of_pillow(name):
    image = PHOTOS[name]
    np.testing.assert_array_equal(transforms.invert(image), array(ImageOps.invert(pil(image))))
    np.testing.assert_array_equal(transforms.grayscale(image)[..., 0], pil(image).convert("L"))
    for threshold in (0, 77, 128, 255):
        np.testing.assert_array_equal(
            transforms.solarize(image, threshold), array(ImageOps.solarize(pil(image), threshold))
        )
    for bits in range(1, 9):
        np.testing.assert_array_equal(
            transforms.posterize(image, bits), array(ImageOps.posterize(pil(image), bits))
        )
    difference = levels(transforms.autocontrast(image), array(ImageOps.autocontrast(pil(image))))
    assert difference.max() <= 1  # Pillow: a whole number may fall to the level below
    assert (difference > 0).mean() < 0.05


EQUALIZED = {
    **PHOTOS,
    "one level": np.full((20, 20, 1), 9, np.uint8),
    "two levels": np.repeat(np.array([3, 200], np.uint8), 300).reshape(20, 30, 1),
    "a large dark field": np.where(PHOTO < 250, 0, PHOTO),
    "fewer than 255 pixels": PHOTO[:5, :7],
}


@pytest.mark.parametrize("name", EQUALIZED)
def test_equalize_is_that_of_pillow(name):
    image = EQUALIZED[name]
    np.testing.assert_array_equal(
        jax.jit(transforms.equalize)(image), array(ImageOps.equalize(pil(image)))
    )


def test_equalize_of_a_batch_and_of_floats():
    batch = jnp.asarray(np.stack([PHOTO, DULL]))
    equalized = jax.jit(transforms.equalize)(batch)
    for ours, image in zip(equalized, (PHOTO, DULL), strict=True):
        np.testing.assert_array_equal(ours, ImageOps.equalize(pil(image)))
    floats = jax.jit(transforms.equalize)(transforms.to_float(batch))
    np.testing.assert_array_equal(transforms.to_uint8(floats), equalized)


def test_autocontrast_by_hand():
    channels = jnp.array([[[50, 7], [75, 7], [100, 7]]], jnp.uint8)
    assert transforms.autocontrast(channels)[0].tolist() == [[0, 7], [127, 7], [255, 7]]
    floats = jnp.array([[[0.2], [0.3], [0.6]]])
    np.testing.assert_allclose(transforms.autocontrast(floats).ravel(), [0, 0.25, 1], atol=1e-6)


def test_floats_are_on_the_scale_from_0_to_1():
    image = jnp.array([[[0.1], [0.5], [0.9]]])
    np.testing.assert_allclose(transforms.invert(image).ravel(), [0.9, 0.5, 0.1], atol=1e-6)
    np.testing.assert_allclose(transforms.solarize(image, 0.5).ravel(), [0.1, 0.5, 0.1], atol=1e-6)
    assert transforms.posterize(image, 2).ravel().tolist() == [0, 0.5, 0.75]
    assert transforms.posterize(jnp.ones((1, 1, 1)), 2).item() == 0.75


# Hue


@pytest.mark.parametrize("factor", [-0.5, -0.13, 0.0, 0.25, 0.4])
def test_hue_is_that_of_colorsys(factor):
    image = np.concatenate([PHOTO[0] / 255, [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [1, 0, 1]]])
    expected = []
    for red, green, blue in image:
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        expected.append(colorsys.hsv_to_rgb((hue + factor) % 1.0, saturation, value))
    turned = jax.jit(transforms.adjust_hue)(jnp.asarray(image[None], jnp.float32), factor)
    np.testing.assert_allclose(turned[0], expected, atol=2e-6)


def test_hue_of_uint8():
    np.testing.assert_array_equal(transforms.adjust_hue(PHOTO, 0.0), PHOTO)
    np.testing.assert_array_equal(transforms.adjust_hue(GRAY, 0.3), GRAY)
    # Pillow keeps hue in 8 bits and wraps at 256, not 255: two steps of 6 levels at the most.
    hsv = np.array(pil(PHOTO).convert("HSV"))
    hsv[..., 0] += np.uint8(64)
    theirs = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    difference = levels(transforms.adjust_hue(PHOTO, 64 / 255), theirs)
    assert difference.max() <= 12
    assert difference.mean() < 2


def test_a_third_of_the_circle_permutes_the_channels():
    turned = transforms.adjust_hue(PHOTO, 1 / 3)
    assert levels(turned, PHOTO[..., [2, 0, 1]]).max() <= 1


# Jitter


def test_jitter_without_arguments_changes_nothing():
    image = jnp.asarray(PHOTO)
    assert transforms.color_jitter()(jax.random.key(0), image) is image


@pytest.mark.slow
def test_jitter_applies_its_changes_in_every_order():
    factors = {"brightness": 1.7, "contrast": 0.4, "saturation": 2.5, "hue": 0.2}
    adjusts = {
        "brightness": transforms.adjust_brightness,
        "contrast": transforms.adjust_contrast,
        "saturation": transforms.adjust_saturation,
        "hue": transforms.adjust_hue,
    }
    image = jnp.asarray(PHOTO[:3, :4] / 255.0, jnp.float32)

    @jax.jit
    def ordered(image):
        results = []
        for order in itertools.permutations(factors):
            results.append(
                functools.reduce(lambda x, name: adjusts[name](x, factors[name]), order, image)
            )
        return jnp.stack(results)

    possible = np.asarray(ordered(image))
    jitter = transforms.color_jitter(**{name: (f, f) for name, f in factors.items()})
    keys = jax.random.split(jax.random.key(0), 400)
    drawn = np.asarray(jax.jit(jax.vmap(jitter, (0, None)))(keys, image))
    distance = np.abs(drawn[:, None] - possible[None]).max(axis=(2, 3, 4))
    assert distance.min(axis=1).max() < 1e-5  # every result is that of an order
    counts = np.bincount(distance.argmin(axis=1), minlength=24)
    assert counts.min() > 0
    assert counts.max() < 400 / 24 + 5 * np.sqrt(400 / 24)


def test_jitter_draws_its_factors_evenly_for_every_image():
    image = jnp.full((1, 1, 1), 100, jnp.uint8)
    jitter = jax.jit(jax.vmap(transforms.color_jitter(brightness=0.4), (0, None)))
    drawn = np.asarray(jitter(jax.random.split(jax.random.key(1), 2000), image)).ravel()
    assert drawn.dtype == np.uint8
    assert 60 <= drawn.min() <= 61
    assert 139 <= drawn.max() <= 140
    assert abs(drawn.mean() - 100) < 4 * 80 / np.sqrt(12 * 2000)
    again = np.asarray(jitter(jax.random.split(jax.random.key(1), 2000), image)).ravel()
    np.testing.assert_array_equal(drawn, again)


def test_jitter_above_1_starts_at_black():
    jitter = transforms.color_jitter(saturation=1.5)  # factors 0 to 2.5, not −½
    red = jnp.array([[[255, 0, 0]]], jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 300)
    green = np.asarray(jax.jit(jax.vmap(jitter, (0, None)))(keys, red))[..., 1]
    assert green.max() <= 76


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: transforms.adjust_brightness(PHOTO, -0.1),
            r"factor must be .*0 or greater, got -",
        ),
        (lambda: transforms.adjust_hue(PHOTO, 0.6), r"hue must lie in -0\.5 to 0\.5, got 0\.6"),
        (
            lambda: transforms.adjust_saturation(PHOTO[..., :2], 1.0),
            r"1 or 3 channels.*\(20, 30, 2",
        ),
        (lambda: transforms.grayscale(PHOTO, 2), r"num_channels must be 1 or 3, got 2"),
        (lambda: transforms.solarize(PHOTO, 256), r"0 to 255 for uint8, got 256"),
        (lambda: transforms.solarize(PHOTO / np.float32(255), 128), r"0 to 1 for float32, got 128"),
        (lambda: transforms.posterize(PHOTO, 9), r"bits must be a whole number in 0 to 8, got 9"),
        (lambda: transforms.equalize(PHOTO[0]), r"expected an image \(H, W, C\).*\(30, 3\)"),
        (lambda: transforms.color_jitter(brightness=-1.0), r"brightness must be 0 or greater"),
        (lambda: transforms.color_jitter(contrast=(1.5, 0.5)), r"contrast must be .*in order"),
        (lambda: transforms.color_jitter(hue=0.7), r"hue must be .*within -0\.5 to 0\.5"),
        (
            lambda: transforms.color_jitter(0.5)(jax.random.key(0), PHOTO[..., :2]),
            r"1 or 3 channels",
        ),
    ],
)
def test_color_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Mixing


@pytest.mark.slow
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
