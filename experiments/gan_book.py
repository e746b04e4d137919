"""The dense GANs of Rashid's book: the first attempt, which collapses, and the improved one.

    python experiments/gan_book.py
    python experiments/gan_book.py --data mnist --data_dir DIR
    python experiments/gan_book.py --data mnist --data_dir DIR --players first --num_epochs 1
    python experiments/gan_book.py --alone --num_epochs 1

The first command needs no data: scikit-learn's digits, about a minute. "first" (squared errors,
SGD, one number as noise) collapses to one image; "improved" (cross entropy, LeakyReLU, LayerNorm,
100 normal numbers, Adam) generates several digits; both train on one image per step. --alone trains
the discriminator against uniform noise: above 0.99 for real images and about 0.005 for noise.

A classifier measures the images, and the run folder gets the same files as with gan_mnist.py.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebooks 7 and 8.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax

from jaxdl import config, data, generative, models, optim, transforms
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.train import Players, make_gan_step, run
from jaxdl.types import Row


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 4
    batch_size: int = 1
    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """Data set."""
    players: Literal["first", "improved"] = "improved"
    """Networks, loss, and optimizers."""
    alone: bool = False
    """Train only the discriminator, against uniform noise."""
    num_samples: int = 10_000
    """Generated images to measure at the end, at least 40; 0 for none."""


def make_players(cfg: Config, shape: tuple[int, ...]) -> Players:
    """Two networks of one hidden layer, with a sigmoid at their ends."""
    noise: Any
    if cfg.players == "first":
        options: Any = {"activation": nn.sigmoid, "layer_norm": False}
        generator = models.DenseGenerator((200,), shape, 1, **options)
        noise, tx, loss = jax.random.uniform, optim.sgd(0.01), adversarial.least_squares()
    else:
        options, generator = {}, models.DenseGenerator((200,), shape)
        noise, tx, loss = jax.random.normal, optim.adam(1e-4), adversarial.on_probabilities()
    discriminator = models.DenseDiscriminator((200,), output_activation=nn.sigmoid, **options)
    if cfg.alone:
        source = tutorial.NoiseSource(shape)
        return Players(source, discriminator, optim.sgd(0.0), tx, loss, jax.random.uniform)
    return Players(generator, discriminator, tx, tx, loss, noise)


def train(cfg: Config, dataset: data.Dataset, reference: Any = None) -> tuple[Snapshots, list[Row]]:
    """Trains both players; returns snapshots of their state and one row per epoch."""
    images = dataset.train["image"]
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    players = make_players(cfg, images.shape[1:])
    init_key, order_key, noise_key, key = jax.random.split(jax.random.key(cfg.seed), 4)
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, preprocess=transforms.to_float, separate_updates=True), players,
        init_key, players.noise(noise_key, (64, players.num_latents)), num_steps=num_steps,
    )  # fmt: skip
    sizes: Any = {"num_epochs": cfg.num_epochs, "num_samples": cfg.num_samples}
    hooks = [generative.make_hook(reference, players, key, **sizes)] if reference else []
    return run(
        step, snapshots, {"image": images}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, workdir=cfg.workdir, resume=cfg.resume, config=cfg, hooks=hooks,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains, measures, and draws; returns the history."""
    workdir = cfg.workdir or config.new_run_dir(f"gan_book_{cfg.players}_{cfg.data}")
    dataset, reference = data.load(cfg.data, cfg.data_dir), None
    if cfg.num_samples and not cfg.alone:
        options: Any = {"num_images": cfg.num_samples, "cache_dir": "runs/classifiers"}
        reference = generative.make_reference(dataset, **options)
    snapshots, history = train(dataclasses.replace(cfg, workdir=workdir), dataset, reference)
    images, num_steps = dataset.train["image"], int(snapshots.step)
    players = make_players(cfg, images.shape[1:])
    ideal = 0.25 if cfg.players == "first" else math.log(2)
    options = {"num_steps": num_steps, "ideal": ideal, "title": f"{cfg.players} {cfg.data}"}
    generative.figures.save_pictures(workdir, players, snapshots, images, **options)
    generative.figures.save_latent_pictures(
        workdir, players, snapshots.gan, jax.random.key(cfg.seed)
    )
    real, fake = (history[-1][f"train/{name}_output"] for name in ("real", "fake"))
    print(
        f"discriminator: {real:.4g} for real images, {fake:.4g} for others\nrun folder: {workdir}"
    )
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
