"""Linear regression: a line y = w x + b through 20 noisy points, by gradient descent.

    python experiments/tutorials/linear_regression.py
    python experiments/tutorials/linear_regression.py --stop_below 0 --seed 3

Two scalars, gradient descent at learning rate 0.05 on half the squared error of all points. The
loss is checked every 20 steps, and the run stops below 1: after about 80 steps, before w and b
reach the least-squares line, on which the second command ends (1,000 steps). 5 seconds; the run
folder gets config.json, metrics.jsonl, TensorBoard events, a checkpoint and fit.png. The learning
rate must stay below 2 over the largest eigenvalue of the mean of (x, 1)ᵀ(x, 1). In one seed of six
0.05 is too high (in PyTorch as well), and the error says so.

Source: the first example of autograd in a PyTorch course, which stops at iteration 80 with a loss
of 0.984, w 2.556, b 1.817. The loss of an iteration is the one before its update, there and here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import config, metrics, optim, plots
from jaxdl.data import synthetic
from jaxdl.models.tutorial import init_linear_regression, linear_regression
from jaxdl.train import EpochEnd, make_step, run
from jaxdl.types import Array, Batch, Metrics, PyTree, Row, TrainState

CHECK_EVERY = 20  # steps between two checks of the loss


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_points: int = 20  # points about the line y = 2 x + 5; one batch holds them all
    learning_rate: float = 0.05  # learning rate of plain gradient descent
    max_steps: int = 1000  # largest number of steps
    stop_below: float = 1.0  # loss below which the run stops
    seed: int = 0  # seed of the points and the initial w
    workdir: Path | None = None  # run folder; runs/linear_regression_TIME by default


def make_data(cfg: Config) -> dict[str, Array]:
    return synthetic.line(jax.random.split(jax.random.key(cfg.seed), 4)[0], cfg.num_points)


def loss_fn(
    params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
) -> tuple[Array, tuple[PyTree, Metrics]]:
    predictions = linear_regression(params, batch["input"])
    loss = metrics.mean(optax.losses.l2_loss(predictions, batch["target"]))
    return loss.total / loss.count, (model_state, {"loss": loss})


def train(
    cfg: Config, data: Batch, hooks: Sequence[Callable[[EpochEnd], None]] = ()
) -> tuple[TrainState, list[Row]]:
    """Fits the line; returns the state and the history, one row per step."""
    _, init_key, state_key, order_key = jax.random.split(jax.random.key(cfg.seed), 4)
    tx, params = optim.sgd(cfg.learning_rate), init_linear_regression(init_key)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), state_key)

    def stop(end: EpochEnd) -> bool:
        is_time = end.row["step"] % CHECK_EVERY == 1
        return is_time and end.row["train/loss"] < cfg.stop_below

    return run(
        make_step(loss_fn, tx), state, data, num_epochs=cfg.max_steps,  # an epoch is one step
        batch_size=cfg.num_points, key=order_key, workdir=cfg.workdir, hooks=[stop, *hooks],
        config=cfg, progress=False,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains and draws; returns the history."""
    workdir = cfg.workdir or config.new_run_dir("linear_regression")
    data, passed = make_data(cfg), []
    hooks = [lambda end: passed.append([float(end.state.params[name]) for name in "wb"])]
    state, history = train(dataclasses.replace(cfg, workdir=workdir), data, hooks)
    for row, (w, b) in zip(history[::CHECK_EVERY], passed[::CHECK_EVERY], strict=True):
        loss = row["train/loss"]
        print(f"iteration {row['step'] - 1}: loss {loss:.4f}, then y = {w:.3f} x + {b:.3f}")
    ends = np.array([0.0, 10.0])
    w, b = (float(state.params[name]) for name in "wb")
    slope, intercept = np.polyfit(data["input"], data["target"], 1)
    curves = {
        f"after {len(history)} steps: {w:.2f} x + {b:.2f}": (ends, w * ends + b),
        f"least squares: {slope:.2f} x + {intercept:.2f}": (ends, slope * ends + intercept),
    }
    points = {f"{cfg.num_points} points about 2 x + 5": (data["input"], data["target"])}
    lines = [(ends, w * ends + b) for w, b in passed[::CHECK_EVERY]]
    figure = plots.points_and_curves(points, curves, trace=lines, trace_name="on the way")
    plots.save(figure, workdir / "fit.png")
    print(*curves, f"run folder: {workdir}", sep="\n")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
