"""A conditional GAN: digits, or clothes, of the class one asks for.

    python experiments/cgan_mnist.py
    python experiments/cgan_mnist.py --data mnist --data_dir DIR
    python experiments/cgan_mnist.py --data mnist --data_dir DIR --players book --num_epochs 12

The first command needs no data (scikit-learn's digits, about two minutes). "dcgan" has convolutions
and batches; its discriminator gets the label by projection, or by concatenation with
--condition concatenate. "book" is dense, with the one-hot label joined to image and seed, one
example a step.

A classifier of the same set, kept in runs/judges, says how many of 10,000 generated images show the
class that was asked for ("conditional_accuracy" in generator.json; of 1,000 after every epoch in
generator.jsonl). The run folder gets classes.png (a column a class), asked.png (24 images each of
9, 3, 1 and 5), training.gif, losses.png and neighbours.png.

Source: Mirza & Osindero 2014; Miyato & Koyama 2018 (projection); Tariq Rashid, "Make Your First GAN
With PyTorch", notebook 16.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from _gan import Players, best_practice, judge_of, play
from jaxdl import config, data, generative, models, optim, train
from jaxdl.losses import adversarial


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    players: Literal["dcgan", "book"] = "dcgan"
    """Convolutions, or the book's dense networks."""
    condition: Literal["projection", "concatenate"] = "projection"
    """How dcgan's discriminator gets the label."""
    features: int = 32
    """Of dcgan: channels of the discriminator's largest maps; the generator has twice as many."""
    learning_rate: float = 1e-3
    """Of dcgan: Adam's at the start for the generator; the discriminator's is 0.4 times that."""
    ema: float = 0.995
    """Of dcgan: decay of the generator's average."""
    batch_size: int | None = None
    """Images a step; 64 for dcgan and 1 for the book by default."""
    num_epochs: int | None = None
    """Passes; 4 by default, 60 of the small digits, 12 of the book."""
    num_train: int | None = None
    """Train on the first so many images only."""
    measure: bool = True
    """Train a judge and measure the generator."""
    seed: int = 0
    """Of weights, order and noise."""
    workdir: Path | None = None
    """Run folder; runs/DATA_cgan_PLAYERS_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def make_players(
    cfg: Config, shape: tuple[int, int, int], num_classes: int, num_steps: int = 1
) -> Players:
    if cfg.players == "dcgan":
        return best_practice(
            shape,
            features=cfg.features,
            num_classes=num_classes,
            condition=cfg.condition,
            learning_rate=cfg.learning_rate,
            num_steps=num_steps,
            ema=cfg.ema,
        )
    return Players(
        models.DenseGenerator((200,), shape, num_classes=num_classes),
        models.DenseDiscriminator((200,), num_classes, output_activation=nn.sigmoid),
        (optim.adam(1e-4), optim.adam(1e-4)),
        adversarial.on_probabilities(),
        ideal=math.log(2),
        options={"separate_updates": True},
    )


def draw_classes(players: Players, state: train.GANState, key: Any, workdir: Path) -> None:
    """A column a class, one seed a row; and 24 images each of four classes."""
    number: Any = players.generator.num_classes
    first, second = jax.random.split(key)
    seeds = jax.random.normal(first, (10, 1, players.generator.num_latents))
    noise = jnp.broadcast_to(seeds, (10, number, seeds.shape[-1])).reshape(10 * number, -1)
    labels = jnp.arange(10 * number) % number

    def make(noise: Any, labels: Any) -> Any:
        images = train.generate(players.generator, state, noise, labels, averaged=players.averaged)
        return players.unit(images)

    generative.save_grid(make(noise, labels), workdir / "classes.png", columns=number)
    asked = np.repeat([label % number for label in (9, 3, 1, 5)], 24)
    noise = jax.random.normal(second, (len(asked), seeds.shape[-1]))
    images = make(noise, jnp.asarray(asked))
    generative.save_grid(images, workdir / "asked.png", columns=24)


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, measures, draws; returns the history, one row an epoch."""
    dataset = data.load(cfg.data, cfg.data_dir)
    num_classes = len(dataset.class_names)
    shape: Any = dataset.train["image"].shape[1:]
    arrays = {key: array[: cfg.num_train] for key, array in dataset.train.items()}
    book = cfg.players == "book"
    num_epochs = cfg.num_epochs or (12 if book else 60 if cfg.data == "digits" else 4)
    batch_size = cfg.batch_size or (1 if book else 64)
    num_steps = num_epochs * data.num_batches(len(arrays["label"]), batch_size)
    players = make_players(cfg, shape, num_classes, num_steps)
    name = f"{cfg.data}_cgan_{cfg.players}"
    workdir = cfg.workdir or Path("runs") / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}"
    state, history = play(
        cfg,
        players,
        arrays,
        workdir,
        num_epochs=num_epochs,
        batch_size=batch_size,
        labels=jnp.arange(8 * num_classes) % num_classes,
        num_seeds=8 * num_classes,
        reference=judge_of(dataset) if cfg.measure else None,
        title=name.replace("_", " "),
    )
    draw_classes(players, state, jax.random.key(cfg.seed + 1), workdir)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
