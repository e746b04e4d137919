"""Chains: RandAugment's and TrivialAugment's operations and magnitudes, ImageNet's, choices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxdl import transforms
from jaxdl.transforms.policies import (
    OPERATIONS,
    apply_operation,
    rand_augment_table,
    trivial_augment_table,
)


def row(table, name):
    return table[OPERATIONS.index(name)]


# Tables


def test_magnitudes_are_those_of_torchvision():
    table = rand_augment_table(31, 32, 64)
    expected = {
        "Identity": 0,
        "ShearX": 0.09,  # 0.3 · 9 / 30
        "ShearY": 0.09,
        "TranslateX": 150 / 331 * 64 * 0.3,
        "TranslateY": 150 / 331 * 32 * 0.3,
        "Rotate": 9,
        "Brightness": 0.27,
        "Color": 0.27,
        "Contrast": 0.27,
        "Sharpness": 0.27,
        "Posterize": 7,  # 8 − round(9 / 7.5)
        "Solarize": 178.5,  # 255 · 21 / 30
        "AutoContrast": 0,
        "Equalize": 0,
    }
    assert tuple(expected) == OPERATIONS
    np.testing.assert_allclose(table[:, 9], list(expected.values()), rtol=1e-6)
    assert row(table, "Posterize")[[0, 3, 4, 11, 12, 30]].tolist() == [8, 8, 7, 7, 6, 4]
    wide = trivial_augment_table(31)
    tops = [0, 0.99, 0.99, 32, 32, 135, *[0.99] * 4, 2, 0, 0, 0]
    np.testing.assert_allclose(wide[:, 30], tops, rtol=1e-6)
    # round half to even, as torch: 2.5 / 5 steps of 1 / 5
    assert row(wide, "Posterize")[[0, 2, 3, 5, 10, 15]].tolist() == [8, 8, 7, 7, 6, 5]


RNG = np.random.default_rng(0)


# A dull picture, so that every operation changes it: autocontrast and equalize too.
IMAGE = jnp.asarray((40 + 150 * RNG.random((20, 24, 3))).astype(np.uint8))


# Operations

BY_HAND = {
    "Identity": lambda x, m: x,
    "ShearX": lambda x, m: transforms.affine(
        x, shear=(jnp.rad2deg(jnp.arctan(m)), 0), center=(0, 0), interpolation="nearest", fill=5
    ),
    "ShearY": lambda x, m: transforms.affine(
        x, shear=(0, jnp.rad2deg(jnp.arctan(m))), center=(0, 0), interpolation="nearest", fill=5
    ),
    "TranslateX": lambda x, m: transforms.translate(x, jnp.trunc(m), 0, fill=5),
    "TranslateY": lambda x, m: transforms.translate(x, 0, jnp.trunc(m), fill=5),
    "Rotate": lambda x, m: transforms.rotate(x, m, interpolation="nearest", fill=5),
    "Brightness": lambda x, m: transforms.adjust_brightness(x, 1 + m),
    "Color": lambda x, m: transforms.adjust_saturation(x, 1 + m),
    "Contrast": lambda x, m: transforms.adjust_contrast(x, 1 + m),
    "Sharpness": lambda x, m: transforms.adjust_sharpness(x, 1 + m),
    "Posterize": lambda x, m: transforms.posterize(x, m),
    "Solarize": lambda x, m: transforms.solarize(x, m),
    "AutoContrast": lambda x, m: transforms.autocontrast(x),
    "Equalize": lambda x, m: transforms.equalize(x),
}


MAGNITUDES = {
    "ShearX": 0.21,
    "ShearY": 0.21,
    "TranslateX": 2.7,
    "TranslateY": 2.7,
    "Rotate": 22.0,
    "Posterize": 3,
    "Solarize": 120.5,
}


@functools.cache
def operation():
    return jax.jit(functools.partial(apply_operation, interpolation="nearest", fill=5))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_the_function_of_its_name(name):
    by_hand = jax.jit(BY_HAND[name])
    for sign in (1, -1) if 1 <= OPERATIONS.index(name) <= 9 else (1,):
        magnitude = jnp.float32(sign * MAGNITUDES.get(name, 0.45))
        ours = operation()(IMAGE, OPERATIONS.index(name), magnitude)
        expected = by_hand(IMAGE, magnitude)
        difference = np.abs(np.asarray(ours, np.int32) - np.asarray(expected, np.int32))
        assert (difference > 0).mean() < 0.01  # last bits: a level, or a place between two pixels
        assert name == "Identity" or (expected != IMAGE).any()


@functools.cache
def operations():
    return jax.jit(jax.vmap(operation(), (None, 0, 0)))


def possible(table):
    """The results of all operations, magnitudes and signs, (operation · sign · bin, H · W · C)."""
    numbers = np.repeat(np.arange(len(OPERATIONS)), 4)
    signed = (numbers >= 1) & (numbers <= 9)
    signs = np.where(signed, np.tile([1, 1, -1, -1], len(OPERATIONS)), 1)
    magnitudes = np.tile(table, 2).ravel() * signs
    results = operations()(IMAGE, jnp.asarray(numbers), jnp.asarray(magnitudes, jnp.float32))
    return np.asarray(results, np.int32).reshape(len(numbers), -1)


@pytest.mark.slow
def test_trivial_augment_draws_operation_magnitude_and_sign_evenly():
    flat = possible(trivial_augment_table(2))
    augment = jax.jit(jax.vmap(transforms.trivial_augment(2, fill=5), (0, None)))
    drawn = np.asarray(augment(jax.random.split(jax.random.key(0), 1000), IMAGE), np.int32)
    different = (drawn.reshape(1000, 1, -1) != flat[None]).mean(-1)
    assert different.min(axis=1).max() < 0.01  # one of the possible results, but for last bits
    # How often each result comes, against the number of (operation, sign, bin) that give it.
    same = ((flat[:, None] != flat[None]).mean(-1) < 0.01).sum(1)
    assert len(np.unique(flat, axis=0)) == 20  # bin 0 mostly changes nothing
    expected = 1000 * same / 56
    counts = (different < 0.01).sum(0)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.slow
def test_rand_augment_applies_operations_of_one_magnitude():
    column = rand_augment_table(31, 20, 24)[:, 20:21]
    flat = possible(np.repeat(column, 2, axis=1))
    augment = jax.jit(jax.vmap(transforms.rand_augment(1, 20, fill=5), (0, None)))
    drawn = np.asarray(augment(jax.random.split(jax.random.key(3), 200), IMAGE), np.int32)
    different = (drawn.reshape(200, 1, -1) != flat[None]).mean(-1)
    assert different.min(axis=1).max() < 0.01
    assert len(set(different.argmin(axis=1) // 4)) >= 13
    none = transforms.rand_augment(num_ops=0)(jax.random.key(0), IMAGE)
    np.testing.assert_array_equal(none, IMAGE)


@pytest.mark.slow
def test_rand_augment_of_two_is_repeatable_and_differs_by_image():
    augment = jax.jit(jax.vmap(transforms.rand_augment(), (0, None)))
    first = augment(jax.random.split(jax.random.key(1), 8), IMAGE[..., :1])
    again = augment(jax.random.split(jax.random.key(1), 8), IMAGE[..., :1])
    np.testing.assert_array_equal(first, again)
    assert (first.shape, first.dtype) == ((8, 20, 24, 1), jnp.uint8)
    assert len(np.unique(np.asarray(first), axis=0)) >= 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.rand_augment(magnitude=31), r"magnitude must lie in 0 to 30.*got 31"),
        (lambda: transforms.rand_augment(magnitude=-1), r"magnitude must lie in 0 to 30.*got -1"),
        (lambda: transforms.rand_augment(-1), r"num_ops must be 0 or greater, got -1"),
        (lambda: transforms.trivial_augment(1), r"num_bins must be 2 or greater, got 1"),
        (lambda: transforms.trivial_augment(interpolation="no"), r"interpolation must be one of"),
        (
            lambda: transforms.trivial_augment()(jax.random.key(0), IMAGE / 255),
            r"takes uint8 images, got float32.*before normalize",
        ),
        (
            lambda: transforms.rand_augment()(jax.random.key(0), IMAGE[..., :2]),
            r"1 or 3 channels.*\(20, 24, 2\)",
        ),
        (
            lambda: transforms.rand_augment()(jax.random.key(0), IMAGE[None]),
            r"takes one image \(H, W, C\)",
        ),
        (lambda: transforms.imagenet_eval(224, 200), r"resize_to must be at least size, 224"),
    ],
)
def test_policy_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ImageNet

PHOTO = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_imagenet_evaluation_chain_is_that_of_torchvision_with_pillow():
    # Resize(256), CenterCrop(224) in small: 32 and 28; 40x50 becomes 32x40, cut at 2 and 6.
    resized = Image.fromarray(PHOTO).resize((40, 32), Image.Resampling.BILINEAR)
    cut = np.asarray(resized, np.float64)[2:30, 6:34] / 255
    evaluate = jax.jit(transforms.imagenet_eval(28))
    images = evaluate(jnp.asarray(np.stack([PHOTO, PHOTO])))
    assert images.dtype == jnp.float32
    level = 1.01 / 255 / STD.min()
    np.testing.assert_allclose(images[1], (cut - MEAN[None, None]) / STD[None, None], atol=level)
    large = jax.ShapeDtypeStruct((2, 300, 280, 3), jnp.uint8)
    assert jax.eval_shape(transforms.imagenet_eval(), large).shape == (2, 224, 224, 3)


@pytest.mark.slow
def test_imagenet_training_chain_crops_flips_and_normalizes():
    # A picture whose columns brighten to the right: the chain shows the crop's ends and the flip.
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8).reshape(1, -1, 1), (150, 200, 3))
    chain = jax.jit(jax.vmap(transforms.imagenet_train(16), (0, None)))
    images = np.asarray(chain(jax.random.split(jax.random.key(0), 400), jnp.asarray(ramp)))
    assert images.shape == (400, 16, 16, 3)
    pixels = (images * STD[None, None, None] + MEAN[None, None, None]) * 255
    # gray stays gray, but for halves, which the last bit rounds up or down
    np.testing.assert_allclose(pixels[..., 0], pixels[..., 2], atol=1.001)
    slope = pixels[:, 8, -1, 0] - pixels[:, 8, 0, 0]
    assert abs((slope < 0).mean() - 0.5) < 4 * 0.5 / np.sqrt(400)
    # Centers of the first and the last of 16 pixels are 15/16 of the crop's width apart.
    width = np.abs(slope) * 16 / 15
    assert width.min() > np.sqrt(0.08 * 30000 * 3 / 4) - 3
    assert width.max() < 201
    assert width.max() - width.min() > 100
