"""The ideal loss of a discriminator: one that sees the same distribution twice ends there.

    python experiments/tutorials/gan_ideal_loss.py

Real and generated examples are both from the standard normal distribution in two dimensions. The
discriminator's loss ends at 1/4 for squared errors and at ln 2 for cross entropies, its value if it
cannot distinguish. About five seconds. The run folder gets ideal.png.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", appendix A.
"""

import dataclasses
import math
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from matplotlib.figure import Figure

from jaxdl import config, models, optim, plots
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.train import GANState, Players, fit, init_gan_state, make_gan_step

KINDS = {
    "squared error": (adversarial.least_squares(), 0.25),
    "cross entropy": (adversarial.on_probabilities(), math.log(2)),
}
"""Losses and their ideal values."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_epochs: int = 60
    """Passes over 2,560 examples, in batches of 256."""
    seed: int = 0
    """Seed of weights and examples."""
    workdir: Path | None = None
    """Folder for the picture; by default a new one in runs/."""


def train(
    cfg: Config, examples: jax.Array, loss: adversarial.AdversarialLoss
) -> tuple[GANState, dict[str, jax.Array]]:
    """Trains a discriminator against noise of the same distribution."""
    discriminator = models.DenseDiscriminator((16,), output_activation=nn.sigmoid)
    players = Players(
        tutorial.NoiseSource((2,)), discriminator, optim.sgd(0.0), optim.adam(2e-3), loss
    )
    step = make_gan_step(players)

    @jax.jit
    def train_from(key: jax.Array, examples: jax.Array) -> tuple[GANState, dict[str, jax.Array]]:
        init_key, order_key = jax.random.split(key)
        options = {"num_epochs": cfg.num_epochs, "batch_size": 256, "key": order_key}
        return fit(step, init_gan_state(players, init_key), {"image": examples}, **options)

    return train_from(jax.random.key(cfg.seed), examples)


def main(cfg: Config) -> dict[str, float]:
    """Trains with both losses and draws; returns the last losses."""
    workdir = cfg.workdir or config.new_run_dir("gan_ideal_loss")
    examples = jax.random.normal(jax.random.key(cfg.seed + 1), (2560, 2))
    figure, results = Figure(figsize=(8, 3.2), layout="constrained"), {}
    for index, (name, (loss, ideal)) in enumerate(KINDS.items()):
        losses = np.asarray(train(cfg, examples, loss)[1]["train/discriminator_loss"])
        axes = figure.add_subplot(1, 2, index + 1)
        axes.plot(10 * np.arange(1, len(losses) + 1), losses)
        axes.axhline(ideal, color="black", linestyle="--", label=f"ideal: {ideal:.4f}")
        axes.set_title(f"{name}: ends at {losses[-1]:.4f}", fontsize=10)
        axes.set(xlabel="step", ylabel="discriminator loss")
        axes.legend(frameon=False)
        results[name] = float(losses[-1])
        print(f"{name}: {losses[-1]:.7f}, ideal {ideal:.7f}")
    plots.save(figure, workdir / "ideal.png")
    print(f"run folder: {workdir}")
    return results


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
