"""A conditional GAN: digits, or clothes, of a requested class.

    python experiments/cgan_mnist.py
    python experiments/cgan_mnist.py --data mnist --data_dir DIR --num_epochs 4
    python experiments/cgan_mnist.py --players book --batch_size 1 --num_epochs 12

The first command needs no data: scikit-learn's digits, about two minutes. The label gets into the
discriminator of "dcgan" by projection or concatenation; "book" is dense, with the one-hot label
joined to image and noise. A classifier measures the images as with gan_mnist.py, and which of them
show the requested class (conditional_accuracy in generator.json). The run folder gets classes.png,
with one column per class and the same noise in each row, and the files of gan_mnist.py.

Source: Mirza & Osindero 2014; Miyato & Koyama 2018 (projection); Tariq Rashid, "Make Your First GAN
With PyTorch", notebook 16.
"""

import dataclasses
import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import config, data, generative, models, optim, transforms
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.train import Players, gan, make_gan_step, run
from jaxdl.types import Row


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 60
    batch_size: int = 64
    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """Data set."""
    players: Literal["dcgan", "book"] = "dcgan"
    """Convolutions, or the book's dense networks."""
    condition: Literal["projection", "concatenate"] = "projection"
    """How dcgan's discriminator gets the label."""
    num_samples: int = 10_000
    """Generated images to measure at the end, at least 40; 0 for none."""


def make_players(cfg: Config, shape: Any, num_classes: int, num_steps: int) -> Players:
    if cfg.players == "book":
        generator = models.DenseGenerator((200,), shape, num_classes=num_classes)
        discriminator = models.DenseDiscriminator((200,), num_classes, output_activation=nn.sigmoid)
        tx = optim.adam(1e-4)
        return Players(generator, discriminator, tx, tx, adversarial.on_probabilities())
    rates = [optim.polynomial(rate, num_steps) for rate in (1e-3, 0.4e-3)]
    return Players(
        models.DCGANGenerator(shape, 100, 64, num_classes),
        models.DCGANDiscriminator(32, "batch", num_classes, cfg.condition),
        optim.ema(optim.adam(rates[0], b1=0.5), 0.995), optim.adam(rates[1], b1=0.5),
        adversarial.non_saturating(real_target=0.9), signed=True, averaged=True,
    )  # fmt: skip


def train(cfg: Config, dataset: data.Dataset, reference: Any = None) -> tuple[Snapshots, list[Row]]:
    """Trains both players; returns snapshots of their state and one row per epoch."""
    images, number = dataset.train["image"], len(dataset.class_names)
    num_steps = cfg.num_epochs * data.num_batches(len(images), cfg.batch_size)
    players = make_players(cfg, images.shape[1:], number, num_steps)
    init_key, order_key, noise_key, key = jax.random.split(jax.random.key(cfg.seed), 4)
    options: Any = {"preprocess": transforms.normalize(0.5, 0.5), "fresh_noise": False}
    if cfg.players == "book":
        options = {"preprocess": transforms.to_float, "separate_updates": True}
    labels = jnp.arange(8 * number) % number
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, **options), players, init_key,
        players.noise(noise_key, (8 * number, 100)), labels, num_steps=num_steps,
    )  # fmt: skip
    sizes: Any = {"num_epochs": cfg.num_epochs, "num_samples": cfg.num_samples}
    hooks = [generative.make_hook(reference, players, key, **sizes)] if reference else []
    return run(
        step, snapshots, dict(dataset.train), num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, workdir=cfg.workdir, resume=cfg.resume, config=cfg, hooks=hooks,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains, measures, and draws; returns the history."""
    workdir = cfg.workdir or config.new_run_dir(f"cgan_{cfg.players}_{cfg.data}")
    dataset, reference = data.load(cfg.data, cfg.data_dir), None
    if cfg.num_samples:
        options: Any = {"num_images": cfg.num_samples, "cache_dir": "runs/classifiers"}
        reference = generative.make_reference(dataset, **options)
    snapshots, history = train(dataclasses.replace(cfg, workdir=workdir), dataset, reference)
    images, num_steps = dataset.train["image"], int(snapshots.step)
    players = make_players(cfg, images.shape[1:], len(dataset.class_names), num_steps)
    options = {"num_steps": num_steps, "ideal": math.log(2), "title": f"cGAN on {cfg.data}"}
    generative.figures.save_pictures(workdir, players, snapshots, images, **options)
    number: Any = players.num_classes
    noise = jnp.repeat(jax.random.normal(jax.random.key(cfg.seed), (10, 100)), number, axis=0)
    made = gan.generate(players, snapshots.gan, noise, jnp.arange(10 * number) % number)
    generative.figures.save_grid(players.to_unit(made), workdir / "classes.png", num_columns=number)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
