"""Cost of watching: the ConvNet on MNIST with everything on, with nothing on, and PyTorch.

    python experiments/benchmarks/watch_speed.py --data_dir DIR
    python experiments/benchmarks/watch_speed.py --data_dir DIR --num_epochs 10 --num_images 60000

The first command is a short look of 2 epochs of 12,800 images, the second the whole job, some five
minutes on two CPU cores. DIR holds mnist/train-images-idx3-ubyte.gz and so on. Rows, all in one
process, in turn, ``--repeats`` rounds; the table shows the quickest round of each:

    nothing on      jaxdl.train.run with a run folder and no watch
    everything on   experiments/mnist_tensorboard.py: every 50 batches histograms, norms, maps, …
    torch loader    the same job in PyTorch with torch.utils.tensorboard.SummaryWriter, as a
                    tutorial writes it: TensorDataset and DataLoader, loss.item() every batch
    torch by hand   the same with all tensors in memory and nothing read between two points

PyTorch's rows log what the source logs: every 50 batches loss, accuracy, 8 + 8 histograms, 8 norms
and both maps; each epoch inputs, filters, 1,024 embeddings with their images, the evaluation; at
the end PCA, t-SNE, the confusion matrix and the hyperparameters. They need torch==2.13.0 and are
left out without it. An epoch is the time between two ends of epochs, so that compilation (once a
run) stands in "whole run" only. Libraries are imported before, since only the first row would pay.

Source: chapter 3 of dldna, as experiments/mnist_tensorboard.py.
"""

import dataclasses
import importlib
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import config, data, plots
from jaxdl.tensorboard.grids import make_grid
from jaxdl.tensorboard.projections import pca, tsne

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import mnist_tensorboard as experiment

