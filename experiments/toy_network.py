"""Toy network: 752 parameters tell two classes of the plane apart from five points.

    python experiments/toy_network.py
    python experiments/toy_network.py --num_epochs 30 --learning_rate 0.1

A 2-30-20-2 perceptron with ReLU, SGD at rate 0.5, batches of 2, 3 epochs: right for the five
training points on every seed and for the two test points on 98 % of them. About 7 seconds. The run
folder gets config.json, metrics.jsonl, TensorBoard events (with the loss of every step),
checkpoints, learning_curves.png and regions.png.

Source: an article about multilayer networks in PyTorch; with seed 123 its losses are 0.75, 0.65,
0.44, 0.13, 0.03, 0.00 and both accuracies 1. Its loader drops the ragged batch and with it one
point of five, another in every epoch. Here all five are seen: the third batch of an epoch holds
one point and a masked place, so an epoch is three steps instead of two.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, losses, metrics, models, optim, plots, train
from jaxdl.data import synthetic


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    hidden: tuple[int, ...] = (30, 20)
    """Units of the hidden layers."""
    learning_rate: float = 0.5
    """Of SGD."""
    batch_size: int = 2
    """Points a step."""
    num_epochs: int = 3
    """Passes over the five points."""
    seed: int = 0
    """Of weights and order."""
    workdir: Path | None = None
    """Run folder; runs/toy_network_TIME by default."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, evaluates, draws; returns the history, one row an epoch."""
    train_data, test_data = synthetic.toy_points()
    model, tx = models.MLP((*cfg.hidden, 2)), optim.sgd(cfg.learning_rate)
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    state = train.init_state(model, tx, init_key, train_data["input"])
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, inputs="input"
    )
    workdir = cfg.workdir or Path("runs") / f"toy_network_{time.strftime('%Y%m%d-%H%M%S')}"
    state, history = train.run(
        train.make_step(loss_fn, tx),
        state,
        train_data,
        num_epochs=cfg.num_epochs,
        batch_size=cfg.batch_size,
        key=order_key,
        eval_fn=train.make_eval(loss_fn),
        eval_data=test_data,
        workdir=workdir,
        config=cfg,
        watch=train.Watch(every=1),
    )
    accuracy = train.evaluate(train.make_eval(loss_fn), state, train_data)["accuracy"]

    def predict(points: np.ndarray) -> Any:
        logits: Any = model.apply({"params": state.params}, jnp.asarray(points))
        return jax.nn.softmax(logits)

    points = {
        name: (data["input"], data["label"])
        for name, data in {"train": train_data, "test": test_data}.items()
    }
    figure = plots.decision_regions(predict, points, ("class 0", "class 1"))
    plots.save(figure, workdir / "regions.png")
    plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    print(
        f"accuracy after {cfg.num_epochs} epochs: {accuracy:.2f} of the training points, "
        f"{history[-1]['test/accuracy']:.2f} of the test points\nrun folder: {workdir}"
    )
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
