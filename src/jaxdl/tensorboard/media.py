"""Images, figures, video and audio for TensorBoard."""

import io
import wave
from typing import TYPE_CHECKING, Any, Literal

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_positive, check_shape
from jaxdl._extras import require
from jaxdl.tensorboard.grids import make_grid
from jaxdl.tensorboard.writer import Writer, write_values

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TOLERANCE = 1e-3  # of a range that rounding may exceed


def write_image(writer: Writer, tag: str, image: ArrayLike, step: int) -> None:
    """Writes one image as a PNG.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"input/first"``.
        image: (H, W) or (H, W, C), C 1 (gray), 3 (RGB) or 4 (RGBA); uint8 of 0 to 255, floating
            point of 0 to 1, or bool.
        step: position on the slider, in updates.

    Raises:
        ValueError: another layout, such as PyTorch's (C, H, W), another dtype or range.

    Source: ``SummaryWriter.add_image(dataformats="HWC")``, which cuts 255 x off where this rounds.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_image(writer, "inputs", np.zeros((8, 8, 1), np.uint8), 1)
    """
    image = np.asarray(image)
    pixels = to_pixels("image", image[..., None] if image.ndim == 2 else image, 3)
    write_values(writer, [{"tag": tag, "image": _image(pixels, png(pixels))}], step)


def write_image_grid(
    writer: Writer,
    tag: str,
    images: ArrayLike,
    step: int,
    *,
    num_columns: int = 8,
    padding: int = 2,
    normalize: Literal["together", "each"] | None = None,
) -> None:
    """Writes several images as one, arranged as by ``torchvision.utils.make_grid``.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"inputs"``.
        images: (N, H, W, C), C 1 or 3; uint8, or floating point of 0 to 1 unless normalized here.
        step: position on the slider, in updates.
        num_columns: images in a row.
        padding: pixels around every image.
        normalize: scales floating-point images to 0 to 1, "together" or "each" separately.

    Raises:
        ValueError: another layout, dtype or range.

    Source: ``SummaryWriter.add_images(dataformats="NHWC")``, which has no border.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_image_grid(writer, "inputs", np.zeros((6, 8, 8, 1)),
    ...         1, num_columns=3)
    """
    if normalize is None:
        images = to_pixels("images", np.asarray(images), 4)
    grid = make_grid(images, num_columns=num_columns, padding=padding, normalize=normalize)
    write_image(writer, tag, grid, step)


def write_figure(writer: Writer, tag: str, figure: "Figure", step: int, *, dpi: int = 100) -> None:
    """Writes a Matplotlib figure, e.g. one of :mod:`jaxdl.plots`, as an image.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"confusion_matrix"``.
        figure: left open; one that pyplot made is the caller's to close.
        step: position on the slider, in updates.
        dpi: pixels per inch.

    Source: ``SummaryWriter.add_figure``.
    """
    require("PIL", "writing images")
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    pixels = np.asarray(Image.open(buffer))
    write_values(writer, [{"tag": tag, "image": _image(pixels, buffer.getvalue())}], step)


def write_video(
    writer: Writer, tag: str, frames: ArrayLike, step: int, *, fps: float = 4.0
) -> None:
    """Writes a video as an animated GIF, shown among the images.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"samples/diffusion"``.
        frames: (T, H, W, C), C 1 or 3; uint8 of 0 to 255 or floating point of 0 to 1. Of more than
            256 colors a frame keeps the nearest.
        step: position on the slider, in updates.
        fps: frames per second, at most 50; a GIF counts hundredths of a second.

    Raises:
        ValueError: another layout, dtype or range; too many frames per second.

    Source: ``SummaryWriter.add_video(vid_tensor (N, T, C, H, W), fps=4)``; one video, not N.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_video(writer, "samples", np.zeros((3, 8, 8, 1), np.uint8), 1, fps=4)
    """
    require("PIL", "writing images")
    from PIL import Image

    if not 0 < fps <= 50:
        raise ValueError(f"fps must be greater than 0 and at most 50, got {fps!r}.")
    pixels = to_pixels("frames", np.asarray(frames), 4)
    if pixels.shape[-1] == 4:
        raise ValueError(f"frames must have shape (T, H, W, 1 or 3), got {pixels.shape}.")
    pictures = [
        Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in pixels
    ]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=10 * round(100 / fps),
        loop=0,
    )
    write_values(writer, [{"tag": tag, "image": _image(pixels[0], buffer.getvalue())}], step)


