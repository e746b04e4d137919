"""Four small facts about GANs, each with its picture.

    python experiments/gan_theory.py
    python experiments/gan_theory.py --parts game

ideal         a discriminator that is shown the same distribution twice ends at its ideal loss,
              1/4 for squared errors and ln 2 for cross entropies
game          x·y with x up and y down the slope, from (.6, .7) at rate .1: the radius grows from
              0.921954 to 11.038047 in 499 steps; what extragradient, optimistic and momentum
              updates make of it
distribution  eight images of 3x3 pixels are probabilities of pixels, from which 24 images are drawn
ring          eight Gaussians on a circle: squared errors and SGD, the book's first recipe, find two
              of them, a penalty on the discriminator's gradient finds all

All four take about a minute. The run folder gets ideal.png, game.png, distribution.png, ring.png.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", appendices A, B and D; Gidel et al. 2019
(negative momentum); Daskalakis et al. 2018 (optimism); Metz et al. 2017 (the ring).
"""

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, generative, models, optim, plots, train
from jaxdl.losses import adversarial
from jaxdl.models import tutorial
from jaxdl.plots._style import TEST, TRAIN, new_figure

Part = Literal["ideal", "game", "distribution", "ring"]
COUNTS = np.array([[6, 0, 1], [0, 7, 0], [2, 0, 1]])
RADIUS, SPREAD = 2.0, 0.05


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    parts: tuple[Part, ...] = ("ideal", "game", "distribution", "ring")
    """Which facts."""
    num_steps: int = 3000
    """Of each discriminator on the ring; the first fact takes a fifth."""
    seed: int = 0
    """Of weights and noise."""
    workdir: Path | None = None
    """Folder of the pictures; runs/gan_theory_TIME by default."""


def fit_gan(
    cfg: Config,
    players: tuple[Any, Any],
    txs: tuple[Any, Any],
    loss: adversarial.AdversarialLoss,
    data: Any,
    num_epochs: int,
    **options: Any,
) -> tuple[train.GANState, Any]:
    """Batches of 256 through train.fit: the state, and the discriminator's loss of each epoch."""
    step = train.make_gan_step(*players, *txs, loss, **options)

    @jax.jit
    def fit(key: Any, data: Any) -> Any:
        init_key, order_key = jax.random.split(key)
        state = train.init_gan_state(*players, *txs, init_key)
        return train.fit(step, state, data, num_epochs=num_epochs, batch_size=256, key=order_key)

    state, history = fit(jax.random.key(cfg.seed), data)
    return state, np.asarray(history["train/discriminator_loss"])


