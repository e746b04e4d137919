"""Crops, padding, flips and erasing."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real

from jaxdl.transforms._image import (
    TINY,
    Augment,
    Channels,
    Scalar,
    Size,
    check_images,
    check_probability,
    check_range,
    is_known,
    one_image,
    pair,
    uniform,
)
from jaxdl.types import Array

PADDING_MODES = ("constant", "edge", "reflect", "symmetric")


Sides = int | tuple[int | tuple[int, int], int | tuple[int, int]]
"""Pixels on every side, or (top and bottom, left and right), each a number or a pair."""


def crop(
    image: Real[Array, "*B H W C"], top: Scalar, left: Scalar, height: int, width: int
) -> Real[Array, "*B {height} {width} C"]:
    """Crops a rectangle.

    Args:
        image: (..., H, W, C).
        top: first row, a number or a traced integer.
        left: first column, likewise.
        height: rows of the result.
        width: columns of the result.

    Returns:
        (..., height, width, C). A traced ``top`` or ``left`` that reaches over the edge cannot be
        checked and is moved inwards.

    Raises:
        ValueError: a rectangle larger than the image, or that reaches over its edge.

    Source: ``torchvision.transforms.functional.crop``, which pads with zeros over the edge.

    >>> crop(jnp.arange(16).astype(jnp.uint8).reshape(4, 4, 1), 1, 2, 2, 2)[..., 0].tolist()
    [[6, 7], [10, 11]]
    """
    image = check_images(image)
    rows, columns = image.shape[-3:-1]
    height, width = pair("the crop", (height, width))
    _check_fits(height, width, rows, columns)
    for name, start, length, size in (
        ("top", top, height, rows),
        ("left", left, width, columns),
    ):
        if is_known(start) and not 0 <= start <= size - length:
            raise ValueError(
                f"{name} must lie in 0 to {size - length} for {length} of {size} pixels, "
                f"got {start}."
            )
    if is_known(top, left):
        return image[..., int(top) : int(top) + height, int(left) : int(left) + width, :]
    starts = (0,) * (image.ndim - 3) + (top, left, 0)
    return jax.lax.dynamic_slice(image, starts, (*image.shape[:-3], height, width, image.shape[-1]))


def center_crop(image: Real[Array, "*B H W C"], size: Size) -> Real[Array, "*B h w C"]:
    """Crops the center; row round((H − h) / 2) is the first, halves to even.

    Args:
        image: (..., H, W, C).
        size: (h, w), or one number for both.

    Returns:
        (..., h, w, C).

    Raises:
        ValueError: a size larger than the image.

    Source: ``torchvision.transforms.CenterCrop``, which pads a smaller image with zeros.

    >>> center_crop(jnp.zeros((218, 178, 3), jnp.uint8), 128).shape  # rows 45:173, columns 25:153
    (128, 128, 3)
    """
    image = check_images(image)
    height, width = pair("size", size)
    rows, columns = image.shape[-3:-1]
    _check_fits(height, width, rows, columns)
    return crop(image, round((rows - height) / 2), round((columns - width) / 2), height, width)


def _check_fits(height: int, width: int, rows: int, columns: int) -> None:
    if height > rows or width > columns:
        raise ValueError(
            f"a crop of {height}x{width} is larger than the image of {rows}x{columns} pixels. "
            "Make the image larger with pad or resize first, or crop less."
        )


def pad(
    image: Real[Array, "*B H W C"], padding: Sides, mode: str = "constant", value: float = 0.0
) -> Real[Array, "*B h w C"]:
    """Adds pixels around an image.

    Args:
        image: (..., H, W, C).
        padding: pixels on every side, or (top and bottom, left and right), each a number or a
            pair: ``((1, 2), 0)`` adds one row above and two below.
        mode: ``constant`` (``value``), ``edge`` (the outermost pixel), ``reflect`` (mirrored about
            it) or ``symmetric`` (mirrored with it).
        value: of ``constant``, on the scale of the image.

    Returns:
        (..., H', W', C).

    Raises:
        ValueError: a negative padding, an unknown mode, or more pixels than there are to mirror.

    Source: ``torchvision.transforms.Pad(padding, fill, padding_mode)``, whose order is left,
    top, right, bottom.

    >>> pad(jnp.array([[[1.0], [2.0], [3.0]]]), (0, 2), "reflect").ravel().tolist()
    [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    image = check_images(image)
    if mode not in PADDING_MODES:
        raise ValueError(f"mode must be one of {', '.join(PADDING_MODES)}, got {mode!r}.")
    sides = _sides(padding)
    for side, size in zip(sides, image.shape[-3:-1], strict=True):
        limit = size - 1 if mode == "reflect" else size
        if mode in ("reflect", "symmetric") and max(side) > limit:
            raise ValueError(
                f"{mode} can add at most {limit} pixels to a side of {size}, got {max(side)}."
            )
    widths = [(0, 0)] * (image.ndim - 3) + [*sides, (0, 0)]
    if mode == "constant":
        return jnp.pad(image, widths, constant_values=jnp.asarray(value, image.dtype))
    return jnp.pad(image, widths, mode=mode)


def _sides(padding: Sides) -> list[tuple[int, int]]:
    """((top, bottom), (left, right))."""
    both = (padding, padding) if isinstance(padding, int) else tuple(padding)
    sides = [(side, side) if isinstance(side, int) else tuple(side) for side in both]
    numbers = [number for side in sides for number in side]
    if len(sides) != 2 or len(numbers) != 4 or min(numbers) < 0:
        raise ValueError(f"padding must be 0 or greater, got {padding}.")
    return [(first, last) for first, last in sides]


def random_crop(
    padding: Sides = 0,
    *,
    size: Size | None = None,
    mode: str = "constant",
    value: float = 0.0,
) -> Augment:
    """Makes an augmentation that pads and cuts a rectangle out at a random place.

    Args:
        padding: pixels on every side, or (top and bottom, left and right), as for :func:`pad`.
        size: (height, width) of the result, or one number for both; by default that of the image,
            which then moves by up to ``padding`` pixels. Every place is equally likely.
        mode: of the padding, as for :func:`pad`.
        value: of the padding, likewise.

    Raises:
        ValueError: a negative padding; an image that is not (H, W, C) or smaller than ``size``.

    Source: ``torchvision.transforms.RandomCrop(size, padding)``. Zero is black in uint8 and
    float images before :func:`normalize`; augment first, then normalize.

    >>> random_crop(padding=2)(jax.random.key(0), jnp.ones((8, 8, 1))).shape
    (8, 8, 1)
    """
    _sides(padding)
    wanted = None if size is None else pair("size", size)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = one_image(image)
        height, width = wanted or image.shape[:2]
        padded = pad(image, padding, mode, value)
        rows, columns = padded.shape[:2]
        _check_fits(height, width, rows, columns)
        limits = jnp.array([rows - height + 1, columns - width + 1])
        top, left = jax.random.randint(key, (2,), 0, limits)
        return crop(padded, top, left, height, width)

    return apply


def flip(image: Real[Array, "*B H W C"], *, vertical: bool = False) -> Real[Array, "*B H W C"]:
    """Mirrors left to right, or top to bottom.

    Args:
        image: (..., H, W, C).
        vertical: swap top and bottom.

    Source: ``torchvision.transforms.functional.hflip`` and ``vflip``.

    >>> flip(jnp.array([[[1.0], [2.0], [3.0]]])).ravel().tolist()
    [3.0, 2.0, 1.0]
    """
    image = check_images(image)
    return image[..., ::-1, :, :] if vertical else image[..., ::-1, :]


def random_flip(probability: float = 0.5, *, vertical: bool = False) -> Augment:
    """Makes an augmentation that mirrors an image with the given probability.

    Args:
        probability: of mirroring.
        vertical: top to bottom instead of left to right.

    Raises:
        ValueError: a probability outside 0 to 1; an image that is not (H, W, C).

    Source: ``torchvision.transforms.RandomHorizontalFlip(p)`` and ``RandomVerticalFlip(p)``.

    >>> print(random_flip(1.0)(jax.random.key(0), jnp.array([[[1.0], [2.0], [3.0]]])).ravel())
    [3. 2. 1.]
    """
    check_probability(probability)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = one_image(image)
        mirrored = flip(image, vertical=vertical)
        return jnp.where(jax.random.bernoulli(key, probability), mirrored, image)

    return apply


def erase(
    image: Real[Array, "*B H W C"],
    top: Scalar,
    left: Scalar,
    height: Scalar,
    width: Scalar,
    value: Channels = 0.0,
) -> Real[Array, "*B H W C"]:
    """Overwrites a rectangle with a value; the part outside the image is ignored.

    Args:
        image: (..., H, W, C).
        top: first row; it and the three that follow may be traced.
        left: first column.
        height: rows.
        width: columns.
        value: a number, or one for every channel (C,), on the scale of the image.

    Raises:
        ValueError: a value of another shape.

    Source: ``torchvision.transforms.functional.erase``.

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
    value: Channels = 0.0,
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

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", algorithm 1;
    ``torchvision.transforms.RandomErasing``, which draws up to ten times until the rectangle
    fits; this draws once and shortens a side that is longer than the image's.

    >>> cut = jax.jit(random_erase(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0)))
    >>> float(cut(jax.random.key(0), jnp.ones((8, 8, 1))).sum())
    0.0
    """
    check_probability(probability)
    check_range("scale", scale, 0.0, 1.0)
    check_range("ratio", ratio, TINY, np.inf)

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
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
