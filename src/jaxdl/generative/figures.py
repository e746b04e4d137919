"""Pictures of generated examples: grids, animations, losses, nearest neighbors."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import plots
from jaxdl._checks import check_positive, check_shape
from jaxdl._extras import require
from jaxdl._files import replacing, write_bytes
from jaxdl.generative.scores import nearest_neighbors
from jaxdl.generative.snapshots import Snapshots
from jaxdl.plots.style import OTHERS, TEST, TRAIN, label_axes, new_figure, tidy_axes
from jaxdl.tensorboard.grids import make_grid
from jaxdl.train.gan import GANState, Players, generate
from jaxdl.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_pictures(
    workdir: Path | str,
    players: Players,
    snapshots: Snapshots,
    examples: ArrayLike,
    *,
    num_steps: int,
    ideal: float,
    title: str = "",
) -> np.ndarray:
    """Writes the pictures of a GAN's training.

    ``losses.png``; ``frames.npy``, the frames so far (T, N, ...) float16; and for images
    ``samples.png``, the last frame, ``training.gif``, all frames, and ``neighbors.png``, ten
    images above the nearest training images. Conditional generators have one column per class.

    Args:
        workdir: folder for the pictures.
        players: the networks.
        snapshots: see :func:`jaxdl.generative.with_snapshots`.
        examples: (M, ...) training examples, uint8 if they are images.
        num_steps: number of steps of the whole training.
        ideal: discriminator's loss if it cannot distinguish; see
            :mod:`jaxdl.losses.adversarial`.
        title: title of the loss curves.

    Returns:
        The frames, in [0, 1].
    """
    workdir = Path(workdir)
    figure = loss_curves(*snapshots.loss_history(num_steps), ideal=ideal, title=title)
    plots.save(figure, workdir / "losses.png")
    taken = np.abs(np.asarray(snapshots.frames, np.float32)).reshape(len(snapshots.frames), -1)
    frames = np.asarray(players.to_unit(snapshots.frames[taken.max(1) > 0].astype(jnp.float32)))
    with replacing(workdir / "frames.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, frames.astype(np.float16))
    if frames.ndim != 5:
        return frames
    columns = players.num_classes or int(np.ceil(np.sqrt(frames.shape[1])))
    scale = max(1, round(56 / frames.shape[2]))
    save_grid(frames[-1], workdir / "samples.png", num_columns=columns, scale=scale)
    save_animation(frames, workdir / "training.gif", num_columns=columns, scale=scale)
    images, real = frames[-1, :10], np.asarray(examples, np.float32) / 255
    indices, distances = nearest_neighbors(images, real)
    figure = neighbors(images, real[indices], distances.tolist())
    plots.save(figure, workdir / "neighbors.png")
    return frames


def save_latent_pictures(
    workdir: Path | str,
    players: Players,
    state: GANState,
    key: Array,
    *,
    label: int = 0,
    num_pairs: int = 6,
    num_stops: int = 6,
    frames_between: int = 10,
) -> dict[str, np.ndarray]:
    """Writes pictures of the space of the noise.

    ``interpolation.png`` has one row per pair of noise vectors, twelve steps from one to the other;
    ``arithmetic.png`` one row per pair: both, their sum, difference, and product; ``walk.gif``
    passes through some vectors and returns to the first, along arcs for normal noise, because the
    middle of a straight line between two normal vectors is too short.

    Args:
        workdir: folder for the pictures.
        players: the networks; the generator makes images.
        state: state of both players.
        key: PRNG key of the noise.
        label: class of all images of a conditional generator.
        num_pairs: number of pairs.
        num_stops: number of vectors on the walk.
        frames_between: frames from one of them to the next.

    Returns:
        The images by name of the picture, (N, H, W, C) in [0, 1].

    Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebook 9.
    """
    first_key, second_key, walk_key = jax.random.split(key, 3)
    shape = (num_pairs, players.num_latents)
    first, second = players.noise(first_key, shape), players.noise(second_key, shape)
    steps = jnp.arange(12.0).reshape(1, 12, 1) / 11
    between = first[:, None] + (second - first)[:, None] * steps
    rows = jnp.stack([first, second, first + second, first - second, first * second], axis=1)
    stops = players.noise(walk_key, (num_stops, shape[1]))
    parts = jnp.arange(frames_between).reshape(1, -1, 1) / frames_between
    weights = jnp.cos(jnp.pi / 2 * parts), jnp.sin(jnp.pi / 2 * parts)
    if players.noise is jax.random.uniform:
        weights = 1 - parts, parts
    walk = stops[:, None] * weights[0] + jnp.roll(stops, -1, axis=0)[:, None] * weights[1]

    def make(noise: Array) -> np.ndarray:
        noise = noise.reshape(-1, shape[1])
        labels = None if players.num_classes is None else jnp.full(len(noise), label)
        return np.asarray(players.to_unit(generate(players, state, noise, labels)))

    pictures = {"interpolation": make(between), "arithmetic": make(rows), "walk": make(walk)}
    scale = max(1, round(56 / pictures["walk"].shape[1]))
    for name, columns in (("interpolation", 12), ("arithmetic", 5)):
        path = Path(workdir) / f"{name}.png"
        save_grid(pictures[name], path, num_columns=columns, scale=scale)
    save_animation(
        pictures["walk"][:, None], Path(workdir) / "walk.gif",
        num_columns=1, scale=4 * scale, seconds=0.1,
    )  # fmt: skip
    return pictures


def save_grid(
    images: ArrayLike, path: str | os.PathLike[str], *, num_columns: int = 10, scale: int = 2
) -> Path:
    """Writes images as one PNG, pixel by pixel and without titles.

    Args:
        images: (N, H, W, C) with C 1 or 3; uint8, or floating point, clipped to [0, 1].
        path: file ending in .png; missing folders are created.
        num_columns: images per row.
        scale: side of the square that a pixel becomes.

    Returns:
        The path.

    Raises:
        ValueError: another suffix.
    """
    require("PIL", "save_grid")
    from PIL import Image

    _check_suffix(path, ".png")
    buffer = io.BytesIO()
    picture = Image.fromarray(_tile(images, num_columns, scale))
    if np.shape(images)[-1] == 1:
        picture = picture.convert("L")
    picture.save(buffer, format="png", optimize=True)
    return _write(Path(path), buffer.getvalue())


def save_animation(
    frames: ArrayLike,
    path: str | os.PathLike[str],
    *,
    num_columns: int = 8,
    scale: int = 2,
    seconds: float = 0.2,
) -> Path:
    """Writes an animated GIF that repeats and pauses on its last frame.

    Args:
        frames: (T, N, H, W, C) with C 1 or 3, N images per frame; uint8, or floating point,
            clipped to [0, 1].
        path: file ending in .gif; missing folders are created.
        num_columns: images per row.
        scale: side of the square that a pixel becomes.
        seconds: duration of a frame; the last one stays ten times as long.

    Returns:
        The path.

    Raises:
        ValueError: frames of another shape, or another suffix.
    """
    require("PIL", "save_animation")
    from PIL import Image

    _check_suffix(path, ".gif")
    frames = np.asarray(frames)
    check_shape("frames", frames, ("T", "N", "H", "W", None))
    check_positive(seconds=seconds)
    pictures = [Image.fromarray(_tile(frame, num_columns, scale)) for frame in frames]
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


def _check_suffix(path: str | os.PathLike[str], suffix: str) -> None:
    if Path(path).suffix.lower() != suffix:
        raise ValueError(
            f"expected a path ending in {suffix} for a {suffix[1:].upper()} file, "
            f"got {str(path)!r}."
        )


def _tile(images: ArrayLike, num_columns: int, scale: int) -> np.ndarray:
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.rint(255 * np.clip(images.astype(np.float32), 0, 1)).astype(np.uint8)
    grid = make_grid(images, num_columns=num_columns, padding=1)
    return grid.repeat(scale, axis=0).repeat(scale, axis=1)


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, content)


def loss_curves(
    steps: ArrayLike, losses: Mapping[str, ArrayLike], *, ideal: float, title: str = ""
) -> "Figure":
    """Draws the losses of both players and the discriminator's ideal loss.

    Args:
        steps: (P,) numbers of steps.
        losses: (P,) values by name; NaN is omitted.
        ideal: e.g. 0.25 for squared errors, ln 2 for cross entropies.
        title: title of the figure.

    Returns:
        A figure with one axes.
    """
    figure = new_figure(6.4, 3.8)
    axes = figure.add_subplot()
    curves = {name: np.asarray(values) for name, values in losses.items()}
    for color, (name, values) in zip((TRAIN, TEST, *OTHERS), curves.items(), strict=False):
        axes.plot(steps, values, label=name.replace("_", " "), color=color, linewidth=0.9)
    axes.axhline(ideal, color="black", linewidth=1.2, linestyle="--", label=f"ideal: {ideal:.4g}")
    finite = np.concatenate([values[np.isfinite(values)] for values in curves.values()])
    top = np.quantile(finite, 0.995) if finite.size else 1.0
    axes.set_ylim(0 if finite.size and finite.min() >= 0 else None, 1.1 * max(top, 1.5 * ideal))
    label_axes(axes, title, "step", "loss")
    tidy_axes(axes)
    axes.legend(frameon=False, fontsize=9, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    return figure


def rows_over_time(rows: ArrayLike, *, labels: tuple[str, str], title: str = "") -> "Figure":
    """Draws numbers in [0, 1] over time, one row per moment, from top to bottom.

    Args:
        rows: (T, D).
        labels: labels of the horizontal and the vertical axis.
        title: title of the figure.

    Returns:
        A figure with a color bar; up to 12 rows show their numbers.
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


def neighbors(images: ArrayLike, nearest: ArrayLike, distances: Sequence[float]) -> "Figure":
    """Draws generated images above the nearest training images.

    Args:
        images: (N, H, W, C) in [0, 1].
        nearest: (N, H, W, C) in [0, 1] or uint8.
        distances: N distances.

    Returns:
        A figure with two rows.
    """
    images, nearest = np.asarray(images, np.float32), np.asarray(nearest)
    if nearest.dtype == np.uint8:
        nearest = nearest.astype(np.float32) / 255
    figure = new_figure(1.1 * len(images), 2.7)
    for row, group in enumerate([np.clip(images, 0, 1), nearest]):
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
