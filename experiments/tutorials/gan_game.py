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
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure

from jaxdl import config, optim, plots
from jaxdl.types import Array


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_steps: int = 499  # number of updates
    learning_rate: float = 0.1  # rate of all updates
    workdir: Path | None = None  # folder for the picture; by default a new one in runs/


def gradients(point: Array) -> Array:
    """The gradients of the players' losses: x minimizes x·y, y its negative."""
    return jnp.stack([-point[1], point[0]])


def with_optax(tx: optax.GradientTransformation) -> tuple[Callable[..., Any], Any]:
    """Both players update at once with an optimizer."""

    def update(point: Array, state: Any) -> tuple[Array, Any]:
        updates, state = tx.update(gradients(point), state, point)
        return optax.apply_updates(point, updates), state

    return update, tx.init(jnp.zeros(2))


def extragradient(point: Array, state: None, rate: float) -> tuple[Array, Any]:
    """A step with the gradients at the place where a plain step would end."""
    return point - rate * gradients(point - rate * gradients(point)), state


def alternating(point: Array, velocity: Array, rate: float, momentum: float) -> tuple[Array, Any]:
    """x moves, then y, which sees the new x."""
    for player in (0, 1):
        turn = jnp.arange(2) == player
        velocity = jnp.where(turn, momentum * velocity - rate * gradients(point), velocity)
        point = point + jnp.where(turn, velocity, 0.0)
    return point, velocity


def train(cfg: Config, update: Callable[..., Any], start: Any) -> np.ndarray:
    """(num_steps + 1, 2): the points (x, y), from (0.6, 0.7)."""

    def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], Array]:
        carry = update(*carry)
        return carry, carry[0]

    point = jnp.array([0.6, 0.7])
    _, path = jax.lax.scan(step, (point, start), length=cfg.num_steps)
    return np.concatenate([point[None], path])


def main(cfg: Config) -> dict[str, float]:
    """Plays with six kinds of updates and draws; returns the radius at the end of each."""
    workdir, rate = cfg.workdir or config.new_run_dir("gan_game"), cfg.learning_rate
    figure, results, still = Figure(figsize=(9.6, 6.4), layout="constrained"), {}, jnp.zeros(2)
    kinds: dict[str, tuple[Callable[..., Any], Any]] = {
        "simultaneous descent": with_optax(optim.sgd(rate)),
        "momentum 0.5": with_optax(optim.sgd(rate, momentum=0.5)),
        "alternating": (partial(alternating, rate=rate, momentum=0.0), still),
        "alternating, momentum -0.5": (partial(alternating, rate=rate, momentum=-0.5), still),
        "optimistic": with_optax(optax.optimistic_gradient_descent(rate)),
        "extragradient": (partial(extragradient, rate=rate), None),
    }
    panels = figure.subplots(2, 3).flat
    for axes, (name, (update, start)) in zip(panels, kinds.items(), strict=True):
        path = train(cfg, update, start)
        near = path[: 1 + int(np.argmax(np.append(np.abs(path).max(axis=1) > 12, True)))]
        axes.plot(*near.T, linewidth=0.8)
        axes.plot(*path[0], "o", color="black", markersize=5)
        if len(near) > len(path) - 1:
            axes.plot(*path[-1], "*", color="C1", markersize=12)
        axes.plot(0, 0, "+", color="black", markersize=9)
        results[name] = radius = float(np.linalg.norm(path[-1]))
        axes.set_title(f"{name}\nradius after {cfg.num_steps} steps: {radius:.4g}", fontsize=9)
        axes.set_aspect("equal", adjustable="datalim")
        print(f"{name}: radius {radius:.7g}")
    print(f"run folder: {plots.save(figure, workdir / 'game.png').parent}")
    return results


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
