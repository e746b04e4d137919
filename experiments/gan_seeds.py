"""What lies between two seeds? Interpolation, sum, difference and product, and a walk.

    python experiments/gan_mnist.py --workdir runs/digits
    python experiments/gan_seeds.py --run runs/digits

Reads what gan_mnist.py, cgan_mnist.py or gan_conv.py left in a run folder; some seconds. That
folder gets interpolation.png (rows of twelve, from one seed to another in even steps),
arithmetic.png (a seed, another, their sum, difference and product; a row a pair) and walk.gif (a
way through the seeds that ends where it began).

Source: Tariq Rashid, "Make Your First GAN With PyTorch", notebook 9.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import cgan_mnist
import gan_conv
import gan_mnist
from _gan import Players, restore
from jaxdl import config, generative, train


@dataclasses.dataclass(frozen=True)
class Config:
    """What to draw; every field is a flag."""

    run: Path
    """Folder of a finished run."""
    num_pairs: int = 6
    """Pairs of seeds."""
    num_stops: int = 6
    """Seeds that the walk visits."""
    frames_between: int = 10
    """Frames from one of them to the next."""
    label: int = 3
    """The class, where the generator is conditional."""
    seed: int = 0
    """Of the seeds."""


def load(run: Path) -> tuple[Players, train.GANState]:
    """Both players of a run folder."""
    path = run / "config.json"
    if not (path.is_file() and (run / "frames.npy").is_file()):
        raise FileNotFoundError(
            f"{run} holds no finished GAN: config.json or frames.npy is missing."
        )
    fields = json.loads(path.read_text(encoding="utf-8")).get("config", {})
    frames = np.load(run / "frames.npy", mmap_mode="r")
    shape, number = frames.shape[2:], frames.shape[1]
    if "images" in fields:
        players, labels = gan_conv.make_players(config.load(gan_conv.Config, path), shape), None
    elif "condition" in fields:
        num_classes = number // 8
        labels = jnp.arange(number) % num_classes
        cgan = config.load(cgan_mnist.Config, path)
        players = cgan_mnist.make_players(cgan, shape, num_classes)
    elif "players" in fields:
        players, labels = gan_mnist.make_players(config.load(gan_mnist.Config, path), shape), None
    else:
        raise ValueError(f"{path} is not that of gan_mnist.py, cgan_mnist.py or gan_conv.py.")
    return players, restore(run, players, number, labels)


def main(cfg: Config) -> list[dict[str, Any]]:
    """Draws the three pictures; returns one row with the number of images of each."""
    players, state = load(cfg.run)
    generator: Any = players.generator
    first_key, second_key, walk_key = jax.random.split(jax.random.key(cfg.seed), 3)
    shape = (cfg.num_pairs, generator.num_latents)
    first, second = players.noise(first_key, shape), players.noise(second_key, shape)

    def make(noise: Any) -> np.ndarray:
        number = getattr(generator, "num_classes", None)
        label = None if number is None else jnp.full(len(noise), cfg.label % number)
        images = train.generate(generator, state, noise, label, averaged=players.averaged)
        return np.asarray(players.unit(images))

    steps = jnp.arange(12.0).reshape(1, 12, 1) / 11
    between = first[:, None] + (second - first)[:, None] * steps
    rows = jnp.stack([first, second, first + second, first - second, first * second], axis=1)
    stops = players.noise(walk_key, (cfg.num_stops, shape[1]))
    parts = jnp.arange(cfg.frames_between).reshape(1, -1, 1) / cfg.frames_between
    # along a circle: on a straight line between two normal vectors the middle is too short
    angle = jnp.pi / 2 * parts
    walk = stops[:, None] * jnp.cos(angle) + jnp.roll(stops, -1, axis=0)[:, None] * jnp.sin(angle)
    if players.noise is jax.random.uniform:
        walk = stops[:, None] * (1 - parts) + jnp.roll(stops, -1, axis=0)[:, None] * parts
    pictures = {
        name: make(noise.reshape(-1, shape[1]))
        for name, noise in {"interpolation": between, "arithmetic": rows, "walk": walk}.items()
    }
    scale = max(1, round(56 / pictures["walk"].shape[1]))
    for name, columns in (("interpolation", 12), ("arithmetic", 5)):
        generative.save_grid(pictures[name], cfg.run / f"{name}.png", columns=columns, scale=scale)
    frames = pictures["walk"][:, None]
    generative.save_animation(frames, cfg.run / "walk.gif", columns=1, scale=4 * scale, seconds=0.1)
    print(f"pictures: {cfg.run}")
    return [{name: len(images) for name, images in pictures.items()}]


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