def write_audio(
    writer: Writer, tag: str, waveform: ArrayLike, step: int, *, sample_rate: int = 44100
) -> None:
    """Writes a sound as a WAV file of 16 bits.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"samples/speech"``.
        waveform: (T,), or (T, C) with 1 or 2 channels; floating point of -1 to 1.
        step: position on the slider, in updates.
        sample_rate: in Hz.

    Raises:
        ValueError: another shape, dtype or range.

    Source: ``SummaryWriter.add_audio(sample_rate=44100)``, which clips a louder sound.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_audio(writer, "tone", np.sin(np.arange(800) / 3),
    ...         1, sample_rate=8000)
    """
    from tensorboardX.proto.summary_pb2 import Summary

    check_positive(sample_rate=sample_rate)
    waveform = np.asarray(waveform)
    waveform = waveform[:, None] if waveform.ndim == 1 else waveform
    if waveform.ndim != 2 or waveform.shape[1] not in (1, 2) or not len(waveform):
        raise ValueError(f"waveform must have shape (T,) or (T, 1 or 2), got {waveform.shape}.")
    samples = np.round(_in_range("waveform", waveform, -1.0) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.tobytes())
    audio = Summary.Audio(
        sample_rate=sample_rate,
        num_channels=samples.shape[1],
        length_frames=len(samples),
        encoded_audio_string=buffer.getvalue(),
        content_type="audio/wav",
    )
    write_values(writer, [{"tag": tag, "audio": audio}], step)


def to_pixels(name: str, images: np.ndarray, num_axes: int) -> np.ndarray:
    """Checked images as uint8: floating point of 0 to 1 becomes 0 to 255, rounded.

    Args:
        name: what to call them in a message.
        images: (..., H, W, C), C 1, 3 or 4.
        num_axes: 3 for one image, 4 for several.

    Raises:
        ValueError: another layout, dtype or range.
    """
    check_shape(name, images, (None,) * num_axes)
    if images.shape[-1] not in (1, 3, 4):
        axes = ("N, " if num_axes == 4 else "") + "H, W, C"
        hint = ""
        if images.shape[-3] in (1, 3, 4):
            hint = " Is it PyTorch's layout? np.moveaxis(images, -3, -1) puts the channels last."
        raise ValueError(
            f"{name} must have shape ({axes}) with 1, 3 or 4 channels, got {images.shape}.{hint}"
        )
    if not images.size:
        raise ValueError(f"{name} must have pixels, got shape {images.shape}.")
    if images.dtype == np.uint8:
        return images
    if images.dtype == np.bool_:
        return images.astype(np.uint8) * 255
    return np.round(_in_range(name, images, 0.0) * 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """An image (H, W, 1, 3 or 4), uint8, as a PNG file."""
    require("PIL", "writing images")
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, "PNG", compress_level=1)  # twice as quick as 6, which saves few bytes
    return buffer.getvalue()


def _in_range(name: str, array: np.ndarray, low: float) -> np.ndarray:
    """Floating-point values of ``low`` to 1 as float64; a little rounding is cut off."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        also = "uint8 (0 to 255) or " if low == 0 else ""
        raise ValueError(
            f"{name} must be {also}floating point ({low:g} to 1), got dtype {array.dtype}. "
            "Convert it first."
        )
    array = array.astype(np.float64)
    smallest, largest = array.min(), array.max()
    if not (low - TOLERANCE <= smallest and largest <= 1 + TOLERANCE):  # NaN is refused, too
        remedy = "Divide by 255, undo the normalization, or use make_grid(normalize=...)."
        raise ValueError(
            f"{name} must lie in {low:g} to 1, got {smallest:g} to {largest:g}. "
            + (remedy if low == 0 else "Divide by the largest absolute value.")
        )
    return np.clip(array, low, 1.0)


def _image(pixels: np.ndarray, encoded: bytes) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    height, width, channels = pixels.shape
    return Summary.Image(
        height=height, width=width, colorspace=channels, encoded_image_string=encoded
    )
