"""Affine transforms: rotation, scaling, shear and translation."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Key, Real

from jaxdl.transforms._image import (
    TINY,
    Augment,
    Scalar,
    check_images,
    check_range,
    is_known,
    one_image,
    rounded_like,
    uniform,
)
from jaxdl.types import Array

INTERPOLATIONS = ("nearest", "bilinear")


Degrees = float | tuple[float, float]
"""Smallest and largest angle; one number d means (−d, d)."""


def affine(
    image: Real[Array, "*B H W C"],
    degrees: Scalar = 0.0,
    translate: tuple[Scalar, Scalar] = (0.0, 0.0),
    scale: Scalar = 1.0,
    shear: tuple[Scalar, Scalar] = (0.0, 0.0),
    *,
    center: tuple[Scalar, Scalar] | None = None,
    interpolation: str = "bilinear",
    fill: float = 0.0,
) -> Real[Array, "*B H W C"]:
    """Rotates, scales, shears and shifts an image about a point.

    A pixel at p = (x, y) moves to c + t + s · R · Y · X (p − c), with the rotation R, the shears
    X = [[1, −tan a], [0, 1]] and Y = [[1, 0], [−tan b, 1]], the scale s, the shift t.

    Args:
        image: (..., H, W, C).
        degrees: clockwise.
        translate: pixels to the right and down; fractions of pixels are interpolated.
        scale: above 1 enlarges.
        shear: a and b, degrees.
        center: c as (x, y) in pixels from the upper left corner; the image's middle by default.
        interpolation: ``bilinear`` between pixel centers, or ``nearest``.
        fill: what lies outside the image, on its scale.

    Returns:
        (..., H, W, C) in the image's dtype; uint8 is rounded. All but the image and the
        interpolation may be traced.

    Raises:
        ValueError: a scale of 0 or less, a shear of 90 degrees or more, an unknown interpolation.

    Source: ``torchvision.transforms.functional.affine``, which reads like
    ``torch.nn.functional.grid_sample(align_corners=False)``. At the edge this blends once with
    ``fill``, torchvision twice where ``fill`` is not 0.

    >>> turn = jax.jit(lambda image: affine(image, 90))
    >>> turn(jnp.array([[[1], [2]], [[3], [4]]], jnp.uint8))[..., 0].tolist()
    [[3, 1], [4, 2]]
    """
    image = check_images(image)
    if is_known(scale) and not scale > 0:
        raise ValueError(f"scale must be greater than 0, got {scale}.")
    for angle in shear:
        if is_known(angle) and not abs(float(angle)) < 90:
            raise ValueError(f"shear must lie between -90 and 90 degrees, got {shear}.")
    turn, shear_x, shear_y = (jnp.deg2rad(jnp.asarray(a, jnp.float32)) for a in (degrees, *shear))
    inverse = inverse_matrix(turn, jnp.tan(shear_x), jnp.tan(shear_y), scale)
    return warp(image, inverse, translate, center, interpolation, fill)


def inverse_matrix(
    turn: Scalar, shear_x: Scalar, shear_y: Scalar, scale: Scalar
) -> tuple[Array, ...]:
    """The inverse of s · R · Y · X, as (xx, xy, yx, yy); the angle in radians, shears as slopes."""
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    # R · Y · X; its determinant is 1
    a, b = cosine + sine * shear_y, -sine
    b, d = b - a * shear_x, cosine
    c = sine - cosine * shear_y
    d = d - c * shear_x
    return d / scale, -b / scale, -c / scale, a / scale


def warp(
    image: Array,
    inverse: tuple[Array, ...],
    translate: tuple[Scalar, Scalar],
    center: tuple[Scalar, Scalar] | None,
    interpolation: str,
    fill: float,
) -> Array:
    """Reads the image where a linear map about ``center`` and a shift put every new pixel."""
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
        )
    height, width = image.shape[-3:-1]
    center_x, center_y = (width / 2, height / 2) if center is None else center
    center_x, center_y = center_x - 0.5, center_y - 0.5  # as an index
    x = (jnp.arange(width) - center_x - translate[0]).reshape(1, -1)
    y = (jnp.arange(height) - center_y - translate[1]).reshape(-1, 1)
    xx, xy, yx, yy = inverse
    places = (yx * x + yy * y + center_y, xx * x + xy * y + center_x)
    values = _read(image, *places, interpolation, fill)
    return values if interpolation == "nearest" else rounded_like(values, image)


def _read(image: Array, y: Array, x: Array, interpolation: str, fill: float) -> Array:
    """The image's values at places (H', W'), as indices; outside it is ``fill``."""
    height, width, channels = image.shape[-3:]
    # A frame of fill around the image, and places no farther out than it, save a test a pixel.
    frame = [(0, 0)] * (image.ndim - 3) + [(1, 2), (1, 2), (0, 0)]
    framed = jnp.pad(image, frame, constant_values=jnp.asarray(fill, image.dtype))
    flat = framed.reshape(*image.shape[:-3], -1, channels)
    y, x = jnp.clip(y, -1, height), jnp.clip(x, -1, width)
    whole = jnp.round if interpolation == "nearest" else jnp.floor
    top, left = whole(y), whole(x)
    index = (top.astype(jnp.int32) + 1) * (width + 3) + left.astype(jnp.int32) + 1

    def take(offset: int) -> Array:
        return flat.at[..., index + offset, :].get(mode="promise_in_bounds")

    if interpolation == "nearest":
        return take(0)
    shape = (1,) * (image.ndim - 3) + (*y.shape, 1)
    down, right = (y - top).reshape(shape), (x - left).reshape(shape)
    above = take(0) * (1 - right) + take(1) * right
    below = take(width + 3) * (1 - right) + take(width + 4) * right
    return above * (1 - down) + below * down


