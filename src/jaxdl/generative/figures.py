"""Figures of generative models: grids, animations, losses."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl._checks import check_positive, check_shape
from jaxdl._files import write_bytes
from jaxdl.plots._style import OTHERS, TEST, TRAIN, label_axes, new_figure, tidy_axes
from jaxdl.tensorboard import make_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_grid(
    images: Any, path: str | os.PathLike[str], *, columns: int = 10, scale: int = 2
) -> Path:
    """Writes images as one PNG, pixel by pixel and without titles: small files of many images.

    Args:
        images: (N, H, W, C) with C 1 or 3; uint8, or floating point, cut to [0, 1].
        path: ending in .png; missing folders are made.
        columns: images a row.
        scale: side of the square that a pixel becomes.

    Returns:
        the path, written at once.

    Raises:
        ValueError: another ending.
    """
    from PIL import Image

    _check_ending(path, ".png")
    buffer = io.BytesIO()
    picture = Image.fromarray(_tile(images, columns, scale))
    if np.asarray(images).shape[-1] == 1:
        picture = picture.convert("L")
    picture.save(buffer, format="png", optimize=True)
    return _write(Path(path), buffer.getvalue())


def save_animation(
    frames: Any,
    path: str | os.PathLike[str],
    *,
    columns: int = 8,
    scale: int = 2,
    seconds: float = 0.2,
) -> Path:
    """Writes an animated GIF that runs again and again and rests on its last frame.

    Args:
        frames: (T, N, H, W, C) with C 1 or 3, N images a frame; uint8, or floating point, cut to
            [0, 1].
        path: ending in .gif; missing folders are made.
        columns: images a row.
        scale: side of the square that a pixel becomes.
        seconds: of a frame; the last one stays ten times as long.

    Returns:
        the path, written at once.

    Raises:
        ValueError: frames of another shape, another ending.
    """
    from PIL import Image

    _check_ending(path, ".gif")
    check_shape("frames", frames, ("T", "N", "H", "W", None))
    check_positive(seconds=seconds)
    pictures = [Image.fromarray(_tile(frame, columns, scale)) for frame in np.asarray(frames)]
    pictures = [picture.convert("P", palette=Image.Palette.ADAPTIVE) for picture in pictures]
    durations = [int(1000 * seconds)] * (len(pictures) - 1) + [int(10000 * seconds)]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        format="gif",
        save_all=True,
        append_images=pictures[1:],
        duration=durations,
        loop=0,
    )
    return _write(Path(path), buffer.getvalue())


def _check_ending(path: str | os.PathLike[str], ending: str) -> None:
    if Path(path).suffix.lower() != ending:
        raise ValueError(
            f"the file is a {ending[1:].upper()}: give a path ending in {ending}, "
            f"got {str(path)!r}."
        )


def _tile(images: Any, columns: int, scale: int) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.rint(255 * np.clip(images.astype(np.float32), 0, 1)).astype(np.uint8)
    grid = make_grid(images, num_columns=columns, padding=1)
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, content)


def loss_curves(
    steps: Any, losses: Mapping[str, Any], *, ideal: float, title: str = ""
) -> "Figure":
    """Draws the losses of both players and the value at which the discriminator knows nothing.

    Args:
        steps: (P,) numbers of steps.
        losses: (P,) values by name; NaN is left out.
        ideal: 0.25 for squared errors, ln 2 for cross entropies.
        title: above the picture.

    Returns:
        A figure with one axes.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot()
    for color, (name, values) in zip((TRAIN, TEST, *OTHERS), losses.items(), strict=False):
        axes.plot(steps, values, label=name.replace("_", " "), color=color, linewidth=0.9)
    axes.axhline(ideal, color="black", linewidth=1.2, linestyle="--", label=f"ideal: {ideal:.4g}")
    finite = np.concatenate([np.asarray(values)[np.isfinite(values)] for values in losses.values()])
    top = np.quantile(finite, 0.995) if finite.size else 1.0
    axes.set_ylim(0 if finite.size and finite.min() >= 0 else None, 1.1 * max(top, 1.5 * ideal))
    label_axes(axes, title, "step", "loss")
    tidy_axes(axes)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def rows_over_time(rows: Any, *, labels: tuple[str, str], title: str = "") -> "Figure":
    """Draws how some numbers in [0, 1] changed: one row a moment, from top to bottom.

    Args:
        rows: (T, D).
        labels: of the axes across and down.
        title: above the picture.

    Returns:
        A figure with a colour bar; up to 12 rows the numbers stand in the cells.
    """
    rows = np.asarray(rows, np.float32)
    check_shape("rows", rows, ("T", "D"))
    figure = new_figure(max(3.6, 0.8 * rows.shape[1] + 1.2), max(3.0, min(0.36 * len(rows) + 1, 7)))
    axes = figure.add_subplot()
    picture = axes.imshow(rows, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    if len(rows) <= 12:
        for (row, column), value in np.ndenumerate(rows):
            color = "white" if value < 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    axes.set_xticks(range(rows.shape[1]), [str(i + 1) for i in range(rows.shape[1])])
    label_axes(axes, title, *labels)
    figure.colorbar(picture, ax=axes)
    return figure


def neighbors(images: Any, nearest: Any, distances: Sequence[float]) -> "Figure":
    """Draws generated images above the training images that are nearest to them.

    Args:
        images: (N, H, W, C) in [0, 1].
        nearest: (N, H, W, C) in [0, 1] or uint8.
        distances: N.

    Returns:
        A figure with two rows.
    """
    nearest = np.asarray(nearest)
    if nearest.dtype == np.uint8:
        nearest = nearest.astype(np.float32) / 255
    pictures = [np.clip(np.asarray(images, np.float32), 0, 1), nearest]
    figure = new_figure(1.1 * len(images), 2.7)
    for row, group in enumerate(pictures):
        for index, image in enumerate(group):
            axes = figure.add_subplot(2, len(images), row * len(images) + index + 1)
            axes.imshow(
                image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1
            )
            axes.set_xticks([])
            axes.set_yticks([])
            if row:
                axes.set_xlabel(f"{distances[index]:.1f}", fontsize=8)
            if not index:
                axes.set_ylabel("training image" if row else "generated", fontsize=9)
    return figure
