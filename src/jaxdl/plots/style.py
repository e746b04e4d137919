"""Colors, empty figures, writing of PNG files and checks shared by all plots."""

import functools
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_shape
from jaxdl._extras import require
from jaxdl._files import write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Colors that differ for color-blind readers too (after Okabe and Ito, 2008).
TRAIN, TEST = "#0072B2", "#D55E00"


OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")


CURVES = ((TEST, "-"), ("#333333", "--"), ("#CC79A7", ":"), ("#56B4E9", "-."))


RIGHT, WRONG = "#007A5A", "#C0390B"


DPI = 150


def save(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = DPI) -> Path:
    """Writes a figure as a PNG at once: a reader finds the old file or the whole new one.

    Args:
        figure: what a function of this module returned, or any Matplotlib figure.
        path: a file name ending in ``.png``; missing folders are made.
        dpi: dots per inch.

    Returns:
        The path written.

    Raises:
        ValueError: the name does not end in ``.png``.
        OSError: the folder cannot be made or written.

    >>> import tempfile
    >>> from jaxdl import plots
    >>> figure = plots.histogram([1.0, 2.0], label="loss")
    >>> save(figure, tempfile.mkdtemp() + "/histogram.png").name
    'histogram.png'
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {str(path)!r}.")
    content = png(figure, dpi)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, content)
    except OSError as error:
        raise OSError(
            f"Cannot write the picture {path}: {error.strerror or error}. "
            f"Make the folder {path.parent.absolute()} writable, free space on it, or give another."
        ) from error
    return path


def png(figure: "Figure", dpi: int = DPI) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that a notebook shows without pyplot."""
    require("matplotlib", "drawing")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    figure._repr_png_ = functools.partial(png, figure)  # type: ignore[attr-defined]
    return figure


def label_axes(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Writes the title and the names of the axes, none of them read as mathematics."""
    axes.set_title(title, fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)


def tidy_axes(axes: "Axes", grid: Literal["both", "x", "y"] = "both") -> None:
    """Draws a pale grid behind the curves and takes away the frame above and on the right."""
    axes.grid(axis=grid, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def check_images(images: ArrayLike) -> np.ndarray:
    images = np.asarray(images)
    check_shape("images", images, ("N", "H", "W", None))
    if 0 in images.shape or images.shape[-1] not in (1, 3):
        raise ValueError(
            "images must have shape (N, H, W, C) with at least one pixel and C 1 or 3, got "
            f"{images.shape}. PyTorch's (N, C, H, W) becomes this by images.transpose(0, 2, 3, 1)."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fV":  # V: bfloat16
        raise ValueError(f"images must be uint8, or floating point in [0, 1], got {images.dtype}.")
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"floating-point images must lie in [0, 1], got {low:.4g} to {high:.4g}. "
            "Undo the normalization first: images * std + mean."
        )
    return images


def check_distributions(probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1)
    if not ((probabilities >= 0).all() and (np.abs(sums - 1) < 0.05).all()):
        raise ValueError(
            "probabilities must be at least 0 and sum to 1 for every example, got values from "
            f"{probabilities.min():.4g} to {probabilities.max():.4g} and sums from "
            f"{sums.min():.4g} to {sums.max():.4g}. Logits become them by jax.nn.softmax."
        )
