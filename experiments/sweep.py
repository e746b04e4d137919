"""Learning rate × weight decay × seeds of an MLP, in one program where that is faster.

    python experiments/sweep.py
    python experiments/sweep.py --halving 2 4 8 --num_seeds 2
    python experiments/sweep.py --random 16
    python experiments/sweep.py --workdir runs/rates --resume

The first command trains 5 learning rates × 4 decays × 3 seeds of 64-64-10 on scikit-learn's digits,
8 epochs each, in about 15 seconds on a laptop, and prints the best settings. With --halving only
the better half of them continues after 2 and 4 epochs. The folder gets heat_map.png (test loss,
mean over seeds), sweep.json, members/* for TensorBoard's tab HPARAMS, and best/, a run folder. With
--resume members that ended are not trained again.

Source: the MLP of PyTorch's quick start (784-512-512-10 with --hidden 512 512); random search after
Bergstra & Bengio 2012, successive halving after Jamieson & Talwalkar 2016.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxdl import config, data, losses, metrics, models, optim, sweep, transforms
from jaxdl.train import fit, init_state, make_eval, make_step, supervised


@dataclasses.dataclass(frozen=True)
class Config(config.Run):
    """One sweep; every field is a flag. num_epochs is unused with halving."""

    num_epochs: int = 8
    batch_size: int = 128
    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """Data set."""
    hidden: tuple[int, ...] = (64,)
    """Widths of the hidden layers."""
    learning_rates: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """Constant learning rates of AdamW."""
    weight_decays: tuple[float, ...] = (0.0, 1e-2, 1e-1, 1.0)
    """Weight decays of AdamW, of matrices only."""
    random: int | None = None
    """Number of settings to draw between the least and largest values instead of the grid."""
    num_seeds: int = 3
    """Seeds for every setting, from seed upwards."""
    halving: tuple[int, ...] | None = None
    """Epochs after which the better half of the settings continues; the last ends the sweep."""
    method: Literal["auto", "vmap", "loop"] = "auto"
    """All members in one program, one after another, or what suits the model."""


def make_space(cfg: Config) -> list[dict[str, float]]:
    rates, decays = cfg.learning_rates, cfg.weight_decays
    positive = [decay for decay in decays if decay > 0]
    if cfg.random is None:
        return sweep.grid(learning_rate=rates, weight_decay=decays)
    if len(set(positive)) < 2:
        raise ValueError(f"--random needs two --weight_decays greater than 0, got {decays}.")
    return sweep.random_search(
        cfg.random, jax.random.key(cfg.seed),
        learning_rate=sweep.log_uniform(min(rates), max(rates)),
        weight_decay=sweep.log_uniform(min(positive), max(positive)),
    )  # fmt: skip


def train(cfg: Config, dataset: data.Dataset) -> sweep.SweepResult:
    """Trains every setting with every seed; each config.json trains its member alone."""
    images = dataset.train["image"]
    preprocess = transforms.normalize(*data.mean_and_std(images))
    model = models.MLP((*cfg.hidden, 10))
    loss_fn = supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
    )

    def train_one(key, hparams, arrays, state=None, num_epochs=cfg.num_epochs):
        tx = optim.recipe(optim.adamw, **hparams, decay_vectors=False)
        init_key, order_key = jax.random.split(key)
        if state is None:
            state = init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1])))
        return fit(
            make_step(loss_fn, tx), state, arrays["train"],
            num_epochs=num_epochs, batch_size=cfg.batch_size, key=order_key,
            eval_fn=make_eval(loss_fn), eval_data=arrays["test"],
        )  # fmt: skip

    def alone(hparams, seed):
        rate, decay = hparams.values()
        own: Any = {"learning_rates": (rate,), "weight_decays": (decay,), "random": None}
        return dataclasses.replace(cfg, **own, num_seeds=1, seed=seed)

    return sweep.sweep(
        train_one, make_space(cfg), {"train": dict(dataset.train), "test": dict(dataset.test)},
        seeds=range(cfg.seed, cfg.seed + cfg.num_seeds), method=cfg.method, halving=cfg.halving,
        workdir=cfg.workdir, resume=cfg.resume, config=alone,
        order=lambda key, hparams: (cfg.batch_size, len(images), jax.random.split(key)[1]),
    )  # fmt: skip


def main(cfg: Config) -> sweep.SweepResult:
    """Sweeps and prints the best five settings."""
    workdir = cfg.workdir or config.new_run_dir(f"sweep_{cfg.data}")
    if not (workdir / "config.json").exists():
        config.save(cfg, workdir / "config.json")
    result = train(dataclasses.replace(cfg, workdir=workdir), data.load(cfg.data, cfg.data_dir))
    print(result.table(5))
    return result


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
