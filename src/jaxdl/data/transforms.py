"""Pure image functions on the device: scaling, normalising, and random changes for training.

Augmentations are functions ``(key, image) -> image`` of ONE image (H, W, C), uint8 or floating
point; they keep shape and dtype. A batch takes one key an image::

    keys = jax.random.split(key, len(images))
    images = jax.vmap(augment)(keys, images)

Resizing is ``jax.image.resize``; a fixed crop is a slice.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.checks import check_positive
from jaxdl.types import Array

Augment = Callable[[Array, Array], Array]
"""``(key, image) -> image`` for one image (H, W, C)."""

_TINY = float(np.finfo(np.float32).tiny)


def to_float(image: Array) -> Array:
    """Scales uint8 to float32 in [0, 1], x / 255; floating point passes unchanged.

    Args:
        image: any shape, uint8 or floating point.

    Raises:
        ValueError: another dtype.

    Counterpart: ``torchvision.transforms.ToTensor``, which also moves the channels to the front;
    here images stay NHWC. XLA divides by multiplying with 1 / 255, so every other value differs
    from PyTorch's in its last bit.

    >>> to_float(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    image = jnp.asarray(image)
    if jnp.issubdtype(image.dtype, jnp.floating):
        return image
    if image.dtype != jnp.uint8:
        raise ValueError(
            f"image must be uint8 (0 to 255) or floating point, got {image.dtype}. "
            "Convert it with astype first."
        )
    return image.astype(jnp.float32) / 255


def normalize(mean: Any, std: Any) -> Callable[[Array], Array]:
    """Makes the function image ↦ (to_float(image) − mean) / std.

    Args:
        mean: a number, or one for every channel (C,), on the scale 0 to 1.
        std: likewise, greater than 0; ``jaxdl.data.mean_and_std`` measures both.

    Returns:
        a function of one image (H, W, C) or a batch (B, H, W, C), uint8 or floating point, to
        floating point of the same shape.

    Raises:
        ValueError: a std of 0 or less; mean or std of rank above 1; when called, C that differs.

    Counterpart: ``torchvision.transforms.Normalize`` after ``ToTensor``.

    >>> print(normalize(0.5, 0.25)(jnp.array([[[0.0], [1.0]]])).ravel())
    [-2.  2.]
    """
    statistics = {"mean": np.asarray(mean, np.float32), "std": np.asarray(std, np.float32)}
    for name, value in statistics.items():
        if value.ndim > 1 or not np.isfinite(value).all():
            raise ValueError(
                f"{name} must be a finite number or one for every channel (C,), got shape "
                f"{value.shape}: {value}."
            )
    if not (statistics["std"] > 0).all():
        raise ValueError(
            f"std must be greater than 0, got {statistics['std']}. A channel that never changes "
            "has std 0; use 1 for it."
        )

    def apply(image: Array) -> Array:
        image = to_float(image)

        def fit(name: str) -> Array:
            value = jnp.asarray(statistics[name], image.dtype)
            if value.ndim and (image.ndim == 0 or value.shape[0] not in (1, image.shape[-1])):
                raise ValueError(
                    f"{name} has {value.shape[0]} channels, got images of shape {image.shape} "
                    "(channels are the last axis)."
                )
            return value.reshape((1,) * (image.ndim - 1) + (-1,)) if value.ndim else value

        return (image - fit("mean")) / fit("std")

    return apply


def compose(*transforms: Augment) -> Augment:
    """Chains augmentations from left to right; each gets its own part of the key.

    Counterpart: ``torchvision.transforms.Compose``, with the randomness as an argument.

    >>> augment = compose(random_crop(padding=4), random_flip())
    >>> augment(jax.random.key(0), jnp.zeros((28, 28, 1), jnp.uint8)).shape
    (28, 28, 1)
    """

    def apply(key: Array, image: Array) -> Array:
        if not transforms:
            return image
        keys = jax.random.split(key, len(transforms))
        for index, transform in enumerate(transforms):
            image = transform(keys[index], image)
        return image

    return apply


def random_flip(probability: float = 0.5) -> Augment:
    """Makes an augmentation that mirrors an image left to right with the given probability.

    Raises:
        ValueError: a probability outside 0 to 1; an image that is not (H, W, C).

    Counterpart: ``torchvision.transforms.RandomHorizontalFlip(p)``.

    >>> print(random_flip(1.0)(jax.random.key(0), jnp.array([[[1.0], [2.0], [3.0]]])).ravel())
    [3. 2. 1.]
    """
    _check_probability(probability)

    def apply(key: Array, image: Array) -> Array:
        image = _one_image(image)
        return jnp.where(jax.random.bernoulli(key, probability), image[:, ::-1], image)

    return apply


def random_crop(padding: int | tuple[int, int]) -> Augment:
    """Makes an augmentation that pads with zeros and cuts the old size out at a random place.

    Args:
        padding: pixels on every side, or (top and bottom, left and right). An image moves by up
            to that many pixels in each direction, every offset equally likely.

    Raises:
        ValueError: a negative padding; an image that is not (H, W, C).

    Counterpart: ``torchvision.transforms.RandomCrop(size, padding)`` with size = (H, W). Zero is
    black in uint8 and float images before :func:`normalize`; augment first, then normalise.

    >>> random_crop(padding=2)(jax.random.key(0), jnp.ones((8, 8, 1))).shape
    (8, 8, 1)
    """
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    if min(rows, columns) < 0:
        raise ValueError(f"padding must be 0 or greater, got {padding}.")

    def apply(key: Array, image: Array) -> Array:
        image = _one_image(image)
        padded = jnp.pad(image, ((rows, rows), (columns, columns), (0, 0)))
        limits = jnp.array([2 * rows + 1, 2 * columns + 1])
        top, left = jax.random.randint(key, (2,), 0, limits)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)

    return apply


