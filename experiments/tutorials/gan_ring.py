"""Eight Gaussians on a ring: a plain GAN loses modes, remedies find them.

    python experiments/tutorials/gan_ring.py

The same two networks are trained in four ways: squared errors and SGD, the first recipe of Rashid's
book, find two of the eight Gaussians; the non-saturating loss, the hinge loss with two time scales,
each with a penalty on the discriminator's gradient, and the Wasserstein loss with a penalty find
all. About half a minute. The run folder gets ring.png.

Source: Metz et al. 2017 (the ring); Mescheder et al. 2018 (R1); Heusel et al. 2017 (two time
scales); Gulrajani et al. 2017 (Wasserstein with a penalty); Tariq Rashid, "Make Your First GAN With
PyTorch", notebook 7 (the plain recipe).
"""

import dataclasses
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxdl import config, generative, models, optim, plots
from jaxdl.losses import adversarial
from jaxdl.train import GANState, Players, fit, gan, init_gan_state, make_gan_step
from jaxdl.types import Batch

ANGLES, SPREAD = 2 * np.pi * np.arange(8) / 8, 0.05
CENTERS = 2.0 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # (8, 2), of the Gaussians


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_steps: int = 3000  # updates of the discriminator
    seed: int = 0  # seed of weights, points, and noise
    workdir: Path | None = None  # folder for the picture; by default a new one in runs/


def make_players() -> dict[str, tuple[Players, dict[str, Any]]]:
    """Players and options of the step by name; the networks are always the same."""
    dense: Any = {"activation": nn.relu, "layer_norm": False}
    first = models.DenseGenerator((64, 64), (2,), 16, output_activation=lambda x: 2 * x, **dense)
    networks = first, models.DenseDiscriminator((64, 64), **dense)
    plain, calm, slow = optim.sgd(0.05), optim.adam(1e-3, b1=0.5), optim.adam(3e-4, b1=0.5)
    r1 = {"penalty": adversarial.r1(0.2)}
    two_steps = {"penalty": adversarial.wgan_gp(1.0), "discriminator_steps": 2}
    ways: dict[str, tuple[Any, ...]] = {
        "squared error, SGD": (plain, plain, adversarial.least_squares(), {}),
        "non-saturating loss, R1": (calm, calm, adversarial.non_saturating(), r1),
        "hinge, R1, two time scales": (slow, calm, adversarial.hinge(), r1),
        "Wasserstein, penalty, 2 steps": (calm, calm, adversarial.wasserstein(), two_steps),
    }
    return {name: (Players(*networks, *way), options) for name, (*way, options) in ways.items()}


def make_data(key: jax.Array) -> jax.Array:
    """(25600, 2): equal numbers of points from all Gaussians."""
    spread = SPREAD * jax.random.normal(key, (25_600, 2))
    return jnp.asarray(CENTERS, jnp.float32)[jnp.arange(25_600) % 8] + spread


def count_modes(points: np.ndarray) -> tuple[int, float]:
    """Gaussians with at least 1/40 of the points near them, and the share of points near any."""
    indices, distances = generative.scores.nearest_neighbors(points, CENTERS)
    near = distances < 4 * SPREAD
    counts = np.bincount(indices[near], minlength=8)
    return int((counts >= len(points) / 40).sum()), float(near.mean())


def train(
    cfg: Config, points: jax.Array, players: Players, options: dict[str, Any]
) -> tuple[GANState, dict[str, jax.Array]]:
    """Trains with batches of 256 points."""
    step, num_epochs = make_gan_step(players, **options), max(cfg.num_steps // 100, 1)

    def train_from(key: jax.Array, data: Batch) -> tuple[GANState, dict[str, jax.Array]]:
        init_key, order_key = jax.random.split(key)
        state = init_gan_state(players, init_key)
        return fit(step, state, data, num_epochs=num_epochs, batch_size=256, key=order_key)

    return jax.jit(train_from)(jax.random.key(cfg.seed), {"image": points})


def main(cfg: Config) -> dict[str, int]:
    """Trains in four ways and draws; returns the number of Gaussians found by each."""
    workdir = cfg.workdir or config.new_run_dir("gan_ring")
    key, noise_key = jax.random.split(jax.random.key(cfg.seed + 2))
    data, ways = make_data(key), make_players()
    figure, results = Figure(figsize=(3.0 * len(ways), 3.5), layout="constrained"), {}
    panels = figure.subplots(1, len(ways), squeeze=False)[0]
    for axes, (name, (players, options)) in zip(panels, ways.items(), strict=True):
        state, _ = train(cfg, data, players, options)
        points = np.asarray(gan.sample(players, state, noise_key, 2000))
        results[name], near = count_modes(points)
        axes.plot(*np.asarray(data[:1000]).T, ".", color="#BBBBBB", markersize=2)
        axes.plot(*points.T, ".", color="C1", markersize=2, alpha=0.5)
        axes.set(xlim=(-2.9, 2.9), ylim=(-2.9, 2.9), xticks=[], yticks=[], aspect="equal")
        title = f"{results[name]} of 8, {near:.0%} of the points near"
        axes.set_title(f"{name}\n{title}", fontsize=9)
        print(f"{name}: {title}")
    print(f"run folder: {plots.save(figure, workdir / 'ring.png').parent}")
    return results


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
