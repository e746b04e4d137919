"""Logistic regression: a straight boundary between two clouds of 100 points.

    python experiments/tutorials/logistic_regression.py
    python experiments/tutorials/logistic_regression.py --seed 1 --stop_above 1

Three parameters, SGD at learning rate 0.01 with momentum 0.9 on the binary cross entropy of all 200
points. The accuracy is checked every 20 steps, and the run stops above 0.99, with at most one point
wrong: in three seeds of five, after about 320 steps. The clouds overlap; the best line is right for
99.2 % of such points on average, so on the other seeds 1,000 steps end with 97 to 99 %. 5 to 8
seconds; the run folder also gets learning_curves.png and boundary.png.

Source: the logistic regression of a PyTorch course, which stops at iteration 380 with an accuracy
of 0.995. The accuracy of an iteration is the one before its update, there and here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, losses, metrics, optim, plots
from jaxdl.data import synthetic
from jaxdl.models.tutorial import init_logistic_regression, logistic_regression
from jaxdl.train import EpochEnd, make_step, run
from jaxdl.types import Array, Batch, Metrics, PyTree, Row, TrainState

CHECK_EVERY = 20  # steps between two checks of the accuracy


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    num_per_class: int = 100  # points of each cloud; one batch holds them all
    learning_rate: float = 0.01  # learning rate of gradient descent with momentum 0.9
    max_steps: int = 1000  # largest number of steps
    stop_above: float = 0.99  # accuracy above which the run stops
    seed: int = 0  # seed of the points and the initial weights
    workdir: Path | None = None  # run folder; runs/logistic_regression_TIME by default


def make_data(cfg: Config) -> dict[str, Array]:
    first, *_ = jax.random.split(jax.random.key(cfg.seed), 4)
    return synthetic.two_gaussians(first, cfg.num_per_class)


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


def train(
    cfg: Config, data: Batch, hooks: Sequence[Callable[[EpochEnd], None]] = ()
) -> tuple[TrainState, list[Row]]:
    """Fits the boundary; returns the state and the history, one row per step."""
    _, init_key, state_key, order_key = jax.random.split(jax.random.key(cfg.seed), 4)
    params = init_logistic_regression(init_key, num_inputs=2)
    tx = optim.sgd(cfg.learning_rate, momentum=0.9)
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), state_key)

    def stop(end: EpochEnd) -> bool:
        return end.row["step"] % CHECK_EVERY == 1 and end.row["train/accuracy"] > cfg.stop_above

    return run(
        make_step(loss_fn, tx), state, data, num_epochs=cfg.max_steps,  # an epoch is one step
        batch_size=2 * cfg.num_per_class, key=order_key, workdir=cfg.workdir, hooks=[stop, *hooks],
        config=cfg, progress=False,
    )  # fmt: skip


def main(cfg: Config) -> list[Row]:
    """Trains and draws; returns the history."""
    workdir = cfg.workdir or config.new_run_dir("logistic_regression")
    data, lines = make_data(cfg), []
    hooks = [lambda end: lines.append(boundary(end.state.params))]
    state, history = train(dataclasses.replace(cfg, workdir=workdir), data, hooks)
    for row in history[::CHECK_EVERY]:
        loss, accuracy = row["train/loss"], row["train/accuracy"]
        print(f"iteration {row['step'] - 1}: loss {loss:.4f}, accuracy {accuracy:.3f}")
    x, labels = np.asarray(data["input"]), np.asarray(data["label"])
    clouds = {f"class {label}": x[labels == label].T for label in (0, 1)}
    (w1, w2), b = state.params["kernel"][:, 0], state.params["bias"][0]
    name = f"after {len(history)} steps: {w1:.2f} x1 {w2:+.2f} x2 {b:+.2f} = 0"
    title = f"{history[-1]['train/accuracy']:.1%} accuracy on {len(labels)} points"
    figure = plots.points_and_curves(
        clouds, {name: boundary(state.params)}, labels=("x1", "x2"), title=title,
        trace=lines[::CHECK_EVERY], trace_name=f"every {CHECK_EVERY} steps",
    )  # fmt: skip
    plots.save(figure, workdir / "boundary.png")
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    print(f"{name}\nrun folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
