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


# What holds for every augmentation


@pytest.mark.slow
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
