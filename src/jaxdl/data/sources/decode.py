"""Image files and encoded images as uint8 arrays: the one decoder of all readers."""

import functools
import io
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from jaxdl._extras import require

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["RGB", "L", "RGBA"]

IMAGE_SUFFIXES = (
    ".avif",
    ".bmp",
    ".gif",
    ".jfif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".pnm",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
"""Suffixes of image files, in lower case."""

MAX_PIXELS = 50_000_000
"""Default limit of an image's size: 150 MB as RGB."""

_CHANNELS = {"RGB": 3, "L": 1, "RGBA": 4}

# no format that Pillow hands to another program, such as EPS
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "SGI"),
    *("TGA", "TIFF", "WEBP"),
)

_BITS_PER_SAMPLE, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # of TIFF


class ImageInfo(NamedTuple):
    """Form of an encoded image.

    Attributes:
        mode: Pillow's name: ``"RGB"``, ``"L"``, ``"P"``, ``"I;16"``, ….
        size: (height, width).
        has_alpha: it has transparency, in a channel or as one color.
    """

    mode: str
    size: tuple[int, int]
    has_alpha: bool


def read_image(
    file: str | os.PathLike[str] | bytes,
    size: tuple[int, int] | None = None,
    *,
    mode: Mode | None = "RGB",
    max_pixels: int = MAX_PIXELS,
    apply_exif_orientation: bool = False,
    name: str = "",
) -> np.ndarray:
    """Decodes an image to uint8.

    Transparent images are composed on white, except for ``"RGBA"``. Of 16 and 12 bits per channel
    the 8 most significant are kept, as in torchvision's ``to_dtype``; 32-bit integers and floating
    point have no fixed range and are refused. Of several frames the first is read.

    Args:
        file: path or content; any common raster format that Pillow reads.
        size: (height, width) to resize to (bilinear, antialiased), or None.
        mode: channels to convert to; None for ``"L"`` (gray) or ``"RGB"`` as the image has.
        max_pixels: limit of height · width, checked before decoding; Pillow's own limit, 179
            million, applies too.
        apply_exif_orientation: rotate a photograph as its EXIF tag says; ignored by default, as in
            torchvision. (Pillow always applies a TIFF file's.)
        name: of the file in messages; its path by default.

    Returns:
        (H, W, C) uint8.

    Raises:
        ValueError: not an image, a damaged one, one of too many pixels or an unknown range.
    """
    require("PIL", "reading images")
    from PIL import Image, ImageOps

    with _Opened(file, name, max_pixels) as image:
        if size is not None and size[0] * size[1] > max_pixels:
            raise _Refused(f"cannot be resized to {size}: more than max_pixels {max_pixels:,}.")
        if apply_exif_orientation:
            image = ImageOps.exif_transpose(image)
        image = _convert(image, mode)
        if size is not None and image.size != (size[1], size[0]):
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(image.height, image.width, _CHANNELS[image.mode])


def image_info(
    file: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS, name: str = ""
) -> ImageInfo:
    """Reads an image's form, without its pixels.

    Raises:
        ValueError: not an image, or one of too many pixels.
    """
    with _Opened(file, name, max_pixels) as image:
        return ImageInfo(image.mode, (image.height, image.width), _has_alpha(image))


class _Opened:
    """Pillow's image of a file; whatever is raised inside becomes a ValueError with its name."""

    def __init__(self, file: str | os.PathLike[str] | bytes, name: str, max_pixels: int):
        self.stream = io.BytesIO(file) if isinstance(file, bytes) else file
        self.name = name or ("the image" if isinstance(file, bytes) else os.fspath(file))
        self.max_pixels = max_pixels
        self.image: Image | None = None

    def __enter__(self) -> "Image":
        require("PIL", "reading images")
        from PIL import Image

        try:
            self.image = Image.open(self.stream, formats=_formats())
        except Exception as error:  # Pillow's plugins raise errors of many kinds
            raise self.error(error) from error
        width, height = self.image.size
        if width * height > self.max_pixels:
            self.image.close()
            raise ValueError(
                f"{self.name} has {width}x{height} pixels, more than max_pixels {self.max_pixels:,}"
                ". Pass a greater max_pixels, or make the image smaller."
            )
        return self.image

    def __exit__(self, _: object, error: object, __: object) -> None:
        if self.image is not None:
            self.image.close()
        if isinstance(error, _Refused):
            raise ValueError(f"{self.name} {error}") from None
        if isinstance(error, Exception):
            raise self.error(error) from error

    def error(self, error: Exception) -> ValueError:
        if isinstance(error, FileNotFoundError):
            return ValueError(f"file not found: {self.name} (expected an image).")
        return ValueError(f"{self.name} cannot be read as an image: {str(error) or repr(error)}.")


class _Refused(ValueError):
    pass


@functools.cache
def _formats() -> tuple[str, ...]:
    from PIL import Image

    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _has_alpha(image: "Image") -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _convert(image: "Image", mode: Mode | None) -> "Image":
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = _most_significant_bits(image)
    if mode is None:
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if mode == "RGBA" or not _has_alpha(image):
        return image.convert(mode)
    layer = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(layer, mask=layer.getchannel("A"))
    return white.convert(mode)


def _most_significant_bits(image: "Image") -> "Image":
    """A gray image of more than 8 bits as one of 8."""
    from PIL import Image

    is_16_bit = image.mode.startswith("I;16") or (
        image.mode == "I" and image.format in ("PNG", "PPM")
    )
    if not is_16_bit:
        kind = "floating point" if image.mode == "F" else "32-bit or signed integers"
        raise _Refused(
            f"holds {kind}, whose range is unknown; convert it to 8 or 16 bits per channel first."
        )
    tags = getattr(image, "tag_v2", {})
    bits = int(np.ravel(tags.get(_BITS_PER_SAMPLE, 16))[0])
    values = (np.asarray(image).astype(np.int32) >> (bits - 8)).clip(0, 255).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        values = 255 - values
    return Image.fromarray(values)


def check_size(size: object) -> None:
    """Raises ValueError unless a size is None or two positive integers."""
    if size is None or (
        isinstance(size, Sequence)
        and len(size) == 2
        and all(isinstance(n, int) and n > 0 for n in size)
    ):
        return
    raise ValueError(f"size must be (height, width) in pixels, such as (64, 64), got {size!r}.")
