"""Linear regression: a line y = w x + b through 20 noisy points, by gradient descent.

    python experiments/linear_regression.py
    python experiments/linear_regression.py --stop_below 0 --seed 3

Two scalars, gradient descent at rate 0.05 on half the squared error of all points. Every 20 steps
it looks at the loss, and it stops below 1: after about 80 steps, some way before w and b reach the
least-squares line, on which the second command ends (1,000 steps). 5 seconds; the run folder gets
config.json, metrics.jsonl, TensorBoard events, a checkpoint and fit.png with the lines on the way.
The rate must stay below 2 over the largest eigenvalue of the mean of (x, 1)ᵀ(x, 1). Where the
points lie far out, in one seed of six, 0.05 is too much (in PyTorch as well): the error says so.

Source: the first example of autograd in a PyTorch course, which stops at iteration 80 with a loss
of 0.984, w 2.556, b 1.817. An iteration's loss is that before its update, there and here.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, metrics, optim, plots, train
from jaxdl._checks import check_positive
from jaxdl.data import synthetic
from jaxdl.models.tutorial import init_linear_regression, linear_regression
from jaxdl.types import Array, Batch, Metrics, PyTree, TrainState


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_points: int = 20
    """Points about the line y = 2 x + 5; one batch holds them all."""
    learning_rate: float = 0.05
    """Of plain gradient descent."""
    max_steps: int = 1000
    """Stop after so many steps at the latest."""
    check_every: int = 20
    """Steps between two looks at the loss."""
    stop_below: float = 1.0
    """Stop when the loss is lower."""
    seed: int = 0
    """Of the points and the first w."""
    workdir: Path | None = None
    """Run folder; runs/linear_regression_TIME by default."""


def loss_fn(
    params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
) -> tuple[Array, tuple[PyTree, Metrics]]:
    predictions = linear_regression(params, batch["input"])
    loss = metrics.mean(optax.losses.l2_loss(predictions, batch["target"]))
    return loss.total / loss.count, (model_state, {"loss": loss})


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, draws; returns the history, one row a step."""
    check_positive(max_steps=cfg.max_steps, check_every=cfg.check_every)
    data_key, init_key, state_key, order_key = jax.random.split(jax.random.key(cfg.seed), 4)
    data = synthetic.line(data_key, cfg.num_points)
    tx, params = optim.sgd(cfg.learning_rate), init_linear_regression(init_key)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), state_key)
    ends, lines = np.array([0.0, 10.0]), []

    def check(end: train.EpochEnd) -> bool:
        iteration, loss = end.row["step"] - 1, end.row["train/loss"]
        if iteration % cfg.check_every:
            return False
        w, b = (float(end.state.params[name]) for name in "wb")
        lines.append((ends, w * ends + b))
        print(f"iteration {iteration}: loss {loss:.4f}, then y = {w:.3f} x + {b:.3f}")
        return loss < cfg.stop_below

    workdir = cfg.workdir or Path("runs") / f"linear_regression_{time.strftime('%Y%m%d-%H%M%S')}"
    state, history = train.run(
        train.make_step(loss_fn, tx),
        state,
        data,
        num_epochs=cfg.max_steps,  # an epoch is one step
        batch_size=cfg.num_points,
        key=order_key,
        workdir=workdir,
        hooks=[check],
        config=cfg,
        progress=False,
    )
    w, b = (float(state.params[name]) for name in "wb")
    slope, intercept = np.polyfit(data["input"], data["target"], 1)
    curves = {
        f"after {len(history)} steps: {w:.2f} x + {b:.2f}": (ends, w * ends + b),
        f"least squares: {slope:.2f} x + {intercept:.2f}": (ends, slope * ends + intercept),
    }
    points = {f"{cfg.num_points} points about 2 x + 5": (data["input"], data["target"])}
    figure = plots.points_and_curves(
        points, curves, trace=lines, trace_name=f"every {cfg.check_every} steps"
    )
    plots.save(figure, workdir / "fit.png")
    print(*curves, f"run folder: {workdir}", sep="\n")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
