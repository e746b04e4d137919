"""The GANs of Rashid's book that generate faces: convolutions, GELU, and a dense first attempt.

    python experiments/gan_faces.py
    python experiments/gan_faces.py --images faces.h5
    python experiments/gan_faces.py --images celeb_a --data_dir DIR --players dense

The first command needs no data, but an hour on two CPU cores: 100 pieces of the two photographs in
scikit-learn. "book" is the convolutional GAN of 128x128 pixels, "gelu" the same with GELU, "dense"
has one hidden layer and makes whole images, which are not cropped. All train on one image per step.
The run folder gets losses.png, samples.png, training.gif, real.png and neighbors.png.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebooks 12, 14 and 15.
"""

import dataclasses
import functools
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np

from jaxdl import config, data, generative, models, optim, transforms
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.train import Players, make_gan_step, run
from jaxdl.types import Row


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 1
    batch_size: int = 1
    images: str = "photographs"
    """A folder, an HDF5 file, "celeb_a", or "photographs"."""
    num_train: int = 20_000
    """Largest number of images; 100 photographs."""
    players: Literal["book", "gelu", "dense"] = "book"
    """Networks."""
    learning_rate: float = 1e-4
    """Adam's rate."""


def load_images(cfg: Config) -> np.ndarray:
    """(N, H, W, 3) uint8."""
    if cfg.images == "photographs":
        return data.synthetic.photographs(min(cfg.num_train, 100), 128, seed=cfg.seed)
    source = data.open(cfg.images, data_dir=cfg.data_dir)
    size = None if cfg.players == "dense" else 128
    return data.sources.square_images(source, size, num_images=cfg.num_train)


def make_players(cfg: Config, shape: tuple[int, ...]) -> Players:
    """Two networks with a sigmoid at their ends."""
    end: Any = {"output_activation": nn.sigmoid}
    networks: Any
    if cfg.players == "dense":
        networks = (
            models.DenseGenerator((300,), shape, activation=nn.leaky_relu),
            models.DenseDiscriminator((100,), activation=nn.leaky_relu, **end),
        )
    else:
        gelu = functools.partial(nn.gelu, approximate=False)
        options: Any = {"activation": gelu} if cfg.players == "gelu" else {}
        networks = models.ConvGenerator(**options), models.ConvDiscriminator(**options, **end)
    tx = optim.adam(cfg.learning_rate)
    generator, discriminator = networks
    return Players(generator, discriminator, tx, tx, adversarial.on_probabilities())


def train(cfg: Config, images: np.ndarray) -> tuple[Snapshots, list[Row]]:
    """Trains both players; returns snapshots of their state and one row per epoch."""
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    players = make_players(cfg, images.shape[1:])
    init_key, order_key, noise_key, _ = jax.random.split(jax.random.key(cfg.seed), 4)
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, preprocess=transforms.to_float, separate_updates=True),
        players, init_key, players.noise(noise_key, (64, 100)), num_steps=num_steps,
    )  # fmt: skip
    return run(
        step, snapshots, {"image": images}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, workdir=cfg.workdir, resume=cfg.resume, config=cfg,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains and draws; returns the history."""
    images = load_images(cfg)
    workdir = cfg.workdir or config.new_run_dir(f"gan_faces_{cfg.players}")
    snapshots, history = train(dataclasses.replace(cfg, workdir=workdir), images)
    generative.figures.save_pictures(
        workdir, make_players(cfg, images.shape[1:]), snapshots, images,
        num_steps=int(snapshots.step), ideal=math.log(2), title=f"the book's {cfg.players} GAN",
    )  # fmt: skip
    chosen = np.linspace(0, len(images) - 1, 64).astype(int)
    generative.figures.save_grid(images[chosen], workdir / "real.png", num_columns=8, scale=1)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
