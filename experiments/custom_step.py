"""Sharpness-aware minimization (SAM): a training step written by hand, on the digits.

    python experiments/custom_step.py
    python experiments/custom_step.py --rho 0

Each step climbs by rho along the gradient and descends with the gradient found there, so it costs
two passes. `train.run` takes any function `(state, batch) -> (state, metrics)`; the record `Step`
adds what error messages and TensorBoard show. After about 10 seconds the test loss is near 0.04 and
98.6 % of the digits are right; plain SGD (rho 0) ends near 0.08 with 97 %.

Source: Foret et al. 2021, Sharpness-Aware Minimization, algorithm 1 with p = 2.
"""

import dataclasses
from typing import Any

import jax
import optax

from jaxdl import config, losses, metrics, models, optim, plots, transforms
from jaxdl.data import Dataset, load
from jaxdl.train import init_state, make_eval, run, supervised
from jaxdl.types import Batch, LossFn, Metrics, PyTree, Row, Step, TrainState, as_loss


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One run; every field is a flag."""

    num_epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.1  # of SGD with momentum 0.9
    rho: float = 0.2  # length of the climb; 0 is plain SGD


def make_sam_step(loss_fn: LossFn, tx: optax.GradientTransformation, rho: float) -> Step:
    """A step that descends with the gradient at the highest point within ``rho``."""

    def differentiate(params: PyTree, state: TrainState, batch: Batch) -> tuple:
        key = jax.random.fold_in(state.key, state.step)  # both passes drop the same units
        differentiated = jax.grad(loss_fn, has_aux=True)
        return differentiated(params, state.model_state, batch, key=key, train=True)

    def sam_gradients(state: TrainState, batch: Batch) -> tuple:
        uphill, aux = differentiate(state.params, state, batch)
        scale = rho / (optax.tree.norm(uphill) + 1e-12)
        climbed = jax.tree.map(lambda p, g: p + scale * g, state.params, uphill)
        return differentiate(climbed, state, batch)[0], aux

    def update(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        gradients, (model_state, values) = sam_gradients(state, batch)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, model_state, opt_state, state.key), values

    network = as_loss(loss_fn).network
    return Step(update, lambda state, batch: sam_gradients(state, batch)[0], network)


def train(cfg: Config, data: Dataset) -> tuple[TrainState, list[Row]]:
    """Trains a small network; returns the state and one row per epoch."""
    init_key, order_key = jax.random.split(jax.random.key(cfg.seed))
    model, tx = models.MLP((128, 10)), optim.sgd(cfg.learning_rate, momentum=0.9)
    options: Any = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": transforms.to_float}
    loss_fn = supervised(model, losses.cross_entropy, **options)
    return run(
        make_sam_step(loss_fn, tx, cfg.rho), init_state(loss_fn, tx, init_key, data.train),
        data.train, num_epochs=cfg.num_epochs, batch_size=cfg.batch_size, key=order_key,
        eval_fn=make_eval(loss_fn), eval_data=data.test,
        workdir=cfg.workdir, resume=cfg.resume, config=cfg,
    )  # fmt: skip


def main(cfg: Config) -> None:
    workdir = cfg.workdir or config.new_run_dir("custom_step")
    _, history = train(dataclasses.replace(cfg, workdir=workdir), load("digits"))
    path = plots.save(plots.learning_curves(history), workdir / "learning_curves.png")
    print(f"test accuracy {history[-1]['test/accuracy']:.1%}; curves: {path}")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
