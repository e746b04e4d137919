"""Augmentation policies: RandAugment, TrivialAugment and the ImageNet recipe."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key, Real

from jaxdl.transforms._image import Augment, check_images, one_image
from jaxdl.transforms.color import (
    autocontrast,
    blend,
    equalize,
    grayscale,
    mean_gray,
    posterize,
    solarize,
)
from jaxdl.transforms.composition import compose, fixed
from jaxdl.transforms.cropping import center_crop, random_flip
from jaxdl.transforms.filters import smooth
from jaxdl.transforms.geometry import INTERPOLATIONS, inverse_matrix, warp
from jaxdl.transforms.pixels import normalize
from jaxdl.transforms.resizing import random_resized_crop, resize
from jaxdl.types import Array

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


OPERATIONS = (
    "Identity",
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
    "Posterize",
    "Solarize",
    "AutoContrast",
    "Equalize",
)
"""What RandAugment and TrivialAugment choose from, as torchvision names and orders it."""


SIGNED = np.array([1 <= index <= 9 for index in range(len(OPERATIONS))])
"""Whose magnitude may be negative, by operation."""


def rand_augment(
    num_ops: int = 2,
    magnitude: int = 9,
    num_bins: int = 31,
    *,
    interpolation: str = "nearest",
    fill: float = 0.0,
) -> Augment:
    """RandAugment: random operations of fourteen, at a fixed magnitude.

    Args:
        num_ops: number of operations, applied in sequence.
        magnitude: column of the table of magnitudes, from 0.
        num_bins: columns of the table; shears reach a slope of 0.3, shifts 150 / 331 of the side,
            rotations 30 degrees, blends a factor of 1 ± 0.9, posterizing four bits.
        interpolation: ``nearest`` or ``bilinear``, for shears and rotations.
        fill: value of pixels outside the image, 0 to 255.

    Returns:
        an augmentation of one uint8 image (H, W, C) with 1 or 3 channels.

    Raises:
        ValueError: a magnitude outside the table; an image that is not uint8 (H, W, C).

    Source: Cubuk et al. 2019 (RandAugment); ``torchvision.transforms.RandAugment``.

    >>> augment = jax.jit(rand_augment())
    >>> augment(jax.random.key(0), jnp.zeros((8, 8, 3), jnp.uint8)).shape
    (8, 8, 3)
    """
    _check(num_bins, interpolation)
    if num_ops < 0:
        raise ValueError(f"num_ops must be 0 or greater, got {num_ops}.")
    if not 0 <= magnitude < num_bins:
        raise ValueError(
            f"magnitude must lie in 0 to {num_bins - 1}, a column of the table, got {magnitude}."
        )

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = _check_uint8(image)
        column = rand_augment_table(num_bins, *image.shape[:2])[:, magnitude]
        for step in jax.random.split(key, num_ops):
            image = _random_operation(step, image, column[:, None], interpolation, fill)
        return image

    return apply


def trivial_augment(
    num_bins: int = 31, *, interpolation: str = "nearest", fill: float = 0.0
) -> Augment:
    """TrivialAugment (wide): one random operation of fourteen, at a random magnitude.

    Args:
        num_bins: number of magnitudes; shears reach a slope of 0.99, shifts 32 pixels, rotations
            135 degrees, blends a factor of 1 ± 0.99, posterizing two bits.
        interpolation: as for :func:`rand_augment`.
        fill: as for :func:`rand_augment`.

    Returns:
        an augmentation of one uint8 image (H, W, C) with 1 or 3 channels.

    Raises:
        ValueError: as :func:`rand_augment`.

    Source: Müller and Hutter 2021 (TrivialAugment);
    ``torchvision.transforms.TrivialAugmentWide``.

    >>> augment = jax.jit(trivial_augment())
    >>> augment(jax.random.key(0), jnp.zeros((8, 8, 3), jnp.uint8)).shape
    (8, 8, 3)
    """
    _check(num_bins, interpolation)
    table = trivial_augment_table(num_bins)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        return _random_operation(key, _check_uint8(image), table, interpolation, fill)

    return apply


def rand_augment_table(num_bins: int, height: int, width: int) -> np.ndarray:
    """RandAugment's magnitudes (operation, bin) for images of a size, float32; 0 for no magnitude.

    Source: ``torchvision.transforms.RandAugment._augmentation_space``.

    >>> round(float(rand_augment_table(31, 32, 32)[OPERATIONS.index("Rotate"), 9]), 6)
    9.0
    """
    return _table(num_bins, 0.3, (150 / 331 * width, 150 / 331 * height), 30.0, 0.9, 4)


def trivial_augment_table(num_bins: int) -> np.ndarray:
    """TrivialAugment's magnitudes (operation, bin), float32; 0 for no magnitude.

    Source: ``torchvision.transforms.TrivialAugmentWide._augmentation_space``.
    """
    return _table(num_bins, 0.99, (32.0, 32.0), 135.0, 0.99, 6)


def _table(
    num_bins: int,
    shear: float,
    shift: tuple[float, float],
    degrees: float,
    factor: float,
    bits: int,
) -> np.ndarray:
    rise = np.linspace(0, 1, num_bins)
    lost = np.round(np.arange(num_bins) / ((num_bins - 1) / bits))
    largest = [0.0, shear, shear, *shift, degrees, *(factor,) * 4]
    rows = [*(top * rise for top in largest), 8 - lost, 255 * (1 - rise), 0 * rise, 0 * rise]
    return np.stack(rows).astype(np.float32)


def _random_operation(
    key: Array, image: Array, table: np.ndarray, interpolation: str, fill: float
) -> Array:
    """Applies a random operation with a magnitude from its row of the table and a random sign."""
    operation_key, bin_key, sign_key = jax.random.split(key, 3)
    operation = jax.random.randint(operation_key, (), 0, len(OPERATIONS))
    column = jax.random.randint(bin_key, (), 0, table.shape[1])
    negative = jax.random.bernoulli(sign_key) & jnp.asarray(SIGNED)[operation]
    magnitude = jnp.asarray(table)[operation, column]
    magnitude = jnp.where(negative, -magnitude, magnitude)
    return apply_operation(image, operation, magnitude, interpolation, fill)


def apply_operation(
    image: Array, operation: Array, magnitude: Array, interpolation: str, fill: float
) -> Array:
    """Applies one of :data:`OPERATIONS`, by index, to a uint8 image.

    Under ``vmap`` all branches are computed and one is selected. The five geometric operations
    therefore share one resampling, and the four that blend share one blend.
    """

    def is_one(*names: str) -> Array:
        return jnp.isin(operation, jnp.array([OPERATIONS.index(name) for name in names]))

    def only(name: str) -> Array:
        return jnp.where(is_one(name), magnitude, 0.0)

    height, width, _ = image.shape
    # Rotations are counterclockwise about the middle; shears start at the upper left corner.
    inverse = inverse_matrix(-jnp.deg2rad(only("Rotate")), only("ShearX"), only("ShearY"), 1.0)
    corner = is_one("ShearX", "ShearY")
    center = (jnp.where(corner, 0.0, width / 2), jnp.where(corner, 0.0, height / 2))
    shift = (jnp.trunc(only("TranslateX")), jnp.trunc(only("TranslateY")))
    moved = warp(image, inverse, shift, center, interpolation, fill)
    dull = jnp.where(is_one("Color"), grayscale(image), jnp.zeros((), jnp.uint8))
    dull = jnp.where(is_one("Sharpness"), smooth(image), dull).astype(jnp.float32)
    dull = jnp.where(is_one("Contrast"), mean_gray(image), dull)
    blended = blend(dull, image, 1.0 + magnitude)
    changed = jnp.where(is_one("Brightness", "Color", "Contrast", "Sharpness"), blended, image)
    changed = jnp.where(is_one("Posterize"), posterize(image, magnitude), changed)
    changed = jnp.where(is_one("Solarize"), solarize(image, magnitude), changed)
    changed = jnp.where(is_one("AutoContrast"), autocontrast(image), changed)
    changed = jnp.where(is_one("Equalize"), equalize(image), changed)
    moves = is_one("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    return jnp.where(moves, moved, changed)


def _check(num_bins: int, interpolation: str) -> None:
    if num_bins < 2:
        raise ValueError(f"num_bins must be 2 or greater, got {num_bins}.")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
        )


def _check_uint8(image: Array) -> Array:
    image = check_images(one_image(image), 1, 3)
    if image.dtype != jnp.uint8:
        raise ValueError(
            f"this augmentation takes uint8 images, got {image.dtype}. Put it before normalize, or "
            "convert with to_uint8 first."
        )
    return image


def imagenet_train(size: int = 224) -> Augment:
    """ImageNet's training transform: random resized crop, random flip, normalize.

    Args:
        size: side of the result.

    Returns:
        ``(key, image (H, W, 3)) -> image (size, size, 3)``, float32, normalized. Pass
        it as ``augment`` of ``train.supervised``, without ``preprocess``.

    Source: torchvision's ``RandomResizedCrop(224)``, ``RandomHorizontalFlip()``,
    ``ToTensor()``, ``Normalize(...)``.

    >>> augment = jax.jit(imagenet_train(8))
    >>> augment(jax.random.key(0), jnp.zeros((10, 12, 3), jnp.uint8)).shape
    (8, 8, 3)
    """
    return compose(
        random_resized_crop(size),
        random_flip(),
        fixed(normalize(IMAGENET_MEAN, IMAGENET_STD)),
    )


def imagenet_eval(size: int = 224, resize_to: int | None = None) -> Callable[[Array], Array]:
    """ImageNet's evaluation transform: resize, center crop, normalize.

    Args:
        size: side of the result.
        resize_to: length of the shorter side before the crop; by default size · 8 / 7, 256 for 224.

    Returns:
        a function of one image (H, W, 3) or a batch (B, H, W, 3) to float32; pass it as
        ``preprocess`` of the loss function that ``train.make_eval`` gets.

    Raises:
        ValueError: ``resize_to`` is less than ``size``.

    Source: torchvision's ``Resize(256)``, ``CenterCrop(224)``, ``ToTensor()``,
    ``Normalize(...)``.

    >>> preprocess = jax.jit(imagenet_eval(7))
    >>> preprocess(jnp.zeros((2, 16, 20, 3), jnp.uint8)).shape
    (2, 7, 7, 3)
    """
    shorter = round(size * 8 / 7) if resize_to is None else resize_to
    if shorter < size:
        raise ValueError(f"resize_to must be at least size, {size}, got {resize_to}.")
    scale = normalize(IMAGENET_MEAN, IMAGENET_STD)

    def apply(image: Real[Array, "*B H W C"]) -> Float[Array, "*B h w C"]:
        return scale(center_crop(resize(image, shorter), size))

    return apply
