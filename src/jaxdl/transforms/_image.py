"""Dtypes, ranges and checks shared by all transforms."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real, UInt8

from jaxdl.types import Array

Augment = Callable[[Array, Array], Array]
"""``(key, image) -> image`` for one image (H, W, C)."""


Scalar = int | float | Array
"""A number, or a traced array of shape ()."""

Channels = float | Sequence[float] | np.ndarray | Array
"""A number, or one per channel."""

Size = int | tuple[int, int]
"""A side of a square, or (height, width)."""


TINY = float(np.finfo(np.float32).tiny)


def to_float(image: Real[Array, "*S"]) -> Float[Array, "*S"]:
    """Scales uint8 to float32 in [0, 1], x / 255; floating point passes unchanged.

    Args:
        image: any shape, uint8 or floating point.

    Raises:
        ValueError: another dtype.

    Source: ``torchvision.transforms.ToTensor``, which also moves the channels to the front;
    here images stay NHWC. XLA divides by multiplying with 1 / 255, so every other value differs
    from PyTorch's in its last bit.

    >>> to_float(jnp.array([0, 255], jnp.uint8)).tolist()
    [0.0, 1.0]
    """
    image = jnp.asarray(image)
    check_dtype(image)
    return image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image


def to_uint8(image: Real[Array, "*S"]) -> UInt8[Array, "*S"]:
    """Scales floating point in [0, 1] to uint8, floor(255.999 · x); uint8 passes unchanged.

    Values below 0 become 0, above 1 become 255. ``to_uint8(to_float(x))`` is x.

    Args:
        image: any shape, uint8 or floating point.

    Raises:
        ValueError: another dtype.

    Source: ``torchvision.transforms.v2.ToDtype(torch.uint8, scale=True)``, which does not clip.

    >>> to_uint8(jnp.array([0.0, 0.5, 1.0, 1.5])).tolist()
    [0, 127, 255, 255]
    """
    image = jnp.asarray(image)
    check_dtype(image)
    if image.dtype == jnp.uint8:
        return image
    scaled = jnp.clip(image.astype(jnp.float32), 0, 1) * 255.999
    return scaled.astype(jnp.uint8)


def check_dtype(image: Array) -> None:
    """Raises ValueError unless an image is uint8 or floating point."""
    if image.dtype != jnp.uint8 and not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"image must be uint8 (0 to 255) or floating point, got {image.dtype}. "
            "Convert it with astype first."
        )


def one_image(image: Array) -> Array:
    """Converts to an array (H, W, C); raises ValueError for a batch or another dtype."""
    image = jnp.asarray(image)
    if image.ndim != 3:
        raise ValueError(
            f"an augmentation takes one image (H, W, C), got shape {image.shape}. For a batch: "
            "jax.vmap(augment)(jax.random.split(key, len(images)), images)."
        )
    check_dtype(image)
    return image


def check_images(image: Array, *channels: int) -> Array:
    """Converts to an array (..., H, W, C); raises ValueError unless C is one of ``channels``."""
    image = jnp.asarray(image)
    if image.ndim < 3:
        raise ValueError(
            "expected an image (H, W, C) or a batch (B, H, W, C), got shape "
            f"{image.shape}. A gray image has one channel: image[..., None]."
        )
    check_dtype(image)
    if channels and image.shape[-1] not in channels:
        wanted = " or ".join(map(str, channels))
        raise ValueError(
            f"the image must have {wanted} channels as its last axis, got shape {image.shape}."
        )
    return image


def white(image: Array) -> float:
    """Returns the maximum value of an image of this dtype: 255 or 1."""
    return 255.0 if image.dtype == jnp.uint8 else 1.0


def rounded_like(values: Array, image: Array) -> Array:
    """Casts values to the image's dtype; for uint8 rounds and clips to [0, 255]."""
    if image.dtype == jnp.uint8:
        values = jnp.round(values).clip(0, 255)
    return values.astype(image.dtype)


def uniform(key: Array, limits: tuple[Scalar, Scalar]) -> Array:
    """Draws a number uniformly between two limits."""
    return jax.random.uniform(key, (), minval=limits[0], maxval=limits[1])


def is_known(*values: object) -> bool:
    """Returns True if all values are concrete numbers, whose range can be checked."""
    return all(isinstance(value, int | float | np.number) for value in values)


def check_probability(probability: float) -> None:
    """Raises ValueError unless a probability lies in 0 to 1."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in 0 to 1, got {probability}.")


def check_range(name: str, limits: tuple[float, float], low: float, high: float) -> None:
    """Raises ValueError unless both limits are finite, in order, and within low to high."""
    if not low <= limits[0] <= limits[1] <= high or not np.isfinite(limits).all():
        raise ValueError(
            f"{name} must be finite, in order and within {low:.6g} to {high:.6g}, got {limits}."
        )


def pair(name: str, size: Size) -> tuple[int, int]:
    """(height, width) of a size; raises ValueError unless both are whole numbers above 0."""
    both = (size, size) if isinstance(size, int | np.integer) else tuple(size)
    if len(both) != 2 or not all(isinstance(side, int | np.integer) and side > 0 for side in both):
        raise ValueError(
            f"{name} must be a whole number above 0, or two of them (height, width), got {size!r}."
        )
    return int(both[0]), int(both[1])
