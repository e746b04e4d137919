"""Normalization, and conversion from and to Pillow."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Real
from numpy.typing import ArrayLike

from jaxdl._extras import require
from jaxdl.transforms._image import Channels, to_float
from jaxdl.types import Array

if TYPE_CHECKING:
    from PIL import Image


def normalize(mean: Channels, std: Channels) -> Callable[[Array], Array]:
    """Makes the function image ↦ (to_float(image) − mean) / std.

    Args:
        mean: a number, or one for every channel (C,), on the scale 0 to 1.
        std: likewise, greater than 0; ``jaxdl.data.mean_and_std`` measures both.

    Returns:
        a function of one image (H, W, C) or a batch (B, H, W, C), uint8 or floating point, to
        floating point of the same shape.

    Raises:
        ValueError: a std of 0 or less; mean or std of rank above 1; when called, C that differs.

    Source: ``torchvision.transforms.Normalize`` after ``ToTensor``.

    >>> print(normalize(0.5, 0.25)(jnp.array([[[0.0], [1.0]]])).ravel())
    [-2.  2.]
    """
    statistics = _statistics(mean, std)

    def apply(image: Real[Array, "*B C"]) -> Float[Array, "*B C"]:
        image = to_float(image)
        return (image - _fit(statistics, "mean", image)) / _fit(statistics, "std", image)

    return apply


def denormalize(mean: Channels, std: Channels) -> Callable[[Array], Array]:
    """Makes the inverse of :func:`normalize`: image ↦ image · std + mean.

    For looking at what a model sees: ``to_uint8(denormalize(mean, std)(batch))``.

    Args:
        mean: as it was given to :func:`normalize`.
        std: likewise.

    Returns:
        a function of floating-point images, whose result is on the scale 0 to 1.

    Raises:
        ValueError: as :func:`normalize`.

    >>> print(denormalize(0.5, 0.25)(jnp.array([[[-2.0], [2.0]]])).ravel())
    [0. 1.]
    """
    statistics = _statistics(mean, std)

    def apply(image: Real[Array, "*B C"]) -> Float[Array, "*B C"]:
        image = to_float(image)
        return image * _fit(statistics, "std", image) + _fit(statistics, "mean", image)

    return apply


def _statistics(mean: Channels, std: Channels) -> dict[str, np.ndarray]:
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
    return statistics


def _fit(statistics: dict[str, np.ndarray], name: str, image: Array) -> Array:
    """A statistic in the dtype and the rank of an image."""
    value = jnp.asarray(statistics[name], image.dtype)
    if value.ndim and (image.ndim == 0 or value.shape[0] not in (1, image.shape[-1])):
        raise ValueError(
            f"{name} has {value.shape[0]} channels, got images of shape {image.shape} "
            "(channels are the last axis)."
        )
    return value.reshape((1,) * (image.ndim - 1) + (-1,)) if value.ndim else value


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by the number of channels."""


def to_pil(image: ArrayLike) -> "Image.Image":
    """An image as one of Pillow's.

    Args:
        image: (H, W) or (H, W, C) with 1, 3 or 4 channels; uint8, or floating point from 0 to 1,
            which becomes uint8 as in :func:`to_uint8`.

    Returns:
        mode L, RGB or RGBA.

    Raises:
        ValueError: another shape or dtype, or floating point outside 0 to 1.

    Source: ``torchvision.transforms.ToPILImage``, channels last.

    >>> image = to_pil(np.zeros((2, 3, 3), np.uint8))
    >>> image.mode, image.size
    ('RGB', (3, 2))
    """
    require("PIL", "conversion to Pillow images")
    from PIL import Image

    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in MODES:
        raise ValueError(
            "to_pil takes one image (H, W) or (H, W, C) with 1, 3 or 4 channels, got shape "
            f"{np.shape(image)}."
        )
    if array.dtype != np.uint8:
        values = array.astype(np.float32) if array.dtype.kind not in "biu" else None
        if values is None or not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                "to_pil takes uint8, or floating point from 0 to 1, got "
                f"{array.dtype} from {array.min()} to {array.max()}. "
                "denormalize undoes normalize."
            )
        array = np.floor(values * np.float32(255.999)).astype(np.uint8)
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def from_pil(image: "Image.Image") -> np.ndarray:
    """One of Pillow's images as an array.

    Args:
        image: mode L, RGB or RGBA, eight bits a channel.

    Returns:
        (H, W, C) uint8 with 1, 3 or 4 channels; ``from_pil(to_pil(x))`` is x.

    Raises:
        ValueError: another mode (1 bit, palette, CMYK, 16 bits …); the message has the remedy.

    Source: ``torchvision.transforms.PILToTensor``, channels last.

    >>> from PIL import Image
    >>> from_pil(Image.new("L", (3, 2), 7))[..., 0].tolist()
    [[7, 7, 7], [7, 7, 7]]
    """
    if image.mode not in MODES.values():
        better = {"1": "L", "LA": "RGBA", "PA": "RGBA"}.get(image.mode, "RGB")
        remedy = f"Convert it first: image.convert({better!r})."
        if image.mode[0] in "IF":
            remedy = "It has more than eight bits: scale it as an array, np.asarray(image)."
        raise ValueError(f"from_pil takes mode L, RGB or RGBA, got {image.mode!r}. {remedy}")
    array = np.array(image)
    return array[..., None] if array.ndim == 2 else array