MEAN, STD, BATCH = 0.1307, 0.3081, 64


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement; every field is a flag."""

    data_dir: Path | None = None
    """Folder with the folder mnist of IDX files."""
    num_epochs: int = 2
    """Passes over the training images."""
    num_images: int = 12_800
    """Training images."""
    repeats: int = 1
    """Rounds."""


class Times:
    """Seconds of a whole run and of an epoch after the first."""

    def __init__(self) -> None:
        self.ends, self.whole = [time.perf_counter()], 0.0

    def end_epoch(self, _: Any = None) -> None:
        self.ends.append(time.perf_counter())

    def finish(self) -> "Times":
        self.whole = time.perf_counter() - self.ends[0]
        return self

    @property
    def epoch(self) -> float:
        spans = [
            after - before for before, after in zip(self.ends[1:], self.ends[2:], strict=False)
        ]
        return statistics.median(spans) if spans else float("nan")


def run_jaxdl(cfg: Config, dataset: data.Dataset, *, everything: bool) -> Times:
    times, watch = Times(), experiment.WATCH if everything else None
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"hooks": (times.end_epoch,), "progress": False}
        if watch is None:
            options["watch"] = None
        run = experiment.run
        settings = experiment.Config(num_epochs=cfg.num_epochs, workdir=Path(folder))
        experiment.run = lambda *args, **given: run(*args, **{**given, **options})
        try:
            experiment.train(settings, dataset)
        finally:
            experiment.run = run
        return times.finish()


def run_torch(cfg: Config, dataset: data.Dataset, *, by_hand: bool) -> Times:
    import torch
    from torch import nn
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset
    from torch.utils.tensorboard import SummaryWriter

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3)
            self.fc1, self.fc2, self.dropout = (
                nn.Linear(800, 32),
                nn.Linear(32, 10),
                nn.Dropout(0.3),
            )

        def forward(self, x: Any) -> Any:
            first = functional.relu(self.conv1(x))
            second = functional.relu(self.conv2(functional.max_pool2d(first, 2)))
            features = functional.relu(self.fc1(functional.max_pool2d(second, 2).flatten(1)))
            return self.fc2(self.dropout(features)), (first, second, features)

    def tensors(split: dict[str, np.ndarray]) -> tuple[Any, Any]:
        pixels = (split["image"].astype(np.float32) / 255 - MEAN) / STD
        image = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        return image, torch.from_numpy(split["label"]).long()

    def grid(maps: Any, **options: Any) -> Any:
        """A C x H x W image of maps (N, H, W)."""
        return make_grid(maps.detach().numpy()[..., None], **options)

    torch.manual_seed(0)
    images, labels = tensors(dataset.train)
    test_images, test_labels = tensors(dataset.test)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-5, fused=by_hand)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)
    loader = DataLoader(TensorDataset(images, labels), BATCH, shuffle=True, drop_last=True)
    times, step = Times(), 0
    hparams = {"batch_size": BATCH, "learning_rate": 1e-3, "dropout_rate": 0.3}

    def batches() -> Any:
        if not by_hand:
            yield from loader
            return
        order = torch.randperm(len(images))
        for index in order[: len(order) // BATCH * BATCH].split(BATCH):
            yield images[index], labels[index]

    def look(loss: Any, logits: Any, maps: Any, y: Any) -> None:
        writer.add_scalar("step/loss", loss.item(), step)
        accuracy = (logits.argmax(1) == y).float().mean().item()
        writer.add_scalar("step/accuracy", accuracy, step)
        for name, parameter in model.named_parameters():
            writer.add_histogram(f"parameters/{name}", parameter, step)
            gradient: Any = parameter.grad
            writer.add_histogram(f"gradients/{name}", gradient, step)
            writer.add_scalar(f"gradient_norm/{name}", gradient.norm(), step)
        for name, layer in (("feat1", maps[0]), ("feat2", maps[1])):
            picture = grid(layer[0, :8], num_columns=2, normalize="together")
            writer.add_image(f"feature_maps/{name}", picture, step, dataformats="HWC")

    def end_epoch() -> Any:
        with torch.no_grad():
            model.eval()
            chunks = [model(x) for x in test_images.split(250)]
            model.train()
            logits = torch.cat([chunk[0] for chunk in chunks])
            loss = functional.cross_entropy(logits, test_labels).item()
        accuracy = (logits.argmax(1) == test_labels).float().mean().item()
        writer.add_scalar("test/loss", loss, step)
        writer.add_scalar("test/accuracy", accuracy, step)
        embeddings = torch.cat([chunk[1][2] for chunk in chunks[:5]])[:1024]
        shown = torch.from_numpy(dataset.test["image"][:1024].transpose(0, 3, 1, 2) / 255.0)
        metadata = test_labels[:1024].tolist()
        writer.add_embedding(embeddings, metadata, shown[: len(embeddings)], step, "feat3")
        return logits, embeddings

    def draw(plane: np.ndarray, name: str) -> None:
        tags = dataset.test["label"][: len(plane)]
        writer.add_figure(
            f"embeddings/{name}", plots.class_map(plane, tags, dataset.class_names), step
        )

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        writer.add_graph(model, images[:BATCH])
        for _ in range(cfg.num_epochs):
            for index, (x, y) in enumerate(batches()):
                optimizer.zero_grad()
                logits, maps = model(x)
                loss = functional.cross_entropy(logits, y)
                loss.backward()
                optimizer.step()
                if not by_hand:
                    loss.item()
                if index % 50 == 0:
                    look(loss, logits, maps, y)
                if index == 0:
                    picture = grid(x[:8, 0], normalize="together")
                    writer.add_image("inputs", picture, step, dataformats="HWC")
                    picture = grid(model.conv1.weight[:16, 0], normalize="each")
                    writer.add_image("filters/conv1", picture, step, dataformats="HWC")
                step += 1
            scheduler.step()
            logits, embeddings = end_epoch()
            times.end_epoch()
        draw(pca(embeddings.numpy()), "pca")
        draw(tsne(embeddings.numpy()), "tsne")
        counts = np.zeros((10, 10), int)
        np.add.at(counts, (dataset.test["label"], logits.argmax(1).numpy()), 1)
        figure = plots.confusion_matrix(counts, dataset.class_names)
        writer.add_figure("confusion_matrix", figure, step)
        writer.add_hparams(hparams, {"test/accuracy": float(np.trace(counts) / counts.sum())})
    return times.finish()


def main(cfg: Config) -> dict[str, tuple[float, float]]:
    """Measures and prints; returns seconds of an epoch and of a whole run by row."""
    if cfg.data_dir is None:
        raise ValueError("--data_dir is missing: give the folder that holds mnist.")
    if cfg.num_epochs < 2 or cfg.repeats < 1:
        raise ValueError("--num_epochs must be at least 2 and --repeats at least 1.")
    full = data.load("mnist", cfg.data_dir)
    train = {name: array[: cfg.num_images] for name, array in full.train.items()}
    dataset = full._replace(train=train)
    for library in ("matplotlib.figure", "sklearn.manifold", "tensorboardX"):
        importlib.import_module(library)
    rows: dict[str, Callable[[], Times]] = {
        "nothing on": lambda: run_jaxdl(cfg, dataset, everything=False),
        "everything on": lambda: run_jaxdl(cfg, dataset, everything=True),
    }
    if importlib.util.find_spec("torch") is not None:
        rows["torch loader"] = lambda: run_torch(cfg, dataset, by_hand=False)
        rows["torch by hand"] = lambda: run_torch(cfg, dataset, by_hand=True)
    found: dict[str, list[Times]] = {name: [] for name in rows}
    for _ in range(cfg.repeats):
        for name, row in rows.items():
            found[name].append(row())
    best = {
        name: (min(times.epoch for times in all), min(times.whole for times in all))
        for name, all in found.items()
    }
    print(f"{cfg.num_epochs} epochs of {len(train['label']):,} images, {os.cpu_count()} cores")
    print("| | seconds an epoch | ÷ nothing on | whole run, seconds | ÷ everything on |")
    print("|---|---|---|---|---|")
    for name, (epoch, whole) in best.items():
        slower, ratio = epoch / best["nothing on"][0], whole / best["everything on"][1]
        print(f"| {name} | {epoch:.2f} | {slower:.2f} | {whole:.1f} | {ratio:.2f} |")
    return best


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
