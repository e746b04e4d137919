"""Speed of augmentation chains: one call per batch, compared with Pillow image by image.

    python experiments/benchmarks/augment_speed.py --out augment_speed.json
    python experiments/benchmarks/augment_speed.py --chains cifar --rounds 3

Chains on 256 images of 32×32×3, uint8 in, float32 out: "geometry" is a random resized crop to 32
and a random flip; "cifar" adds color jitter (0.4, 0.4, 0.4, hue 0.1) and a rotation of up to 15
degrees, bilinear; "trivial" is TrivialAugment and a flip, without a counterpart here. All end in
ImageNet's normalization. Beside ``jax.jit(jax.vmap(augment))`` stands what a PyTorch DataLoader's
workers do: Pillow's operations of the same names with torchvision's parameters, one image after
the other, in one process and in a pool of ``--processes``, which get uint8 and send float32 back.
All alternate in every round; the table shows the quickest. Needs no PyTorch. Under three minutes on
two CPU cores; measure on an idle machine.
"""

import dataclasses
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from PIL import Image, ImageEnhance

from jaxdl import config, transforms
from jaxdl.transforms.policies import IMAGENET_MEAN, IMAGENET_STD

Name = Literal["geometry", "cifar", "trivial"]
SIZE = 32


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    chains: tuple[Name, ...] = ("geometry", "cifar")
    """Which to measure."""
    batch_size: int = 256
    """Images a batch."""
    rounds: int = 7
    """Rounds; the table shows the quickest."""
    batches: int = 4
    """Batches a variant does in a round."""
    processes: int = 2
    """Of the pool."""
    out: Path | None = None
    """JSON file for the results."""


def device_chain(name: Name) -> transforms._image.Augment:
    """The chain as an augmentation of one image."""
    normalize = transforms.fixed(transforms.normalize(IMAGENET_MEAN, IMAGENET_STD))
    if name == "trivial":
        return transforms.compose(transforms.trivial_augment(), transforms.random_flip(), normalize)
    crop = [transforms.random_resized_crop(SIZE), transforms.random_flip()]
    if name == "cifar":
        crop += [transforms.color_jitter(0.4, 0.4, 0.4, 0.1), transforms.random_rotation(15)]
    return transforms.compose(*crop, normalize)


def host_chain(name: Name, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """The same with Pillow, as torchvision does it to one image."""
    picture = Image.fromarray(image)
    top, left, height, width = random_box(image.shape[0], image.shape[1], generator)
    picture = picture.crop((left, top, left + width, top + height))
    picture = picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if generator.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if name == "cifar":
        for which in generator.permutation(4):
            if which == 3:
                picture = turn_hue(picture, generator.uniform(-0.1, 0.1))
            else:
                enhance = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
                picture = enhance[which](picture).enhance(generator.uniform(0.6, 1.4))
        picture = picture.rotate(generator.uniform(-15, 15), Image.Resampling.BILINEAR)
    values = np.asarray(picture, np.float32) / 255
    return (values - MEAN) / STD


MEAN = np.array(IMAGENET_MEAN, np.float32).reshape(1, 1, 3)
STD = np.array(IMAGENET_STD, np.float32).reshape(1, 1, 3)


def random_box(
    rows: int, columns: int, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    for _ in range(10):
        area = rows * columns * generator.uniform(0.08, 1)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= columns and 0 < height <= rows:
            top = generator.integers(0, rows - height + 1)
            return int(top), int(generator.integers(0, columns - width + 1)), height, width
    return 0, 0, rows, columns  # the images are square


def turn_hue(picture: Image.Image, factor: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = np.asarray(hue) + np.uint8(int(factor * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(turned), saturation, value)).convert("RGB")


def host_batch(task: tuple[Name, np.ndarray, int]) -> np.ndarray:
    name, images, seed = task
    generator = np.random.default_rng(seed)
    return np.stack([host_chain(name, image, generator) for image in images])


def variants(name: Name, cfg: Config, pool: Any) -> dict[str, Callable[[], float]]:
    """Functions that return the seconds a batch takes, by variant."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (cfg.batch_size, SIZE, SIZE, 3), dtype=np.uint8)
    augment = jax.jit(jax.vmap(device_chain(name)))
    resident = jax.device_put(images)
    keys = [jax.random.split(key, len(images)) for key in jax.random.split(jax.random.key(0), 100)]
    jax.block_until_ready(augment(keys[0], resident))

    def device() -> float:
        began = time.perf_counter()
        for number in range(cfg.batches):
            result = augment(keys[number % len(keys)], resident)
        jax.block_until_ready(result)
        return (time.perf_counter() - began) / cfg.batches

    def host() -> float:
        began = time.perf_counter()
        host_batch((name, images, 0))
        return time.perf_counter() - began

    def workers() -> float:
        number = max(cfg.batches, cfg.processes)
        began = time.perf_counter()
        for _ in pool.imap(host_batch, [(name, images, seed) for seed in range(number)]):
            pass
        return (time.perf_counter() - began) / number

    functions = {"jaxdl, one call": device}
    if name != "trivial":
        functions |= {"Pillow, 1 process": host}
        if pool is not None:
            functions |= {f"Pillow, {cfg.processes} processes": workers}
    return functions


def main(cfg: Config) -> list[dict[str, Any]]:
    """Measures and prints a table in Markdown; returns its rows."""
    rows = []
    context = multiprocessing.get_context("spawn")
    with context.Pool(cfg.processes) as pool:
        print(f"{jax.devices()[0].device_kind}, batches of {cfg.batch_size} images {SIZE}x{SIZE}x3")
        print("\n| chain | variant | ms a batch | images a second | times jaxdl |")
        print("|---|---|---:|---:|---:|")
        for name in cfg.chains:
            functions = variants(name, cfg, pool)
            times: dict[str, list[float]] = {variant: [] for variant in functions}
            for number in range(cfg.rounds + 1):  # the first warms up
                for variant, function in functions.items():
                    seconds = function()
                    if number:
                        times[variant].append(seconds)
            best = {variant: min(seconds) for variant, seconds in times.items()}
            ours = next(iter(best.values()))
            for variant, seconds in best.items():
                row = {
                    "chain": name,
                    "variant": variant,
                    "milliseconds": 1e3 * seconds,
                    "images_per_second": cfg.batch_size / seconds,
                    "ratio": seconds / ours,
                    "seconds": times[variant],
                }
                rows.append(row)
                print(
                    f"| {name} | {variant} | {row['milliseconds']:.2f} | "
                    f"{row['images_per_second']:,.0f} | {row['ratio']:.1f} |"
                )
    if cfg.out is not None:
        versions = {"jax": jax.__version__, "device": jax.devices()[0].device_kind}
        cfg.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=2) + "\n")
    return rows


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
