"""Overwriting a rectangle of an image."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.transforms.images import (
    TINY,
    Augment,
    check_images,
    check_probability,
    check_range,
    one_image,
    uniform,
)
from jaxdl.types import Array


def erase(image: Array, top: Any, left: Any, height: Any, width: Any, value: Any = 0.0) -> Array:
    """Overwrites a rectangle with a value; what of it lies outside the image is nothing.

    Args:
        image: (..., H, W, C).
        top: first row; it and the three that follow may be traced.
        left: first column.
        height: rows.
        width: columns.
        value: a number, or one for every channel (C,), on the scale of the image.

    Raises:
        ValueError: a value of another shape.

    Counterpart: ``torchvision.transforms.functional.erase``.

    >>> erase(jnp.ones((2, 3, 1)), 0, 1, 1, 2)[..., 0].tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    image = check_images(image)
    value = jnp.asarray(value, image.dtype)
    if value.ndim and value.shape not in ((1,), image.shape[-1:]):
        raise ValueError(
            f"value must be a number or one for each of {image.shape[-1]} channels, got shape "
            f"{value.shape}."
        )
    row = jnp.arange(image.shape[-3]).reshape(-1, 1, 1)
    column = jnp.arange(image.shape[-2]).reshape(1, -1, 1)
    inside = (row >= top) & (row < top + height) & (column >= left) & (column < left + width)
    shape = (1,) * (image.ndim - 3)
    value = value.reshape((1,) * (image.ndim - 1) + (-1,))
    return jnp.where(inside.reshape(shape + inside.shape), value, image)


def random_erase(
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: Any = 0.0,
) -> Augment:
    """Makes an augmentation that overwrites a random rectangle of an image (cutout).

    The area is uniform in ``scale`` · H · W, the logarithm of height / width uniform in the
    logarithm of ``ratio``, and the place uniform among those where the rectangle fits.

    Args:
        probability: of erasing anything.
        scale: smallest and largest area, as fractions of the image's.
        ratio: smallest and largest height / width.
        value: what to write, as for :func:`erase`: 0 to 255 for uint8.

    Raises:
        ValueError: a range that is empty, or a number outside its range; an image that is not
            (H, W, C).

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", algorithm 1. Counterpart:
    ``torchvision.transforms.RandomErasing``, which draws up to ten times until the rectangle
    fits; this draws once and shortens a side that is longer than the image's.

    >>> cut = random_erase(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    >>> float(cut(jax.random.key(0), jnp.ones((8, 8, 1))).sum())
    0.0
    """
    check_probability(probability)
    check_range("scale", scale, 0.0, 1.0)
    check_range("ratio", ratio, TINY, np.inf)

    def apply(key: Array, image: Array) -> Array:
        image = one_image(image)
        height, width, _ = image.shape
        coin, area_key, ratio_key, top_key, left_key = jax.random.split(key, 5)
        area = height * width * uniform(area_key, scale)
        aspect = jnp.exp(uniform(ratio_key, (np.log(ratio[0]), np.log(ratio[1]))))
        rows = jnp.clip(jnp.round(jnp.sqrt(area * aspect)), 0, height).astype(jnp.int32)
        columns = jnp.clip(jnp.round(jnp.sqrt(area / aspect)), 0, width).astype(jnp.int32)
        top = jax.random.randint(top_key, (), 0, height - rows + 1)
        left = jax.random.randint(left_key, (), 0, width - columns + 1)
        rows = jnp.where(jax.random.bernoulli(coin, probability), rows, 0)
        return erase(image, top, left, rows, columns, value)

    return apply
