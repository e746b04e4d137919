"""The game x·y, in which x climbs and y descends: six kinds of updates.

    python experiments/tutorials/gan_game.py

Simultaneous gradient descent from (0.6, 0.7) at rate 0.1 spirals outwards: the radius grows from
0.921954 to 11.038047 in 499 steps. Momentum makes it worse, alternating updates circle, and
negative momentum, optimism, and extragradient reach the equilibrium (0, 0). A few seconds. The run
folder gets game.png.

Source: Tariq Rashid, "Make Your First GAN With PyTorch", appendix D; Gidel et al. 2019 (negative
momentum); Daskalakis et al. 2018 (optimism); Korpelevich 1976 (extragradient).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from jaxdl import config, optim, plots

Update = Callable[[jax.Array, Any], tuple[jax.Array, Any]]
"""``(point, state) -> (point, state)``."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_steps: int = 499
    """Number of updates."""
    learning_rate: float = 0.1
    """Rate of all updates."""
    workdir: Path | None = None
    """Folder for the picture; by default a new one in runs/."""


def gradients(point: jax.Array) -> jax.Array:
    """The gradients of the players' losses: x minimizes x·y, y its negative."""
    x, y = point
    return jnp.stack([-y, x])


def with_optax(tx: optax.GradientTransformation) -> tuple[Update, Any]:
    """Both players update at once with an optimizer."""

    def update(point: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        updates, state = tx.update(gradients(point), state, point)
        return optax.apply_updates(point, updates), state

    return update, tx.init(jnp.zeros(2))


def extragradient(rate: float) -> tuple[Update, Any]:
    """A step with the gradients at the place where a plain step would end."""

    def update(point: jax.Array, state: Any) -> tuple[jax.Array, Any]:
        return point - rate * gradients(point - rate * gradients(point)), state

    return update, None


def alternating(rate: float, momentum: float) -> tuple[Update, Any]:
    """x moves, then y, which sees the new x."""

    def update(point: jax.Array, velocity: jax.Array) -> tuple[jax.Array, Any]:
        for player in (0, 1):
            turn = jnp.arange(2) == player
            velocity = jnp.where(turn, momentum * velocity - rate * gradients(point), velocity)
            point = point + jnp.where(turn, velocity, 0.0)
        return point, velocity

    return update, jnp.zeros(2)


def train(cfg: Config, update: Update, start: Any) -> np.ndarray:
    """(num_steps + 1, 2): the points (x, y), from (0.6, 0.7)."""

    def step(carry: tuple[jax.Array, Any], _: None) -> tuple[tuple[jax.Array, Any], jax.Array]:
        point, state = update(*carry)
        return (point, state), point

    point = jnp.array([0.6, 0.7])
    _, path = jax.lax.scan(step, (point, start), length=cfg.num_steps)
    return np.concatenate([point[None], path])


def main(cfg: Config) -> dict[str, float]:
    """Plays with six kinds of updates and draws; returns the radius at the end of each."""
    workdir, rate = cfg.workdir or config.new_run_dir("gan_game"), cfg.learning_rate
    kinds = {
        "simultaneous descent": with_optax(optim.sgd(rate)),
        "momentum 0.5": with_optax(optim.sgd(rate, momentum=0.5)),
        "alternating": alternating(rate, 0.0),
        "alternating, momentum -0.5": alternating(rate, -0.5),
        "optimistic": with_optax(optax.optimistic_gradient_descent(rate)),
        "extragradient": extragradient(rate),
    }
    figure, results = Figure(figsize=(9.6, 6.4), layout="constrained"), {}
    for index, (name, (update, start)) in enumerate(kinds.items()):
        path = train(cfg, update, start)
        axes = figure.add_subplot(2, 3, index + 1)
        near = path[: 1 + int(np.argmax(np.append(np.abs(path).max(axis=1) > 12, True)))]
        axes.plot(*near.T, linewidth=0.8)
        axes.plot(*path[0], "o", color="black", markersize=5)
        if len(near) > len(path) - 1:
            axes.plot(*path[-1], "*", color="C1", markersize=12)
        axes.plot(0, 0, "+", color="black", markersize=9)
        results[name] = float(np.linalg.norm(path[-1]))
        title = f"{name}\nradius after {cfg.num_steps} steps: {results[name]:.4g}"
        axes.set_title(title, fontsize=9)
        axes.set_aspect("equal", adjustable="datalim")
        print(f"{name}: radius {results[name]:.7g}")
    plots.save(figure, workdir / "game.png")
    print(f"run folder: {workdir}")
    return results


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
