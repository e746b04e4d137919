"""Sine fit: 505 parameters learn the five coefficients of a quartic through one period of a sine.

    python experiments/tutorials/sine_fit.py
    python experiments/tutorials/sine_fit.py --noise 0 --num_steps 300000

A dense layer on tanh of the 100 points gives the coefficients; SGD at rate 0.001 with momentum 0.9,
30,000 steps, every 2,000th reported. The mean squared error comes to 0.009 against the clean sine
and, as the noise falls, 0.009 to 0.014 against the noisy target; the best quartic has 0.0048 and
0.005 to 0.009, and gradient descent creeps towards it. 4 seconds; the run folder gets config.json,
metrics.jsonl and fit.png. The steps between two reports are one call of jaxdl.train.fit, the pure
loop.

Source: the sine fit of a PyTorch course. It draws noise but trains on the clean sine, where it
reaches 0.0089; this one trains on the noisy target. The second command is the original, longer.
"""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl import config, losses, optim, plots
from jaxdl.data import synthetic
from jaxdl.models.tutorial import PolynomialRegressor
from jaxdl.train import fit, init_state, make_step, supervised
from jaxdl.types import Array, Batch, Row, TrainState


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_points: int = 100  # points from 0 to 1
    noise: float = 0.05  # standard deviation of the target about the sine
    degree: int = 4  # degree of the polynomial
    learning_rate: float = 1e-3  # learning rate of gradient descent with momentum 0.9
    num_steps: int = 30_000  # steps of the whole run
    report_every: int = 2000  # steps between two reports
    seed: int = 0  # seed of the noise and the initial weights
    workdir: Path | None = None  # run folder; runs/sine_fit_TIME by default


def make_data(cfg: Config) -> dict[str, Array]:
    key = jax.random.split(jax.random.key(cfg.seed), 3)[0]
    return synthetic.sine(key, cfg.num_points, noise=cfg.noise)


def train(cfg: Config, points: Batch) -> tuple[TrainState, list[Row]]:
    """Fits the polynomial; returns the state and the history, one row per report."""
    for name in ("num_steps", "report_every"):
        if getattr(cfg, name) < 1:
            raise ValueError(f"{name} must be greater than 0, got {getattr(cfg, name)}.")
    _, init_key, order_key = jax.random.split(jax.random.key(cfg.seed), 3)
    data = {name: array[None] for name, array in points.items()}  # one example: the whole curve
    model, tx = PolynomialRegressor(cfg.degree), optim.sgd(cfg.learning_rate, momentum=0.9)
    state = init_state(model, tx, init_key, data["input"])
    loss_fn = supervised(model, losses.squared_error, inputs="input", targets="target")
    steps_at_once = functools.partial(fit, make_step(loss_fn, tx), batch_size=1)
    advance = jax.jit(steps_at_once, static_argnames="num_epochs")  # an epoch is one step
    history: list[Row] = []
    for start in range(0, cfg.num_steps, cfg.report_every):
        num_steps = min(cfg.report_every, cfg.num_steps - start)
        state, _ = advance(state, data, key=order_key, num_epochs=num_steps)
        fitted = predict(cfg, state, points)
        loss, clean = (float(((fitted - points[name]) ** 2).mean()) for name in ("target", "clean"))
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"the loss is not finite at step {start + num_steps}: "
                f"--learning_rate {cfg.learning_rate} is too high."
            )
        history.append({"step": start + num_steps, "loss": loss, "clean_loss": clean})
    return state, history


def predict(cfg: Config, state: TrainState, points: Batch) -> Array:
    apply = jax.jit(PolynomialRegressor(cfg.degree).apply)
    return apply({"params": state.params}, points["input"][None])[0]


def main(cfg: Config) -> list[Row]:
    """Trains and draws; returns the history."""
    points = make_data(cfg)
    state, history = train(cfg, points)
    workdir = cfg.workdir or config.new_run_dir("sine_fit")
    config.save(cfg, workdir / "config.json")
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    for row in history:
        loss, clean = row["loss"], row["clean_loss"]
        print(f"step {row['step']:6,}: loss {loss:.5f}, against the clean sine {clean:.5f}")

    x, target, clean_target = (np.asarray(points[name]) for name in ("input", "target", "clean"))
    best = np.polyval(np.polyfit(x, target, cfg.degree), x)
    floor, clean_floor = (((best - y) ** 2).mean() for y in (target, clean_target))
    print(f"best polynomial: loss {floor:.5f}, against the clean sine {clean_floor:.5f}")
    curves: dict[str, Any] = {
        f"after {cfg.num_steps:,} steps: MSE {loss:.4f}": (x, predict(cfg, state, points)),
        f"best polynomial: MSE {floor:.4f}": (x, best),
        "sin 2πx": (x, clean_target),
    }
    figure = plots.points_and_curves({f"{len(x)} noisy points": (x, target)}, curves)
    print(f"run folder: {plots.save(figure, workdir / 'fit.png').parent}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
