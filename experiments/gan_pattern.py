"""A GAN of 41 parameters that learns the pattern 1010.

    python experiments/gan_pattern.py

Real examples are four numbers: high, low, high, low, from U(0.8, 1) and U(0, 0.2). A discriminator
alone, against uniform noise, ends near 0.8 for real examples and 0.2 for noise. Then the generator
1-3-4 learns from the discriminator 4-3-1, 10,000 steps of SGD with squared errors, each with a new
example: its output comes near (0.95, 0.05, 0.9, 0.05), and both losses near the ideal 0.25. About
ten seconds.

The run folder gets evolution.png (the generator's output every tenth of the steps), losses.png, and
alone.png (the losses of the discriminator alone).

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebook 6.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, generative, models, optim, plots
from jaxdl.generative.snapshots import Snapshots
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.train import Players, gan, make_gan_step, run
from jaxdl.types import Row


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 1
    batch_size: int = 1
    num_examples: int = 10_000
    """Number of real examples; a multiple of 10."""
    learning_rate: float = 0.01
    """Learning rate of SGD."""


def make_players(cfg: Config, alone: bool = False) -> Players:
    """Both players, or the discriminator alone with noise as the generated examples."""
    options: Any = {"activation": nn.sigmoid, "layer_norm": False}
    discriminator = models.DenseDiscriminator((3,), output_activation=nn.sigmoid, **options)
    tx, loss = optim.sgd(cfg.learning_rate), adversarial.least_squares()
    if alone:
        source = tutorial.NoiseSource((4,))
        return Players(source, discriminator, optim.sgd(0.0), tx, loss, jax.random.uniform)
    generator = models.DenseGenerator((3,), (4,), 1, **options)
    return Players(generator, discriminator, tx, tx, loss, lambda key, shape: jnp.full(shape, 0.5))


def train(cfg: Config, examples: jax.Array, alone: bool = False) -> tuple[Snapshots, list[Row]]:
    """Trains the players; returns snapshots of their state and one row per tenth of the steps."""
    num_steps = cfg.num_epochs * data.num_batches(len(examples), cfg.batch_size)
    players = make_players(cfg, alone)
    init_key, order_key, noise_key, _ = jax.random.split(jax.random.key(cfg.seed), 4)
    step, snapshots = generative.with_snapshots(
        make_gan_step(players, separate_updates=True), players, init_key,
        players.noise(noise_key, (1, players.num_latents)), num_steps=num_steps, num_frames=10,
    )  # fmt: skip
    workdir = cfg.workdir / "alone" if cfg.workdir and alone else cfg.workdir
    return run(
        step, snapshots, {"image": examples}, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size,
        key=order_key, eval_every=max(1, num_steps // 10), workdir=workdir, resume=cfg.resume,
        config=cfg,
    )  # fmt: skip


def main(cfg: Config) -> dict[str, Any]:
    """Trains the discriminator alone and then both players; returns their outputs at the end."""
    workdir = cfg.workdir or config.new_run_dir("gan_pattern")
    cfg = dataclasses.replace(cfg, workdir=workdir)
    keys = jax.random.split(jax.random.key(cfg.seed + 1), 3)
    examples = data.synthetic.pattern_1010(keys[0], cfg.num_examples)["input"]
    fresh = data.synthetic.pattern_1010(keys[1], 1000)["input"]

    alone, num_steps = train(cfg, examples, alone=True)[0], cfg.num_epochs * cfg.num_examples
    curves = alone.loss_history(num_steps)
    figure = generative.figures.loss_curves(*curves, ideal=0.25, title="discriminator alone")
    plots.save(figure, workdir / "alone.png")
    discriminator, params = make_players(cfg).discriminator, alone.gan.discriminator.params
    real, noise = (
        float(np.mean(np.asarray(discriminator.apply({"params": params}, x))))
        for x in (fresh, jax.random.uniform(keys[2], (1000, 4)))
    )
    print(f"discriminator alone: {real:.2f} for real examples, {noise:.2f} for noise")

    snapshots, _ = train(cfg, examples)
    options: Any = {"num_steps": num_steps, "ideal": 0.25, "title": "1010"}
    players = make_players(cfg)
    frames = generative.figures.save_pictures(workdir, players, snapshots, examples, **options)
    labels = ("number", f"every {num_steps // 10:,} steps")
    figure = generative.figures.rows_over_time(frames[:, 0], labels=labels, title="generator")
    plots.save(figure, workdir / "evolution.png")
    made = gan.generate(players, snapshots.gan, jnp.full((1, 1), 0.5))[0]
    print(f"generator: {np.round(np.asarray(made), 2)}, run folder: {workdir}")
    return {"real": real, "noise": noise, "generator": made}


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
