"""The distribution that a perfect generator learns: not eight images, but how often a pixel is set.

    python experiments/tutorials/gan_pixels.py

Eight images of 3x3 pixels give a probability per pixel, from which 24 images are drawn. Their means
are near the probabilities, though hardly one of them is among the eight. A few seconds. The run
folder gets distribution.png.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", appendix B.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxdl import config, plots

COUNTS = np.array([[6, 0, 1], [0, 7, 0], [2, 0, 1]])
"""In how many of the eight images a pixel is set."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    seed: int = 0
    """Seed of the images."""
    workdir: Path | None = None
    """Folder for the picture; by default a new one in runs/."""


def train(cfg: Config, counts: np.ndarray) -> tuple[jax.Array, jax.Array]:
    """The probabilities (3, 3), and 24 images drawn from them."""
    probabilities = jnp.asarray(counts / 8)
    shape = (24, *counts.shape)
    images = jax.random.bernoulli(jax.random.key(cfg.seed), probabilities[None], shape)
    return probabilities, images.astype(jnp.float32)


def main(cfg: Config) -> dict[str, float]:
    """Draws images; returns the largest difference of their mean from the probabilities."""
    workdir = cfg.workdir or config.new_run_dir("gan_pixels")
    probabilities, images = train(cfg, COUNTS)
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    grid = figure.add_gridspec(3, 12)
    axes = figure.add_subplot(grid[:, :4])
    axes.imshow(probabilities, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(COUNTS / 8):
        color = "white" if value > 0.6 else "black"
        axes.text(column, row, f"{value:g}", ha="center", va="center", color=color)
    axes.set_title("probability of a pixel", fontsize=10)
    axes.set_axis_off()
    for index, image in enumerate(images):
        axes = figure.add_subplot(grid[index // 8, 4 + index % 8])
        axes.imshow(image, cmap="Blues", vmin=0, vmax=1.3)
        axes.set(xticks=[], yticks=[])
    figure.suptitle("24 images drawn from the distribution of eight", fontsize=11)
    plots.save(figure, workdir / "distribution.png")
    difference = float(abs(images.mean(axis=0) - probabilities).max())
    print(f"largest difference of 24 images: {difference:.7g}, run folder: {workdir}")
    return {"largest difference": difference}


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