def rotate(
    image: Real[Array, "*B H W C"],
    degrees: Scalar,
    *,
    interpolation: str = "bilinear",
    fill: float = 0.0,
) -> Real[Array, "*B H W C"]:
    """Rotates an image about its middle, counterclockwise; the size stays.

    Args:
        image: (..., H, W, C).
        degrees: the angle; may be traced.
        interpolation: ``bilinear`` or ``nearest``.
        fill: what lies outside the image, on its scale.

    Raises:
        ValueError: an unknown interpolation.

    Source: ``torchvision.transforms.functional.rotate`` and Pillow's ``Image.rotate``, whose
    default interpolation is nearest. Mind the sign: :func:`affine` turns clockwise, as in
    torchvision.

    >>> turn = jax.jit(lambda image: rotate(image, 90))
    >>> turn(jnp.array([[[1], [2]], [[3], [4]]], jnp.uint8))[..., 0].tolist()
    [[2, 4], [1, 3]]
    """
    return affine(image, -degrees, interpolation=interpolation, fill=fill)


def translate(
    image: Real[Array, "*B H W C"],
    right: Scalar,
    down: Scalar,
    *,
    interpolation: str = "bilinear",
    fill: float = 0.0,
) -> Real[Array, "*B H W C"]:
    """Shifts an image; what comes in is ``fill``. At random: ``random_affine(0, translate=…)``.

    Args:
        image: (..., H, W, C).
        right: pixels to the right, negative to the left; may be traced.
        down: pixels down, negative up; may be traced.
        interpolation: of fractions of pixels, ``bilinear`` or ``nearest``.
        fill: on the image's scale.

    Raises:
        ValueError: an unknown interpolation.

    >>> shift = jax.jit(lambda image: translate(image, 1, 0))
    >>> shift(jnp.array([[[1.0], [2.0], [3.0]]])).ravel().tolist()
    [0.0, 1.0, 2.0]
    """
    return affine(image, translate=(right, down), interpolation=interpolation, fill=fill)


