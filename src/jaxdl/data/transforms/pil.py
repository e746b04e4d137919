"""Between arrays and Pillow's images, on the host."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's mode by the number of channels."""


def to_pil(image: Any) -> "Image.Image":
    """An image as one of Pillow's.

    Args:
        image: (H, W) or (H, W, C) with 1, 3 or 4 channels; uint8, or floating point from 0 to 1,
            which becomes uint8 as in :func:`to_uint8`.

    Returns:
        mode L, RGB or RGBA.

    Raises:
        ValueError: another shape or dtype, or floating point outside 0 to 1.

    Counterpart: ``torchvision.transforms.ToPILImage``, channels last.

    >>> image = to_pil(np.zeros((2, 3, 3), np.uint8))
    >>> image.mode, image.size
    ('RGB', (3, 2))
    """
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

    Counterpart: ``torchvision.transforms.PILToTensor``, channels last.

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
