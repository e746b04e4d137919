"""A DCGAN that generates digits, or clothes.

    python experiments/gan_mnist.py
    python experiments/gan_mnist.py --data mnist --data_dir DIR --num_epochs 4

The first command needs no data: scikit-learn's digits, about two minutes. The recipe is
convolutions, batches, smoothed labels and an average of the generator.

A classifier of the same data, cached in runs/classifiers, measures 1,000 generated images after
every epoch (generator.jsonl) and 10,000 at the end (generator.json) against the test images:
Fréchet distance, precision, recall, classes. The run folder also gets losses.png (with the ideal
loss), samples.png, training.gif (the same noise during training), neighbors.png (the nearest
training images), interpolation.png, arithmetic.png and walk.gif (between noise vectors).

Source: Radford et al. 2016; PyTorch's DCGAN tutorial.
"""

import dataclasses
import math
from typing import Any, Literal

import jax

from jaxdl import config, data, generative, models, optim, transforms
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.train import Players, make_gan_step, run
from jaxdl.types import Row

LOSSES = {
    "non_saturating": (adversarial.non_saturating(real_target=0.9), math.log(2)),
    "hinge": (adversarial.hinge(), 1.0),
    "least_squares": (adversarial.least_squares(), 0.25),
}
"""Losses, and the discriminator's value if it cannot distinguish real from generated images."""


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 60
    batch_size: int = 64
    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """Data set."""
    features: int = 32
    """Channels of the discriminator's largest maps; the generator has twice as many."""
    learning_rate: float = 1e-3
    """Adam's first rate for the generator; the discriminator's is 0.4 times that."""
    loss: Literal["non_saturating", "hinge", "least_squares"] = "non_saturating"
    """Loss of both players."""
    norm: Literal["batch", "spectral"] = "batch"
    """Normalization of the discriminator."""
    ema: float = 0.995
    """Decay of the generator's average."""
    num_samples: int = 10_000
    """Generated images to measure at the end, at least 40; 0 for none."""


def make_players(cfg: Config, shape: Any, num_steps: int) -> Players:
    """The discriminator makes three passes per pass of the generator and would win too easily."""
    rates = [optim.polynomial(rate * cfg.learning_rate, num_steps) for rate in (1.0, 0.4)]
    return Players(
        models.DCGANGenerator(shape, 100, 2 * cfg.features),
        models.DCGANDiscriminator(cfg.features, cfg.norm),
        optim.ema(optim.adam(rates[0], b1=0.5), cfg.ema),
        optim.adam(rates[1], b1=0.5), LOSSES[cfg.loss][0], signed=True, averaged=True,
    )  # fmt: skip


def train(cfg: Config, dataset: data.Dataset, reference: Any = None) -> tuple[Snapshots, list[Row]]:
    """Trains both players; returns snapshots of their state and one row per epoch."""
    images = dataset.train["image"]
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    players = make_players(cfg, images.shape[1:], num_steps)
    init_key, order_key, noise_key, key = jax.random.split(jax.random.key(cfg.seed), 4)
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, preprocess=transforms.normalize(0.5, 0.5), fresh_noise=False),
        players, init_key, players.noise(noise_key, (64, 100)), num_steps=num_steps,
    )  # fmt: skip
    sizes: Any = {"num_epochs": cfg.num_epochs, "num_samples": cfg.num_samples}
    hooks = [generative.make_hook(reference, players, key, **sizes)] if reference else []
    return run(
        step, snapshots, {"image": images}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, workdir=cfg.workdir, resume=cfg.resume, config=cfg, hooks=hooks,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains, measures, and draws; returns the history."""
    workdir = cfg.workdir or config.new_run_dir(f"gan_{cfg.data}")
    dataset, reference = data.load(cfg.data, cfg.data_dir), None
    if cfg.num_samples:
        options: Any = {"num_images": cfg.num_samples, "cache_dir": "runs/classifiers"}
        reference = generative.make_reference(dataset, **options)
    snapshots, history = train(dataclasses.replace(cfg, workdir=workdir), dataset, reference)
    images, num_steps = dataset.train["image"], int(snapshots.step)
    players = make_players(cfg, images.shape[1:], num_steps)
    options = {"ideal": LOSSES[cfg.loss][1], "title": f"DCGAN on {cfg.data}"}
    figures, key = generative.figures, jax.random.key(cfg.seed)
    figures.save_pictures(workdir, players, snapshots, images, num_steps=num_steps, **options)
    figures.save_latent_pictures(workdir, players, snapshots.gan, key)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
