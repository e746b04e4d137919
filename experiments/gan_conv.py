"""A DCGAN of color images: from a folder, an HDF5 file, or TFDS's celeb_a.

    python experiments/gan_conv.py
    python experiments/gan_conv.py --images DIR/cifar10/train
    python experiments/gan_conv.py --images faces.h5 --size 64 --features 64
    python experiments/gan_conv.py --images celeb_a --data_dir DIR --size 64 --features 64

The first command needs no data: pieces of the two photographs in scikit-learn, a few minutes.
Images are cropped to a square and resized to 28, 32, 64 or 128 pixels. With few images --augment
prevents that the discriminator memorizes them. The run folder gets losses.png, samples.png,
training.gif, real.png, neighbors.png, interpolation.png, arithmetic.png and walk.gif.

Source: Radford et al. 2016; Zhao et al. 2020 (--augment).
"""

import dataclasses
import math

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

    num_epochs: int = 20
    batch_size: int = 64
    images: str = "photographs"
    """A folder, an HDF5 file, "celeb_a", or "photographs"."""
    size: int = 32
    """Pixels per side."""
    num_train: int = 20_000
    """Largest number of images."""
    features: int = 32
    """Channels of the discriminator's largest maps; the generator has twice as many."""
    learning_rate: float = 5e-4
    """Adam's first rate for the generator; the discriminator's is 0.4 times that."""
    augment: bool = False
    """Apply differentiable augmentation to real and generated images."""


def load_images(cfg: Config) -> np.ndarray:
    """(N, size, size, 3) uint8."""
    if cfg.images == "photographs":
        return data.synthetic.photographs(min(cfg.num_train, 4000), cfg.size, seed=cfg.seed)
    source = data.open(cfg.images, data_dir=cfg.data_dir)
    return data.sources.square_images(source, cfg.size, num_images=cfg.num_train)


def make_players(cfg: Config, num_steps: int) -> Players:
    rates = [optim.polynomial(rate * cfg.learning_rate, num_steps) for rate in (1.0, 0.4)]
    return Players(
        models.DCGANGenerator((cfg.size, cfg.size, 3), 100, 2 * cfg.features),
        models.DCGANDiscriminator(cfg.features),
        optim.ema(optim.adam(rates[0], b1=0.5), 0.995),
        optim.adam(rates[1], b1=0.5),
        adversarial.non_saturating(real_target=0.9),
        signed=True,
        averaged=True,
    )


def train(cfg: Config, images: np.ndarray) -> tuple[Snapshots, list[Row]]:
    """Trains both players; returns snapshots of their state and one row per epoch."""
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    players = make_players(cfg, num_steps)
    init_key, order_key, noise_key, _ = jax.random.split(jax.random.key(cfg.seed), 4)
    augment = transforms.differentiable_augment(cutout=0.25) if cfg.augment else None
    preprocess = transforms.normalize(0.5, 0.5)
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, preprocess=preprocess, augment=augment, fresh_noise=False),
        players, init_key, players.noise(noise_key, (64, 100)), num_steps=num_steps,
    )  # fmt: skip
    return run(
        step, snapshots, {"image": images}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, workdir=cfg.workdir, resume=cfg.resume, config=cfg,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains and draws; returns the history."""
    images = load_images(cfg)
    workdir = cfg.workdir or config.new_run_dir("gan_conv")
    size = min(cfg.batch_size, len(images))
    snapshots, history = train(dataclasses.replace(cfg, workdir=workdir, batch_size=size), images)
    num_steps, ideal = int(snapshots.step), math.log(2)
    players = make_players(cfg, num_steps)
    generative.figures.save_pictures(
        workdir, players, snapshots, images, num_steps=num_steps, ideal=ideal, title="DCGAN"
    )
    generative.figures.save_latent_pictures(
        workdir, players, snapshots.gan, jax.random.key(cfg.seed)
    )
    chosen = np.linspace(0, len(images) - 1, 64).astype(int)
    scale = max(1, round(56 / cfg.size))
    generative.figures.save_grid(images[chosen], workdir / "real.png", num_columns=8, scale=scale)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
