"""Speed of data loading: torch's DataLoader and jaxdl's Loader doing the same work.

    python experiments/benchmarks/data_speed.py --data_dir DIR

DIR holds the folder fashion_mnist of IDX files and cifar10/train/CLASS/*.jpg; what is missing is
generated. About two minutes on two quiet CPU cores; prints one Markdown table. PyTorch's rows need
`pip install torch==2.13.0`.

Both produce normalized float32 batches of 64, in a new random order every epoch: torch as in its
tutorials (a Dataset that converts items one by one, persistent worker processes), jaxdl with the
conversion on the device. The JPEG rows decode, crop a random rectangle, resize it to 32x32 and flip
it: torch with Pillow as torchvision does, jaxdl with Pillow for decoding and one compiled call for
the rest. The two alternate, and the fastest round of each is reported; starting workers and
compiling are measured in a separate column. torch forks its workers, which JAX warns about.

Memory is measured in a separate process that trains on a streamed set: its anonymous resident
memory, epoch by epoch; and a set of 1 GB in a process that may allocate at most 200 MB more than it
had when its step was compiled.
"""

import collections
import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, losses, models, optim, train, transforms
from jaxdl.data.collate import epoch_order, take
from jaxdl.data.prefetch import put_on_devices
from jaxdl.data.sources.image_files import ImageFiles

BATCH_SIZE = 64
SIZE = 32
LIMIT = 200 * 10**6
"""Bytes that training on the big set may allocate."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement."""

    data_dir: Path | None = None
    """Folder with fashion_mnist (IDX files) and cifar10 (JPEG files by class)."""
    repeats: int = 3
    """Rounds; the fastest counts."""
    num_images: int = 60_000
    """Images of the set in memory, at most."""
    num_files: int = 4_000
    """JPEG files, at most."""
    memory: bool = True
    """Measure memory too."""


Epochs = Iterator[float]
"""Seconds of one epoch after the other; the first includes starting."""


def timed(epochs: Callable[[], Iterator[Any]]) -> Epochs:
    """Goes through epochs of a function that gives batches; waits for the last one of each."""
    while True:
        began = time.perf_counter()
        last = collections.deque(epochs(), maxlen=1)
        jax.block_until_ready(list(last))
        yield time.perf_counter() - began


def measure(variants: dict[str, Epochs], repeats: int) -> dict[str, tuple[float, float]]:
    """(fastest epoch, how much longer the first one took) of each, in turn."""
    first = {name: next(epochs) for name, epochs in variants.items()}
    best = dict.fromkeys(variants, math.inf)
    for _ in range(repeats):
        for name, epochs in variants.items():
            best[name] = min(best[name], next(epochs))
    return {name: (best[name], max(first[name] - best[name], 0.0)) for name in variants}


def stream(loader: data.Loader, finish: Callable[..., Any], num_epochs: int) -> Epochs:
    """As :func:`timed`, for one iterator over all epochs, so that workers go on."""
    with loader.epoch(0, num_epochs=num_epochs) as batches:
        ahead, number = put_on_devices(batches), 0
        while True:
            began = time.perf_counter()
            for _ in range(len(loader)):
                number += 1
                last = finish(number, next(ahead)["image"])
            jax.block_until_ready(last)
            yield time.perf_counter() - began


