"""Mixup, cutmix and differentiable augmentation."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Key, Real

from jaxdl._checks import check_fraction, check_positive, check_shape
from jaxdl.transforms._image import Augment
from jaxdl.transforms.cropping import random_crop, random_erase
from jaxdl.types import Array

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

    def apply(
        key: Key[Array, ""], images: Real[Array, "B H W C"]
    ) -> tuple[Float[Array, "B H W C"], Int[Array, " B"], Float[Array, ""]]:
        _check_batch(images)
        weight_key, partner_key = jax.random.split(key)
        weight = jax.random.beta(weight_key, alpha, alpha)
        partner = jax.random.permutation(partner_key, images.shape[0])
        share = weight.astype(images.dtype)
        return share * images + (1 - share) * images[partner], partner, weight

    return apply


def cutmix(alpha: float = 1.0) -> Mix:
    r"""Makes the function that pastes a rectangle of another image into every image of a batch.

    The rectangle has :math:`\sqrt{1 - \lambda}` of height and width, λ from Beta(a, a), its center
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
    >>> set(mixed.ravel().tolist())
    {0.0, 1.0}
    """
    check_positive(alpha=alpha)

    def apply(
        key: Key[Array, ""], images: Real[Array, "B H W C"]
    ) -> tuple[Float[Array, "B H W C"], Int[Array, " B"], Float[Array, ""]]:
        _check_batch(images)
        weight_key, partner_key, row_key, column_key = jax.random.split(key, 4)
        share = jnp.sqrt(1 - jax.random.beta(weight_key, alpha, alpha))
        partner = jax.random.permutation(partner_key, images.shape[0])
        inside = []
        for axis_key, size in ((row_key, images.shape[1]), (column_key, images.shape[2])):
            center = jax.random.randint(axis_key, (), 0, size)
            half = (size * share / 2).astype(jnp.int32)
            pixels = jnp.arange(size)
            inside.append((pixels >= center - half) & (pixels < center + half))
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


def differentiable_augment(
    *, translation: float = 0.125, cutout: float = 0.5, color: bool = True
) -> Augment:
    """Makes an augmentation through which gradients pass: color, shift and cutout.

    Applied to real and generated images alike, it keeps a discriminator from memorizing a small
    training set.

    Args:
        translation: largest shift up, down, left or right, a fraction of height and width; what
            comes in is 0.
        cutout: side of a rectangle that is set to 0, a fraction of height and width; 0 cuts none.
        color: add a brightness from U(-½, ½), multiply the distance of the channels from their mean
            by U(0, 2) and that of the pixels from theirs by U(½, 3/2).

    Returns:
        ``(key, image (H, W, C)) -> image``, floating point.

    Raises:
        ValueError: a fraction outside 0 to 1; when called, an image that is not (H, W, C).

    Source: Zhao et al. 2020 (DiffAugment), policy "color,translation,cutout"; here the rectangle
    lies wholly in the image.

    >>> cut = jax.jit(differentiable_augment(translation=0.0, cutout=0.5, color=False))
    >>> float(cut(jax.random.key(0), jnp.ones((4, 4, 1))).sum())  # 2x2 of 4x4 pixels are gone
    12.0
    """
    check_fraction(translation=translation, cutout=cutout)

    def augment(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "H W C"]:
        check_shape("image", image, (None, None, None))
        color_key, move_key, cut_key = jax.random.split(key, 3)
        if color:
            image = _recolor(color_key, image)
        rows, columns = (int(size * translation + 0.5) for size in image.shape[:2])
        image = random_crop((rows, columns))(move_key, image)
        if cutout > 0:
            area = (cutout**2, cutout**2)
            image = random_erase(1.0, scale=area, ratio=(1.0, 1.0))(cut_key, image)
        return image

    return augment


def _recolor(key: Array, image: Array) -> Array:
    brightness_key, saturation_key, contrast_key = jax.random.split(key, 3)
    image = image + jax.random.uniform(brightness_key, (), image.dtype, -0.5, 0.5)
    gray = image.mean(axis=-1, keepdims=True)
    image = gray + (image - gray) * jax.random.uniform(saturation_key, (), image.dtype, 0.0, 2.0)
    middle = image.mean()
    return middle + (image - middle) * jax.random.uniform(contrast_key, (), image.dtype, 0.5, 1.5)