def random_erase(
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: float = 0.0,
) -> Augment:
    """Makes an augmentation that overwrites a random rectangle of an image (cutout).

    The area is uniform in ``scale`` · H · W, the logarithm of height / width uniform in the
    logarithm of ``ratio``, and the place uniform among those where the rectangle fits.

    Args:
        probability: of erasing anything.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest height / width.
        value: what to write, on the scale of the image: 0 to 255 for uint8.

    Raises:
        ValueError: a range that is empty, or a number outside its range; an image that is not
            (H, W, C).

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", algorithm 1. Counterpart:
    ``torchvision.transforms.RandomErasing``, which draws up to ten times until the rectangle
    fits; this draws once and shortens a side that is longer than the image's.

    >>> erase = random_erase(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    >>> float(erase(jax.random.key(0), jnp.ones((8, 8, 1))).sum())
    0.0
    """
    _check_probability(probability)
    _check_range("scale", scale, 0.0, 1.0)
    _check_range("ratio", ratio, _TINY, np.inf)

    def apply(key: Array, image: Array) -> Array:
        image = _one_image(image)
        height, width, _ = image.shape
        coin, area_key, ratio_key, top_key, left_key = jax.random.split(key, 5)
        area = height * width * _uniform(area_key, scale)
        aspect = jnp.exp(_uniform(ratio_key, (np.log(ratio[0]), np.log(ratio[1]))))
        rows = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 0, height).astype(jnp.int32)
        columns = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 0, width).astype(jnp.int32)
        top = jax.random.randint(top_key, (), 0, height - rows + 1)
        left = jax.random.randint(left_key, (), 0, width - columns + 1)
        row, column = jnp.arange(height)[:, None, None], jnp.arange(width)[None, :, None]
        inside = (row >= top) & (row < top + rows) & (column >= left) & (column < left + columns)
        erase = inside & jax.random.bernoulli(coin, probability)
        return jnp.where(erase, jnp.asarray(value, image.dtype), image)

    return apply


def random_affine(
    degrees: float | tuple[float, float],
    translate: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
) -> Augment:
    """Makes an augmentation that rotates, scales and shifts an image about its centre.

    A pixel at p moves to c + t + s · R(p − c), with c the image's centre, R the rotation, s the
    scale and t the shift. Values between pixels are bilinear; outside the image is zero.

    Args:
        degrees: smallest and largest angle, clockwise; one number d means (−d, d).
        translate: largest shift to the right or left and down or up, as fractions of the width
            and the height; whole pixels, as in torchvision.
        scale: smallest and largest factor; above 1 enlarges.

    Raises:
        ValueError: a range that is empty, a fraction outside 0 to 1, a factor of 0 or less; an
            image that is not (H, W, C).

    Counterpart: ``torchvision.transforms.RandomAffine`` with
    ``interpolation=InterpolationMode.BILINEAR`` and no shear.

    >>> turn = random_affine(degrees=(90, 90))
    >>> print(turn(jax.random.key(0), jnp.array([[[1], [2]], [[3], [4]]], jnp.uint8))[..., 0])
    [[3 1]
     [4 2]]
    """
    angles = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
    _check_range("degrees", angles, -np.inf, np.inf)
    for fraction in translate:
        _check_range("translate", (0.0, fraction), 0.0, 1.0)
    _check_range("scale", scale, _TINY, np.inf)

    def apply(key: Array, image: Array) -> Array:
        image = _one_image(image)
        height, width, _ = image.shape
        angle_key, scale_key, x_key, y_key = jax.random.split(key, 4)
        angle = jnp.deg2rad(_uniform(angle_key, angles))
        factor = _uniform(scale_key, scale)
        right = jnp.round(_uniform(x_key, (-translate[0] * width, translate[0] * width)))
        down = jnp.round(_uniform(y_key, (-translate[1] * height, translate[1] * height)))
        # Where a pixel of the result comes from: the inverse map.
        y, x = jnp.meshgrid(
            jnp.arange(height) - (height - 1) / 2 - down,
            jnp.arange(width) - (width - 1) / 2 - right,
            indexing="ij",
        )
        cosine, sine = jnp.cos(angle) / factor, jnp.sin(angle) / factor
        source = [
            cosine * y - sine * x + (height - 1) / 2,
            cosine * x + sine * y + (width - 1) / 2,
        ]
        channels = jax.vmap(
            lambda channel: jax.scipy.ndimage.map_coordinates(channel, source, order=1),
            in_axes=-1,
            out_axes=-1,
        )(image.astype(jnp.float32))
        if image.dtype == jnp.uint8:
            channels = jnp.round(channels).clip(0, 255)
        return channels.astype(image.dtype)

    return apply