def find_torch() -> Any:
    """PyTorch, or None."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def torch_epochs(dataset: Any, num_workers: int) -> Epochs:
    import torch

    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=BATCH_SIZE,
        shuffle=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
    )
    return timed(lambda: iter(loader))


def images_in_memory(images: np.ndarray, labels: np.ndarray, repeats: int, torch: Any) -> dict:
    """28x28 images: torch's Dataset of arrays, the Loader, and arrays on the device."""

    class Images(torch.utils.data.Dataset if torch else object):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Any:  # what ToTensor does
            image = torch.from_numpy(images[index]).permute(2, 0, 1).contiguous()
            return image.to(torch.get_default_dtype()).div(255), int(labels[index])

    arrays = {"image": images, "label": labels}
    loader = data.Loader(data.ArraySource(arrays), batch_size=BATCH_SIZE, shuffle=True)
    to_float = jax.jit(transforms.to_float)
    on_device = jax.device_put(arrays)
    rows = data.num_batches(len(images), BATCH_SIZE)
    order = jax.jit(epoch_order, static_argnums=(2, 3))

    @jax.jit
    def batch(arrays: Any, order: Any, index: Any) -> Any:
        return transforms.to_float(take(arrays, order, index)["image"])

    @jax.jit
    def epoch(arrays: Any, order: Any) -> Any:
        def one(total: Any, index: Any) -> tuple[Any, None]:
            return total + batch(arrays, order, index).sum(), None

        return jax.lax.scan(one, 0.0, jnp.arange(rows))[0]

    numbers = iter(range(10**9))

    def resident() -> Iterator[Any]:
        rows_of = order(jax.random.key(0), next(numbers), len(images), BATCH_SIZE)
        return (batch(on_device, rows_of, index) for index in range(rows))

    def compiled() -> Iterator[Any]:
        rows_of = order(jax.random.key(0), next(numbers), len(images), BATCH_SIZE)
        return iter([epoch(on_device, rows_of)])

    def on_host() -> Iterator[Any]:  # float32 arrays in host memory, as torch's
        scale = np.float32(1 / 255)
        return (np.multiply(b["image"], scale, dtype=np.float32) for b in loader)

    variants = {
        "Loader, converted by NumPy": timed(on_host),
        "Loader, converted on the device": timed(lambda: (to_float(b["image"]) for b in loader)),
        "resident, batch by batch": timed(resident),
        "resident, in a compiled loop": timed(compiled),
    }
    if torch:
        variants = {
            "torch, 0 workers": torch_epochs(Images(), 0),
            "torch, 2 workers": torch_epochs(Images(), 2),
        } | variants
    return measure(variants, repeats)


def torch_crop(torch: Any, image: Any) -> Any:
    """RandomResizedCrop, RandomHorizontalFlip and ToTensor, as torchvision's source has them."""
    from PIL import Image

    width, height = image.size
    ratio = torch.log(torch.tensor([3 / 4, 4 / 3]))
    left, top, columns, rows = 0, 0, width, height
    for _ in range(10):
        area = height * width * torch.empty(1).uniform_(0.08, 1.0).item()
        aspect = torch.exp(torch.empty(1).uniform_(ratio[0], ratio[1])).item()
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = torch.randint(0, height - h + 1, size=(1,)).item()
            left = torch.randint(0, width - w + 1, size=(1,)).item()
            columns, rows = w, h
            break
    image = image.crop((left, top, left + columns, top + rows))
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    if torch.rand(1) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    tensor = torch.from_numpy(np.array(image, np.uint8, copy=True))
    return tensor.permute(2, 0, 1).contiguous().to(torch.get_default_dtype()).div(255)


def augment_batch() -> Callable[..., Any]:
    # the flip first: XLA fuses what follows a crop into it, which costs six times as much on CPU
    chain = transforms.compose(transforms.random_flip(), transforms.random_resized_crop(SIZE))

    @jax.jit
    def apply(number: Any, images: Any) -> Any:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), number), len(images))
        return transforms.to_float(jax.vmap(chain)(keys, images))

    return apply


