"""A GAN of colour images, from an image folder, an HDF5 file or TFDS's celeb_a.

    python experiments/gan_conv.py
    python experiments/gan_conv.py --images DIR/cifar10/train --size 32
    python experiments/gan_conv.py --images faces.h5 --size 128 --players book --batch_size 1
    python experiments/gan_conv.py --images celeb_a --size 64 --features 64

The first command needs no data: pieces of the two photographs that come with scikit-learn, some
minutes. A folder is searched for image files, whatever its sub-folders are called; an HDF5 file
holds one group or data set of images; celeb_a is read where TFDS has prepared it (array_record).
Images are cut to a square in the middle and resized.

"dcgan" fits 28, 32, 64 and 128 pixels. "book" is the convolutional GAN of the book at 128 pixels,
"gelu" the same with GELU, "dense" its first attempt at whole 218x178 faces. With few images
--augment keeps the discriminator from learning them by heart. The run folder gets losses.png,
samples.png, training.gif, real.png and neighbours.png.

Source: Radford et al. 2016; Zhao et al. 2020 (--augment); Tariq Rashid, "Make Your First GAN With
PyTorch", notebooks 12, 14 and 15.
"""

import dataclasses
import functools
import math
import time
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import numpy as np

from _gan import Players, best_practice, play
from jaxdl import config, data, generative, models, optim, transforms
from jaxdl.data.sources._decode import IMAGE_SUFFIXES, read_image
from jaxdl.losses import adversarial


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; every field is a flag."""

    images: str = "photographs"
    """A folder, an HDF5 file, "celeb_a" or "photographs"."""
    data_dir: Path | None = None
    """TFDS's folder, for celeb_a."""
    size: int = 32
    """Pixels at a side that images are resized to; dense keeps them as they are."""
    num_train: int | None = 20_000
    """At most so many images."""
    players: Literal["dcgan", "book", "gelu", "dense"] = "dcgan"
    """Networks."""
    features: int = 32
    """Of dcgan: channels of the discriminator's largest maps; the generator has twice as many."""
    learning_rate: float = 5e-4
    """Of Adam, for dcgan's discriminator 0.4 times that; the book's is 1e-4."""
    augment: bool = False
    """Show the discriminator images in random disguise, real and generated ones alike."""
    batch_size: int = 64
    """Images a step; the book's is 1."""
    num_epochs: int = 20
    """Passes over the images."""
    seed: int = 0
    """Of weights, order and noise."""
    workdir: Path | None = None
    """Run folder; runs/gan_conv_PLAYERS_TIME by default."""
    resume: bool = False
    """Go on with the run in workdir."""


def photographs(number: int, size: int, seed: int) -> np.ndarray:
    """Pieces of two photographs, mirrored at random."""
    from sklearn.datasets import load_sample_images

    generator = np.random.default_rng(seed)
    pictures = load_sample_images().images
    pieces = []
    for index in range(number):
        picture = pictures[index % 2][::2, ::2]
        top, left = (generator.integers(n - size + 1) for n in picture.shape[:2])
        piece = picture[top : top + size, left : left + size]
        pieces.append(piece[:, :: generator.choice((-1, 1))])
    return np.stack(pieces)


def fit(image: np.ndarray, size: int | None) -> np.ndarray:
    """The square in the middle of an image, resized."""
    from PIL import Image

    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            f"colour images (H, W, 3) are expected, got {image.shape}: repeat a grey channel three "
            "times, or take gan_mnist.py."
        )
    if size is None:
        return image
    side = min(image.shape[:2])
    top, left = ((n - side) // 2 for n in image.shape[:2])
    picture = Image.fromarray(image[top : top + side, left : left + side])
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def load_images(cfg: Config) -> np.ndarray:
    """(N, H, W, 3) uint8, all in memory."""
    size = None if cfg.players == "dense" else cfg.size
    limit = cfg.num_train
    path = Path(cfg.images).expanduser()
    if cfg.images == "photographs":
        return photographs(min(limit or 4000, 4000), cfg.size, cfg.seed)
    if cfg.images == "celeb_a":
        import tensorflow_datasets as tfds

        options = {} if cfg.data_dir is None else {"data_dir": str(cfg.data_dir)}
        source = tfds.data_source("celeb_a", split="train", download=False, **options)
        return np.stack(
            [fit(source[i]["image"], size) for i in range(min(limit or 10**9, len(source)))]
        )
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise FileNotFoundError(f"there are no images in {path} and the folders in it.")
        if limit is not None and limit < len(files):  # files are sorted by folder: take of each
            files = [files[i] for i in np.linspace(0, len(files) - 1, limit).astype(int)]
        return np.stack([fit(read_image(file), size) for file in files])
    if path.is_file():
        from jaxdl.data.sources.hdf5 import HDF5Source

        source = HDF5Source(path)
        name = next(iter(source.names.values()))
        return np.stack(
            [fit(source[i][name], size) for i in range(min(limit or 10**9, len(source)))]
        )
    raise FileNotFoundError(f"{path} is neither a folder nor a file, nor celeb_a or photographs.")


def make_players(cfg: Config, shape: Any, num_steps: int = 1) -> Players:
    if cfg.players == "dcgan":
        augment = transforms.differentiable_augment(cutout=0.25) if cfg.augment else None
        return best_practice(
            shape,
            features=cfg.features,
            learning_rate=cfg.learning_rate,
            num_steps=num_steps,
            ema=0.995,
            augment=augment,
        )
    if cfg.players == "dense":
        networks: Any = (
            models.DenseGenerator((300,), shape, activation=nn.leaky_relu),
            models.DenseDiscriminator(
                (100,), activation=nn.leaky_relu, output_activation=nn.sigmoid
            ),
        )
    else:
        if tuple(shape) != (128, 128, 3):
            raise ValueError(f"the book's networks make 128x128 pixels: --size 128, got {shape}.")
        gelu: Any = functools.partial(nn.gelu, approximate=False)
        options = {"activation": gelu} if cfg.players == "gelu" else {}
        networks = (
            models.ConvGenerator(**options),
            models.ConvDiscriminator(output_activation=nn.sigmoid, **options),
        )
    generator, discriminator = networks
    return Players(
        generator,
        discriminator,
        (optim.adam(cfg.learning_rate), optim.adam(cfg.learning_rate)),
        adversarial.on_probabilities(),
        ideal=math.log(2),
        options={"separate_updates": True},
    )


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains and draws; returns the history, one row an epoch."""
    images = load_images(cfg)
    print(f"{len(images):,} images of {images.shape[1]}x{images.shape[2]} pixels")
    batch_size = min(cfg.batch_size, len(images))
    num_steps = cfg.num_epochs * data.num_batches(len(images), batch_size)
    players = make_players(cfg, images.shape[1:], num_steps)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    workdir = cfg.workdir or Path("runs") / f"gan_conv_{cfg.players}_{stamp}"
    _, history = play(
        cfg,
        players,
        {"image": images},
        workdir,
        num_epochs=cfg.num_epochs,
        batch_size=batch_size,
        title=f"{cfg.players} on {Path(cfg.images).name}",
    )
    scale = max(1, round(56 / images.shape[1]))
    chosen = np.linspace(0, len(images) - 1, 64).astype(int)
    generative.save_grid(images[chosen], workdir / "real.png", columns=8, scale=scale)
    print(f"run folder: {workdir}")
    return history


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