def _uniform(key: Array, limits: tuple[Any, Any]) -> Array:
    return jax.random.uniform(key, (), minval=limits[0], maxval=limits[1])


def _one_image(image: Array) -> Array:
    image = jnp.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            f"an augmentation takes one image (H, W, C), got shape {image.shape}. For a batch: "
            "jax.vmap(augment)(jax.random.split(key, len(images)), images)."
        )
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image must be uint8 or floating point, got {image.dtype}.")
    return image


def _check_probability(probability: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in 0 to 1, got {probability}.")


def _check_range(name: str, limits: tuple[float, float], low: float, high: float) -> None:
    if not low <= limits[0] <= limits[1] <= high or not np.isfinite(limits).all():
        raise ValueError(
            f"{name} must be finite, in order and within {low:.6g} to {high:.6g}, got {limits}."
        )


Mix = Callable[[Array, Array], tuple[Array, Array, Array]]
"""``(key, images (B, H, W, C)) -> (images, partner (B,) int32, weight ())``: see :func:`mixup`."""


def mixup(alpha: float = 0.2) -> Mix:
    r"""Makes the function that blends every image of a batch with another one.

    .. math:: \tilde x_i = \lambda x_i + (1 - \lambda) x_{\pi(i)},\quad \lambda \sim Beta(a, a)

    One λ and one permutation π for the batch. ``train.supervised(..., mix=mixup(0.2))`` blends the
    losses alike.

    Args:
        alpha: a; near 0 almost nothing is mixed, 1 draws λ evenly.

    Returns:
        ``(key, images) -> (images, partner, weight)``: π (B,) int32 and λ, shape ().

    Raises:
        ValueError: ``alpha`` is not greater than 0; when called, images that are integers.

    Source: Zhang et al. 2018 (mixup), eq. 1; ``torchvision.transforms.v2.MixUp``.

    >>> images = jnp.arange(4.0).reshape(4, 1, 1, 1)
    >>> mixed, partner, weight = mixup(1.0)(jax.random.key(0), images)
    >>> bool(jnp.allclose(mixed, weight * images + (1 - weight) * images[partner]))
    True
    """
    check_positive(alpha=alpha)

    def apply(key: Array, images: Array) -> tuple[Array, Array, Array]:
        _check_batch(images)
        weight_key, partner_key = jax.random.split(key)
        weight = jax.random.beta(weight_key, alpha, alpha)
        partner = jax.random.permutation(partner_key, images.shape[0])
        share = weight.astype(images.dtype)
        return share * images + (1 - share) * images[partner], partner, weight

    return apply


def cutmix(alpha: float = 1.0) -> Mix:
    r"""Makes the function that pastes a rectangle of another image into every image of a batch.

    The rectangle has :math:`\sqrt{1 - \lambda}` of height and width, λ from Beta(a, a), its centre
    anywhere; where it reaches over the edge it is cut, and the weight is what is left of the image.

    Args:
        alpha: a, of the Beta distribution.

    Returns:
        ``(key, images) -> (images, partner, weight)``, as :func:`mixup`.

    Raises:
        ValueError: ``alpha`` is not greater than 0.

    Source: Yun et al. 2019 (CutMix), section 3.1; ``torchvision.transforms.v2.CutMix``.

    >>> images = jnp.arange(2.0).reshape(2, 1, 1, 1) * jnp.ones((2, 8, 8, 1))
    >>> mixed, _, weight = cutmix()(jax.random.key(3), images)
    >>> bool(jnp.isin(mixed, images).all())
    True
    """
    check_positive(alpha=alpha)

    def apply(key: Array, images: Array) -> tuple[Array, Array, Array]:
        _check_batch(images)
        weight_key, partner_key, row_key, column_key = jax.random.split(key, 4)
        share = jnp.sqrt(1 - jax.random.beta(weight_key, alpha, alpha))
        partner = jax.random.permutation(partner_key, images.shape[0])
        inside = []
        for axis_key, size in ((row_key, images.shape[1]), (column_key, images.shape[2])):
            centre = jax.random.randint(axis_key, (), 0, size)
            half = (size * share / 2).astype(jnp.int32)
            pixels = jnp.arange(size)
            inside.append((pixels >= centre - half) & (pixels < centre + half))
        box = inside[0].reshape(1, -1, 1, 1) & inside[1].reshape(1, 1, -1, 1)
        weight = 1 - box.mean(dtype=jnp.float32)
        return jnp.where(box, images[partner], images), partner, weight

    return apply


def _check_batch(images: Array) -> None:
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            "images must be a floating-point batch (B, H, W, C), got "
            f"{images.dtype} {images.shape}; to_float or normalize comes first."
        )