def jpeg_folder(source: Any, repeats: int, torch: Any) -> dict:
    """Decode, random resized crop and flip, with 0 and 2 workers on either side."""

    class Files(torch.utils.data.Dataset if torch else object):  # type: ignore[misc]
        def __len__(self) -> int:
            return len(source.paths)

        def __getitem__(self, index: int) -> Any:
            from PIL import Image

            with open(source.paths[index], "rb") as file:
                image = Image.open(file).convert("RGB")
            return torch_crop(torch, image), int(source.labels[index])

    apply = augment_batch()
    loader = data.Loader(source, batch_size=BATCH_SIZE, shuffle=True)
    epochs = repeats + 1
    threads = loader.replace(num_workers=2)
    processes = threads.replace(multiprocessing_context="spawn")
    variants: dict[str, Epochs] = {}
    if torch:
        variants = {f"torch, {n} workers": torch_epochs(Files(), n) for n in (0, 2)}
    variants |= {
        "Loader, 0 workers": stream(loader, apply, epochs),
        "Loader, 2 workers: threads": stream(threads, apply, epochs),
        "Loader, 2 workers: processes": stream(processes, apply, epochs),
    }
    resident = data.Loader(data.ArraySource(data.source_to_arrays(source)), batch_size=BATCH_SIZE)
    variants["decoded once (resident)"] = stream(resident.replace(shuffle=True), apply, epochs)
    return measure(variants, repeats)


def augmentation(source: Any, repeats: int, torch: Any) -> dict:
    """The same chain on decoded images: Pillow one by one, and one compiled call a batch."""
    from PIL import Image

    images = data.source_to_arrays(source)["image"][: BATCH_SIZE * 16]
    apply = augment_batch()
    starts = range(0, len(images) - BATCH_SIZE + 1, BATCH_SIZE)
    variants: dict[str, Epochs] = {}
    if torch:
        variants["host: Pillow, one by one"] = timed(
            lambda: (torch_crop(torch, Image.fromarray(image)) for image in images)
        )
    variants["device: one compiled call a batch"] = timed(
        lambda: (apply(start, images[start : start + BATCH_SIZE]) for start in starts)
    )
    return measure(variants, repeats)


def make_training(width: int) -> tuple[Any, Any]:
    model, tx = models.MLP((32, 10)), optim.sgd(1e-3)
    state = train.init_state(model, tx, jax.random.key(0), jnp.zeros((1, width)))
    loss_fn = train.supervised(model, losses.cross_entropy, preprocess=transforms.to_float)
    return train.make_step(loss_fn, tx), state


def training_loop(images: np.ndarray, labels: np.ndarray, repeats: int) -> dict:
    """``run`` on a loader that streams and on one that is resident; seconds an epoch."""
    source = data.ArraySource({"image": images, "label": labels})
    step, state = make_training(images[0].size)
    times = {}
    for name, resident in (("streamed", False), ("resident", True)):
        loader = data.Loader(source, batch_size=BATCH_SIZE, shuffle=True, resident=resident)
        _, history = train.run(step, state, loader, num_epochs=repeats + 1, progress=False)
        times[f"run, {name}"] = (min(row["epoch_seconds"] for row in history), 0.0)
    return times


