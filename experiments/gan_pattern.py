"""A GAN of 41 parameters that learns to say 1010.

    python experiments/gan_pattern.py

Real examples are four numbers: high, low, high, low, from U(0.8, 1) and U(0, 0.2). A discriminator
alone, against uniform noise, ends at about .8 for real examples and .2 for noise. Then the
generator 1-3-4 learns from the discriminator 4-3-1, 10,000 steps of SGD with squared errors: its
output comes to about (.94, .05, .94, .05), and both losses to the ideal 0.25. About ten seconds.

The run folder gets evolution.png (the generator's output every 1,000 steps), losses.png and
alone.png (the losses of the discriminator alone).

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebook 6.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from _gan import Players, against_noise, play
from jaxdl import config, generative, models, optim, plots, train
from jaxdl.losses import adversarial


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_steps: int = 10_000
    """Examples that each player learns from, one a step; a multiple of 10."""
    learning_rate: float = 0.01
    """Of SGD."""
    seed: int = 0
    """Of weights, examples and order."""
    workdir: Path | None = None
    """Run folder; runs/gan_pattern_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def draw_pattern(key: Any, number: int) -> Any:
    """(N, 4): high, low, high, low."""
    return 0.2 * jax.random.uniform(key, (number, 4)) + jnp.array([[0.8, 0.0, 0.8, 0.0]])


def make_players(learning_rate: float) -> Players:
    options: Any = {"activation": nn.sigmoid, "layer_norm": False}
    return Players(
        models.DenseGenerator((3,), (4,), 1, **options),
        models.DenseDiscriminator((3,), output_activation=nn.sigmoid, **options),
        (optim.sgd(learning_rate), optim.sgd(learning_rate)),
        adversarial.least_squares(),
        ideal=0.25,
        noise=lambda key, shape: jnp.full(shape, 0.5),
        options={"separate_updates": True},
    )


def main(cfg: Config) -> list[dict[str, Any]]:
    """Both experiments; returns the history of the second, one row a tenth of the steps."""
    workdir = cfg.workdir or Path("runs") / f"gan_pattern_{time.strftime('%Y%m%d-%H%M%S')}"
    real_key, fresh_key, noise_key = jax.random.split(jax.random.key(cfg.seed + 1), 3)
    examples = {"image": draw_pattern(real_key, cfg.num_steps // 10)}
    players = make_players(cfg.learning_rate)
    common: Any = {"num_epochs": 10, "batch_size": 1, "num_seeds": 1, "num_frames": 10}

    judge = against_noise(players, (4,))
    state, _ = play(cfg, judge, examples, workdir / "alone", title="discriminator alone", **common)
    variables = {"params": state.discriminator.params}
    noise = jax.random.uniform(noise_key, (1000, 4))

    def output(examples: Any) -> float:
        return float(jnp.asarray(judge.discriminator.apply(variables, examples)).mean())

    real_output, noise_output = output(draw_pattern(fresh_key, 1000)), output(noise)
    print(f"discriminator alone: {real_output:.2f} for real examples, {noise_output:.2f} for noise")

    state, history = play(cfg, players, examples, workdir, title="1010", **common)
    made = train.generate(players.generator, state, jnp.full((1, 1), 0.5))[0]
    frames = np.load(workdir / "frames.npy")[:, 0]
    labels = ("number", f"moment, every {cfg.num_steps // 10:,} steps")
    figure = generative.rows_over_time(frames, labels=labels, title="what the generator makes")
    plots.save(figure, workdir / "evolution.png")
    print(f"generator: {np.round(np.asarray(made), 2)}\nrun folder: {workdir}")
    history[-1] |= {"alone/real_output": real_output, "alone/noise_output": noise_output}
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
