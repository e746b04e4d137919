"""GANs that learn to write digits: the book's first attempt, the improved one, and DCGAN.

    python experiments/gan_mnist.py
    python experiments/gan_mnist.py --data mnist --data_dir DIR --players first
    python experiments/gan_mnist.py --data mnist --data_dir DIR --players improved
    python experiments/gan_mnist.py --data mnist --data_dir DIR --players dcgan

The first command needs no data: DCGAN on scikit-learn's digits, about two minutes. "first" (squared
error, SGD, a single number as the seed, one example a step, one epoch) collapses to one image;
"improved" (cross entropy, LeakyReLU, LayerNorm, 100 normal numbers, Adam, four epochs) writes
several digits; "dcgan" (convolutions, batches, smoothed labels, an average of the generator) all
ten. --alone tries the discriminator out against uniform noise: above .99 for real images and about
.005 for noise.

A classifier of the same set, trained first and kept in runs/judges, measures 1,000 generated
images after every epoch (generator.jsonl) and 10,000 at the end (generator.json) against the test
images: Fréchet distance, precision, recall, classes. The run folder also gets losses.png (with the
ideal loss), samples.png, training.gif (the same seeds during training) and neighbours.png (the
nearest training images).

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebooks 7 and 8; Radford et al. 2016.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax

from _gan import Players, against_noise, best_practice, judge_of, play
from jaxdl import config, data, models, optim, train
from jaxdl.losses import adversarial


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    data: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    """The data set."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    players: Literal["first", "improved", "dcgan"] = "dcgan"
    """Networks, loss and optimizers."""
    alone: bool = False
    """Only the discriminator, against uniform noise."""
    features: int = 32
    """Of dcgan: channels of the discriminator's largest maps; the generator has twice as many."""
    learning_rate: float = 1e-3
    """Of dcgan: Adam's at the start for the generator; the discriminator's is 0.4 times that."""
    loss: Literal["non_saturating", "hinge", "least_squares"] = "non_saturating"
    """Of dcgan."""
    norm: Literal["batch", "spectral"] = "batch"
    """Of dcgan's discriminator."""
    ema: float = 0.995
    """Of dcgan: decay of the generator's average."""
    batch_size: int | None = None
    """Images a step; 1, and 64 for dcgan, by default."""
    num_epochs: int | None = None
    """Passes; by default 1 of "first", 4 of "improved" and "dcgan" (60 of the small digits)."""
    num_train: int | None = None
    """Train on the first so many images only."""
    measure: bool = True
    """Train a judge and measure the generator."""
    seed: int = 0
    """Of weights, order and noise."""
    workdir: Path | None = None
    """Run folder; runs/DATA_PLAYERS_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def make_players(cfg: Config, shape: tuple[int, int, int], num_steps: int = 1) -> Players:
    noise: train.gan.Noise = jax.random.normal
    match cfg.players:
        case "first":
            dense: Any = {"activation": nn.sigmoid, "layer_norm": False}
            pair = (
                models.DenseGenerator((200,), shape, 1, **dense),
                models.DenseDiscriminator((200,), output_activation=nn.sigmoid, **dense),
            )
            noise, tx = jax.random.uniform, optim.sgd(0.01)
            loss, ideal = adversarial.least_squares(), 0.25
        case "improved":
            pair = (
                models.DenseGenerator((200,), shape),
                models.DenseDiscriminator((200,), output_activation=nn.sigmoid),
            )
            tx = optim.adam(1e-4)
            loss, ideal = adversarial.on_probabilities(), math.log(2)
        case "dcgan":
            return best_practice(
                shape,
                features=cfg.features,
                learning_rate=cfg.learning_rate,
                num_steps=num_steps,
                loss=cfg.loss,
                norm=cfg.norm,
                ema=cfg.ema,
            )
    return Players(*pair, (tx, tx), loss, ideal, noise=noise, options={"separate_updates": True})


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains, measures, draws; returns the history, one row an epoch."""
    dataset = data.load(cfg.data, cfg.data_dir)
    images = dataset.train["image"][: cfg.num_train]
    shape: Any = images.shape[1:]
    epochs = {"first": 1, "improved": 4, "dcgan": 60 if cfg.data == "digits" else 4}
    num_epochs = cfg.num_epochs or (1 if cfg.alone else epochs[cfg.players])
    batch_size = cfg.batch_size or (64 if cfg.players == "dcgan" else 1)
    players = make_players(cfg, shape, num_epochs * data.num_batches(len(images), batch_size))
    if cfg.alone:
        players = against_noise(players, shape)
    name = f"{cfg.data}_{cfg.players}{'_alone' if cfg.alone else ''}"
    workdir = cfg.workdir or Path("runs") / f"{name}_{time.strftime('%Y%m%d-%H%M%S')}"
    began = time.perf_counter()
    _, history = play(
        cfg,
        players,
        {"image": images},
        workdir,
        num_epochs=num_epochs,
        batch_size=batch_size,
        reference=judge_of(dataset) if cfg.measure and not cfg.alone else None,
        title=name.replace("_", " "),
    )
    last = history[-1]
    print(
        f"discriminator: {last['train/real_output']:.4g} for real images, "
        f"{last['train/fake_output']:.4g} for generated ones, on average over the last epoch; "
        f"{time.perf_counter() - began:.0f} s\nrun folder: {workdir}"
    )
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