def anonymous_memory() -> float:
    """Returns the resident memory that is not a mapped file, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def train_in_little_memory(kind: str, path: str, num_epochs: int) -> None:
    """Trains in a separate process and prints its memory after every epoch as JSON."""
    import resource

    source: Any
    if kind == "files":
        source = data.sources.image_source(path)
    else:
        images = np.load(path, mmap_mode="r")
        source = data.ArraySource({"image": images, "label": np.arange(len(images)) % 10})
    options: Any = {"batch_size": 4 * BATCH_SIZE, "shuffle": True, "resident": False}
    step, state = make_training(math.prod(source.spec["image"].shape))
    first = data.Loader(data.subset(source, range(8 * BATCH_SIZE)), **options)
    train.run(step, state, first, num_epochs=1, progress=False)  # compiles
    seen = [anonymous_memory()]
    if kind == "mapped":
        used = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
        resource.setrlimit(resource.RLIMIT_DATA, (used + LIMIT,) * 2)
    else:
        options["num_workers"] = 2
    hooks = [lambda event: seen.append(anonymous_memory())]
    loader = data.Loader(source, **options)
    train.run(step, state, loader, num_epochs=num_epochs, progress=False, hooks=hooks)
    print(json.dumps(seen))


def memory_of(kind: str, path: Path, num_epochs: int) -> list[float]:
    command = [sys.executable, __file__, "--child", kind, str(path), str(num_epochs)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    values: list[float] = json.loads(output.splitlines()[-1])
    return values


def write_big_set(path: Path, num_examples: int = 1_000_000, width: int = 1_024) -> None:
    block = np.random.default_rng(0).integers(0, 256, (num_examples // 50, width), np.uint8)
    mapped = np.lib.format.open_memmap(path, "w+", np.uint8, (num_examples, width))
    for start in range(0, num_examples, len(block)):
        mapped[start : start + len(block)] = block
    mapped.flush()


def read_sets(cfg: Config, folder: Path) -> tuple[np.ndarray, np.ndarray, Any]:
    generator = np.random.default_rng(0)
    if cfg.data_dir is not None and (cfg.data_dir / "fashion_mnist").is_dir():
        arrays = data.load("fashion_mnist", cfg.data_dir).train
        images, labels = arrays["image"][: cfg.num_images], arrays["label"][: cfg.num_images]
    else:
        images = generator.integers(0, 256, (cfg.num_images, 28, 28, 1), np.uint8)
        labels = generator.integers(0, 10, cfg.num_images).astype(np.int32)
    files = None if cfg.data_dir is None else cfg.data_dir / "cifar10" / "train"
    if files is None or not files.is_dir():
        from PIL import Image

        files = folder / "files"
        for number in range(cfg.num_files):
            (files / str(number % 10)).mkdir(parents=True, exist_ok=True)
            noise = generator.integers(0, 256, (8, 8, 3), np.uint8)
            image = Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            image.save(files / str(number % 10) / f"{number}.jpg")
    source = data.sources.image_source(files)
    chosen = generator.permutation(len(source))[: cfg.num_files]
    paths = [source.paths[index] for index in chosen]
    return images, labels, ImageFiles(paths, np.asarray(source.labels)[chosen])


def print_rows(what: str, times: dict[str, tuple[float, float]], number: int) -> None:
    torch_times = {name: best for name, (best, _) in times.items() if name.startswith("torch")}
    host = next((best for name, (best, _) in times.items() if name.startswith("host")), None)
    for name, (best, start) in times.items():
        same = "torch, 2 workers" if "2 workers" in name else "torch, 0 workers"
        base = torch_times.get(same, host)
        ratio = "" if base is None else f"{base / best:.1f}"
        print(f"| {what} | {name} | {best:.3f} | {number / best:,.0f} | {ratio} | {start:.1f} |")


def main(cfg: Config) -> None:
    torch = find_torch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, labels, source = read_sets(cfg, folder)
        print("| work | variant | s an epoch | examples/s | times torch | start, s |")
        print("|---|---|---:|---:|---:|---:|")
        size = f"{len(images):,} images 28x28 in memory"
        print_rows(size, images_in_memory(images, labels, cfg.repeats, torch), len(images))
        size = f"{len(source):,} JPEG files"
        print_rows(size, jpeg_folder(source, cfg.repeats, torch), len(source))
        number = min(len(source) // BATCH_SIZE, 16) * BATCH_SIZE
        size = f"crop and flip of {number:,} images"
        print_rows(size, augmentation(source, cfg.repeats, torch), number)
        print_rows("training a small MLP", training_loop(images, labels, cfg.repeats), len(images))
        if cfg.memory:
            files = Path(source.paths[0]).parents[1]
            print_memory("10 epochs of JPEG files, 2 workers", memory_of("files", files, 10))
            write_big_set(folder / "big.npy")
            print_memory(
                "1 epoch of 1 GB, limit +200 MB", memory_of("mapped", folder / "big.npy", 1)
            )


def print_memory(what: str, values: list[float]) -> None:
    listed = ", ".join(f"{value:.0f}" for value in values)
    print(f"| memory: {what} | MB before and after each epoch: {listed} | | | | |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        train_in_little_memory(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        config.main(main, Config, description=__doc__)