def random_affine(
    degrees: Degrees,
    translate: tuple[float, float] = (0.0, 0.0),
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float | tuple[float, float] | tuple[float, float, float, float] = 0.0,
    *,
    interpolation: str = "bilinear",
    fill: float = 0.0,
) -> Augment:
    """Makes an augmentation that rotates, scales, shears and shifts an image about its center.

    Args:
        degrees: smallest and largest angle, clockwise; one number d means (−d, d).
        translate: largest shift to the right or left and down or up, as fractions of the width
            and the height; whole pixels, as in torchvision.
        scale: smallest and largest factor; above 1 enlarges.
        shear: smallest and largest angle a of :func:`affine`, optionally followed by those of b;
            one number d means (−d, d) for a.
        interpolation: ``bilinear`` or ``nearest``.
        fill: what lies outside the image, on its scale.

    Raises:
        ValueError: a range that is empty, a fraction outside 0 to 1, a factor of 0 or less, an
            unknown interpolation; an image that is not (H, W, C).

    Source: ``torchvision.transforms.RandomAffine``, whose default interpolation is nearest.

    >>> turn = jax.jit(random_affine(degrees=(90.0, 90.0)))
    >>> print(turn(jax.random.key(0), jnp.array([[[1], [2]], [[3], [4]]], jnp.uint8))[..., 0])
    [[3 1]
     [4 2]]
    """
    angles = _degrees("degrees", degrees)
    for fraction in translate:
        check_range("translate", (0.0, fraction), 0.0, 1.0)
    check_range("scale", scale, TINY, np.inf)
    shears = _shears(shear)
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}."
        )

    def apply(key: Key[Array, ""], image: Real[Array, "H W C"]) -> Real[Array, "h w C"]:
        image = one_image(image)
        height, width, _ = image.shape
        keys = jax.random.split(key, 6)
        right = jnp.round(uniform(keys[2], (-translate[0] * width, translate[0] * width)))
        down = jnp.round(uniform(keys[3], (-translate[1] * height, translate[1] * height)))
        return affine(
            image,
            uniform(keys[0], angles),
            (right, down),
            uniform(keys[1], scale),
            (uniform(keys[4], shears[0]), uniform(keys[5], shears[1])),
            interpolation=interpolation,
            fill=fill,
        )

    return apply


def random_rotation(
    degrees: Degrees, *, interpolation: str = "bilinear", fill: float = 0.0
) -> Augment:
    """Makes an augmentation that rotates an image about its middle.

    Args:
        degrees: smallest and largest angle, counterclockwise; one number d means (−d, d).
        interpolation: ``bilinear`` or ``nearest``.
        fill: what lies outside the image, on its scale.

    Raises:
        ValueError: a range that is empty, an unknown interpolation; an image that is not
            (H, W, C).

    Source: ``torchvision.transforms.RandomRotation``, whose default interpolation is nearest.

    >>> augment = jax.jit(random_rotation(15.0))
    >>> augment(jax.random.key(0), jnp.zeros((8, 8, 1), jnp.uint8)).shape
    (8, 8, 1)
    """
    low, high = _degrees("degrees", degrees)
    return random_affine((-high, -low), interpolation=interpolation, fill=fill)


def _degrees(name: str, degrees: Degrees) -> tuple[float, float]:
    angles = degrees if isinstance(degrees, tuple) else (-degrees, degrees)
    check_range(name, angles, -np.inf, np.inf)
    return angles


def _shears(
    shear: Degrees | tuple[float, float, float, float],
) -> tuple[tuple[float, float], tuple[float, float]]:
    angles = shear if isinstance(shear, tuple) else (-shear, shear)
    if len(angles) not in (2, 4):
        raise ValueError(f"shear must be a number, a pair or four numbers, got {shear}.")
    both = (angles[:2], angles[2:] or (0.0, 0.0))
    for limits in both:
        check_range("shear", limits, -89.0, 89.0)
    return both
