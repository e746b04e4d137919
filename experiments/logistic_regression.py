"""Logistic regression: a straight boundary between two clouds of 100 points.

    python experiments/logistic_regression.py
    python experiments/logistic_regression.py --seed 1 --stop_above 1

Three parameters, SGD at rate 0.01 with momentum 0.9 on the binary cross entropy of all 200 points.
Every 20 steps it looks at the accuracy (probability above one half, that is log-odds above 0) and
stops above 0.99, with one point wrong at most: in three seeds of five, after about 320 steps. The
clouds overlap, and the best line is right for 99.2 % of such points on average, so on the other
seeds 1,000 steps end the run with 97 to 99 %. 5 to 8 seconds; the run folder gets config.json,
metrics.jsonl, TensorBoard events, a checkpoint, learning_curves.png and boundary.png with the
boundaries on the way.

Source: the logistic regression of a PyTorch course, which stops at iteration 380 with an accuracy
of 0.995. An iteration's accuracy is that before its update, there and here.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, losses, metrics, optim, plots, train
from jaxdl._checks import check_positive
from jaxdl.data import synthetic
from jaxdl.models.tutorial import init_logistic_regression, logistic_regression
from jaxdl.types import Array, Batch, Metrics, PyTree, TrainState


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_per_class: int = 100
    """Points of each cloud; one batch holds them all."""
    learning_rate: float = 0.01
    """Of gradient descent with momentum 0.9."""
    max_steps: int = 1000
    """Stop after so many steps at the latest."""
    check_every: int = 20
    """Steps between two looks at the accuracy."""
    stop_above: float = 0.99
    """Stop when the accuracy is higher."""
    seed: int = 0
    """Of the points and the first weights."""
    workdir: Path | None = None
    """Run folder; runs/logistic_regression_TIME by default."""


def loss_fn(
    params: PyTree, model_state: PyTree, batch: Batch, *, key: Array, train: bool
) -> tuple[Array, tuple[PyTree, Metrics]]:
    logits, labels = logistic_regression(params, batch["input"]), batch["label"]
    loss = metrics.mean(losses.binary_cross_entropy(logits, labels))
    right = metrics.mean((logits > 0) == (labels > 0))
    return loss.total / loss.count, (model_state, {"loss": loss, "accuracy": right})


def boundary(params: PyTree) -> tuple[np.ndarray, np.ndarray]:
    """The line on which the log-odds are 0, from its point next to the origin both ways."""
    w, b = np.asarray(params["kernel"])[:, 0], float(params["bias"][0])
    foot, far = -b * w / (w @ w), np.array([-100.0, 100.0]) / np.linalg.norm(w)
    return foot[0] - far * w[1], foot[1] + far * w[0]


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, draws; returns the history, one row a step."""
    check_positive(max_steps=cfg.max_steps, check_every=cfg.check_every)
    data_key, init_key, state_key, order_key = jax.random.split(jax.random.key(cfg.seed), 4)
    data = synthetic.two_gaussians(data_key, cfg.num_per_class)
    params = init_logistic_regression(init_key, num_inputs=2)
    tx = optim.sgd(cfg.learning_rate, momentum=0.9)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), state_key)
    lines = []

    def check(end: train.EpochEnd) -> bool:
        iteration, accuracy = end.row["step"] - 1, end.row["train/accuracy"]
        if iteration % cfg.check_every:
            return False
        lines.append(boundary(end.state.params))
        print(f"iteration {iteration}: loss {end.row['train/loss']:.4f}, accuracy {accuracy:.3f}")
        return accuracy > cfg.stop_above

    workdir = cfg.workdir or Path("runs") / f"logistic_regression_{time.strftime('%Y%m%d-%H%M%S')}"
    state, history = train.run(
        train.make_step(loss_fn, tx),
        state,
        data,
        num_epochs=cfg.max_steps,  # an epoch is one step
        batch_size=2 * cfg.num_per_class,
        key=order_key,
        workdir=workdir,
        hooks=[check],
        config=cfg,
        progress=False,
    )
    x, labels = np.asarray(data["input"]), np.asarray(data["label"])
    clouds = {f"class {label}": x[labels == label].T for label in (0, 1)}
    (w1, w2), b = state.params["kernel"][:, 0], state.params["bias"][0]
    name = f"after {len(history)} steps: {w1:.2f} x1 {w2:+.2f} x2 {b:+.2f} = 0"
    figure = plots.points_and_curves(
        clouds,
        {name: boundary(state.params)},
        trace=lines,
        trace_name=f"every {cfg.check_every} steps",
        labels=("x1", "x2"),
        title=f"{history[-1]['train/accuracy']:.1%} accuracy on {len(labels)} points",
    )
    plots.save(figure, workdir / "boundary.png")
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    print(f"{name}\nrun folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
