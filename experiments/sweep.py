"""Learning rate × weight decay × seeds of the reference MLP, in one program where that is faster.

    python experiments/sweep.py
    python experiments/sweep.py --halving 2 4 8 --num_seeds 2
    python experiments/sweep.py --data fashion_mnist --data_dir DIR --hidden 512 512 --num_epochs 5
    python experiments/sweep.py --random 16

The first command needs no data: 5 learning rates × 4 decays × 3 seeds of 64-64-10 on scikit-learn's
digits, 8 epochs each, some 15 seconds on a laptop. With --halving only the better half of the
settings goes on after 2 and 4 epochs. It prints the best settings; the sweep folder gets
heat_map.png (test loss, mean over seeds), sweep.json, members/* for TensorBoard's tab HPARAMS
(tensorboard --logdir) and best/, a run folder. `python -m jaxdl compare` takes any of them.

Source: the reference MLP of PyTorch's quick start (784-512-512-10 with --hidden 512 512); random
search after Bergstra & Bengio 2012, successive halving after Jamieson & Talwalkar 2016.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, losses, metrics, models, optim, sweep, train, transforms


@dataclasses.dataclass(frozen=True)
class Config:
    """One sweep; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers."""
    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """AdamW's, constant."""
    weight_decays: tuple[float, ...] = (0.0, 1e-2, 1e-1, 1.0)
    """AdamW's, of matrices only."""
    random: int | None = None
    """Draw so many settings between the least and largest values instead of trying the grid."""
    num_seeds: int = 3
    """Of weights and order, for every setting."""
    batch_size: int = 128
    """Examples a step."""
    num_epochs: int = 8
    """Passes over the training set; --halving has its own."""
    halving: tuple[int, ...] | None = None
    """Epochs after which the better half of the settings goes on; the last ends the sweep."""
    method: Literal["auto", "vmap", "loop"] = "auto"
    """All members of a program at once, one after another, or what suits model and device."""
    seed: int = 0
    """The first seed, and that of --random."""
    workdir: Path | None = None
    """Sweep folder; runs/sweep_DATA_TIME by default."""


@dataclasses.dataclass(frozen=True)
class Member:
    """What the best member's config.json says: enough to train it again."""

    data: str
    hidden: tuple[int, ...]
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


def make_parts(cfg: Any, hparams: Any, images: Any) -> tuple[Any, Any, Any, Any]:
    """Model, optimizer, loss function and preprocessing of one member."""
    model = models.MLP((*cfg.hidden, 10))
    learning_rate, weight_decay = hparams["learning_rate"], hparams["weight_decay"]
    tx = optim.recipe(optim.adamw, learning_rate, weight_decay=weight_decay, decay_vectors=False)
    preprocess = transforms.normalize(*data.mean_and_std(images))
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
    )
    return model, tx, loss_fn, preprocess


def main(cfg: Config) -> sweep.SweepResult:
    """Sweeps, draws, saves; returns what came of it."""
    dataset = data.load(cfg.data, cfg.data_dir)
    images = dataset.train["image"]

    def train_one(
        key: Any, hparams: Any, arrays: Any, state: Any = None, num_epochs: int = cfg.num_epochs
    ) -> Any:
        model, tx, loss_fn, preprocess = make_parts(cfg, hparams, images)
        init_key, order_key = jax.random.split(key)
        if state is None:
            example = preprocess(jnp.asarray(images[:1]))
            state = train.init_state(model, tx, init_key, example)
        return train.fit(
            train.make_step(loss_fn, tx),
            state,
            arrays["train"],
            num_epochs=num_epochs,
            batch_size=cfg.batch_size,
            key=order_key,
            eval_fn=train.make_eval(loss_fn),
            eval_data=arrays["test"],
        )

    rates, decays = cfg.learning_rates, cfg.weight_decays
    if cfg.random is None:
        space = sweep.grid(learning_rate=rates, weight_decay=decays)
    else:
        positive = {decay for decay in decays if decay > 0}
        if len(positive) < 2:
            raise ValueError(
                f"--random draws between two weight decays above 0, got {decays}: give "
                "--weight_decays 0.01 1, or leave --random out."
            )
        space = sweep.random_search(
            cfg.random,
            jax.random.key(cfg.seed),
            learning_rate=sweep.log_uniform(min(rates), max(rates)),
            weight_decay=sweep.log_uniform(min(positive), max(positive)),
        )
    workdir = cfg.workdir or Path("runs") / f"sweep_{cfg.data}_{time.strftime('%Y%m%d-%H%M%S')}"
    result = sweep.sweep(
        train_one,
        space,
        {"train": dict(dataset.train), "test": dict(dataset.test)},
        seeds=range(cfg.seed, cfg.seed + cfg.num_seeds),
        method=cfg.method,
        halving=cfg.halving,
        workdir=workdir,
        config=lambda hparams, seed: Member(
            cfg.data, cfg.hidden, cfg.batch_size, **hparams, seed=seed
        ),
        order=lambda key, hparams: (cfg.batch_size, len(images), jax.random.split(key)[1]),
    )
    show(result, cfg.num_seeds)
    return result


def show(result: sweep.SweepResult, num_seeds: int) -> None:
    """The best five settings by their mean over the seeds, of those trained to the end."""
    last = np.arange(len(result.hparams)), result.num_epochs - 1
    loss, accuracy = (
        result.history[name][last].reshape(-1, num_seeds) for name in ("test/loss", "test/accuracy")
    )
    whole = result.num_epochs.reshape(-1, num_seeds)[:, 0] == result.num_epochs.max()
    order = np.argsort(np.where(whole, loss.mean(axis=1), np.inf))[: min(5, whole.sum())]
    print("learning rate  weight decay  test loss  test accuracy (mean ± std of seeds)")
    for place in order:
        rate, decay = result.hparams[place * num_seeds].values()
        mean, std = 100 * accuracy[place].mean(), 100 * accuracy[place].std()
        print(f"{rate:13.3g}  {decay:12.3g}  {loss[place].mean():9.4f}  {mean:.2f} ± {std:.2f} %")


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