def ideal(cfg: Config, folder: Path) -> dict[str, float]:
    """Both kinds of loss of a discriminator that cannot tell, because there is nothing to tell."""
    num_epochs = max(cfg.num_steps // 50, 2)
    data = {"image": jax.random.normal(jax.random.key(cfg.seed + 1), (2560, 2))}
    kinds = {
        "squared error": (adversarial.least_squares(), 0.25),
        "cross entropy": (adversarial.on_probabilities(), math.log(2)),
    }
    figure, results = new_figure(8, 3.2), {}
    for index, (name, (loss, value)) in enumerate(kinds.items()):
        judge = models.DenseDiscriminator((16,), output_activation=nn.sigmoid)
        players, txs = (
            (tutorial.NoiseSource((2,)), judge),
            (optim.sgd(0.0), optim.adam(2e-3)),
        )
        losses = fit_gan(cfg, players, txs, loss, data, num_epochs)[1]
        axes = figure.add_subplot(1, 2, index + 1)
        axes.plot(10 * np.arange(1, num_epochs + 1), losses, color=TRAIN)
        axes.axhline(value, color="black", linestyle="--", label=f"ideal: {value:.4f}")
        axes.set_title(f"{name}: ends at {losses[-1]:.4f}", fontsize=10)
        axes.set_xlabel("step")
        axes.set_ylabel("discriminator loss")
        axes.legend(frameon=False)
        results[name] = float(losses[-1])
    plots.save(figure, folder / "ideal.png")
    return results


Update = Callable[[Any, Any], tuple[Any, Any]]


def play_game(update: Update, start: Any = None, *, num_steps: int = 499) -> np.ndarray:
    """(num_steps + 1, 2): the points (x, y), from (.6, .7)."""

    def step(carry: tuple[Any, Any], _: Any) -> tuple[Any, Any]:
        carry = update(*carry)
        return carry, carry[0]

    point = jnp.array([0.6, 0.7])
    _, path = jax.lax.scan(step, (point, start), length=num_steps)
    return np.concatenate([point[None], path])


def gradients(point: Any) -> Any:
    """Of x·y, which x makes large and y small: what is to be subtracted."""
    x, y = point
    return jnp.stack([-y, x])


def with_optax(tx: optax.GradientTransformation) -> np.ndarray:
    def update(point: Any, state: Any) -> tuple[Any, Any]:
        updates, state = tx.update(gradients(point), state, point)
        return optax.apply_updates(point, updates), state

    return play_game(update, tx.init(jnp.zeros(2)))


def extragradient(rate: float) -> np.ndarray:
    """A step is made with the gradients at the place where it would lead."""

    def update(point: Any, state: Any) -> tuple[Any, Any]:
        return point - rate * gradients(point - rate * gradients(point)), state

    return play_game(update)


def alternating(rate: float, momentum: float) -> np.ndarray:
    """x moves, then y, which sees the new x."""

    def update(point: Any, velocity: Any) -> tuple[Any, Any]:
        for player in (0, 1):
            turn = jnp.arange(2) == player
            velocity = jnp.where(turn, momentum * velocity - rate * gradients(point), velocity)
            point = point + jnp.where(turn, velocity, 0.0)
        return point, velocity

    return play_game(update, jnp.zeros(2))


def game(cfg: Config, folder: Path) -> dict[str, float]:
    """Where the players of x·y go with six ways to update."""
    del cfg  # nothing is drawn
    paths = {
        "simultaneous descent": with_optax(optim.sgd(0.1)),
        "momentum 0.5": with_optax(optim.sgd(0.1, momentum=0.5)),
        "alternating": alternating(0.1, 0.0),
        "alternating, momentum -0.5": alternating(0.1, -0.5),
        "optimistic": with_optax(optax.optimistic_gradient_descent(0.1)),
        "extragradient": extragradient(0.1),
    }
    figure = new_figure(9.6, 6.4)
    for index, (name, path) in enumerate(paths.items()):
        axes = figure.add_subplot(2, 3, index + 1)
        near = path[: 1 + int(np.argmax(np.append(np.abs(path).max(axis=1) > 12, True)))]
        axes.plot(*near.T, color=TRAIN, linewidth=0.8)
        axes.plot(*path[0], "o", color="black", markersize=5)
        if len(near) > len(path) - 1:
            axes.plot(*path[-1], "*", color=TEST, markersize=12)
        axes.plot(0, 0, "+", color="black", markersize=9)
        radius = np.linalg.norm(path[-1])
        axes.set_title(f"{name}\nradius after 499 steps: {radius:.4g}", fontsize=9)
        axes.set_aspect("equal", adjustable="datalim")
    plots.save(figure, folder / "game.png")
    return {name: float(np.linalg.norm(path[-1])) for name, path in paths.items()}


def distribution(cfg: Config, folder: Path) -> dict[str, float]:
    """What a perfect generator learns: not eight images but how often a pixel is set."""
    probabilities = jnp.asarray(COUNTS / 8)
    key = jax.random.key(cfg.seed)
    images = jax.random.bernoulli(key, probabilities[None], (24, 3, 3)).astype(jnp.float32)
    figure = new_figure(8.4, 3.0)
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
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle("24 images drawn from the distribution of eight", fontsize=11)
    plots.save(figure, folder / "distribution.png")
    return {"largest difference of 24 images": float(abs(images.mean(0) - probabilities).max())}


def modes() -> np.ndarray:
    """(8, 2): the middles of the Gaussians."""
    angles = 2 * np.pi * np.arange(8) / 8
    return RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def count_modes(points: np.ndarray) -> tuple[int, float]:
    """Gaussians with at least 1/40 of the points near them, and the share of points near any."""
    indices, distances = generative.nearest_neighbors(points, modes())
    near = distances < 4 * SPREAD
    counts = generative.class_histogram(indices[near], 8) if near.any() else np.zeros(8)
    return int((counts >= len(points) / 40).sum()), float(near.mean())


def remedies() -> dict[str, tuple[Any, Any, dict[str, Any]]]:
    """Optimizers, loss and options of the step; the networks are always the same."""
    plain, calm, slow = optim.sgd(0.05), optim.adam(1e-3, b1=0.5), optim.adam(3e-4, b1=0.5)
    return {
        "squared error, SGD": ((plain, plain), adversarial.least_squares(), {}),
        "non-saturating loss, R1": (
            (calm, calm),
            adversarial.non_saturating(),
            {"penalty": adversarial.r1(0.2)},
        ),
        "hinge, R1, two time scales": (
            (slow, calm),
            adversarial.hinge(),
            {"penalty": adversarial.r1(0.2)},
        ),
        "Wasserstein, penalty, 2 steps": (
            (calm, calm),
            adversarial.wasserstein(),
            {"penalty": adversarial.wgan_gp(1.0), "discriminator_steps": 2},
        ),
    }


def ring(cfg: Config, folder: Path) -> dict[str, float]:
    """The same two networks, plain and with remedies against the loss of modes."""
    key, noise_key = jax.random.split(jax.random.key(cfg.seed + 2))
    spread = SPREAD * jax.random.normal(key, (25_600, 2))
    data = {"image": jnp.asarray(modes(), jnp.float32)[jnp.arange(25_600) % 8] + spread}
    dense: Any = {"activation": nn.relu, "layer_norm": False}
    players = (
        models.DenseGenerator((64, 64), (2,), 16, output_activation=lambda x: 2 * x, **dense),
        models.DenseDiscriminator((64, 64), **dense),
    )
    ways = remedies()
    figure, results = new_figure(3.0 * len(ways), 3.5), {}
    for index, (name, (txs, loss, options)) in enumerate(ways.items()):
        num_epochs = max(cfg.num_steps // 100, 1)
        state, _ = fit_gan(cfg, players, txs, loss, data, num_epochs, **options)
        points = np.asarray(train.sample(players[0], state, noise_key, 2000))
        found, near = count_modes(points)
        axes = figure.add_subplot(1, len(ways), index + 1)
        axes.plot(*np.asarray(data["image"][:1000]).T, ".", color="#BBBBBB", markersize=2)
        axes.plot(*points.T, ".", color=TEST, markersize=2, alpha=0.5)
        axes.set(xlim=(-2.9, 2.9), ylim=(-2.9, 2.9), xticks=[], yticks=[], aspect="equal")
        axes.set_title(f"{name}\n{found} of 8, {near:.0%} of the points near", fontsize=9)
        results[name] = float(found)
    plots.save(figure, folder / "ring.png")
    return results


def main(cfg: Config) -> list[dict[str, Any]]:
    """All parts; returns one row of numbers for each."""
    folder = cfg.workdir or Path("runs") / f"gan_theory_{time.strftime('%Y%m%d-%H%M%S')}"
    functions = {"ideal": ideal, "game": game, "distribution": distribution, "ring": ring}
    history = []
    for part in cfg.parts:
        row = functions[part](cfg, folder)
        history.append({"part": part, **row})
        print(f"{part}: " + ", ".join(f"{name} {value:.7g}" for name, value in row.items()))
    print(f"pictures: {folder}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
