"""Smaller weights: half precision, int8 and pruning, with accuracy and size before and after.

    python experiments/compress.py
    python experiments/compress.py --run runs/fashion_mnist_cnn_20251121-120000 --data_dir DIR

The first command trains the CNN on scikit-learn's digits (half a minute); the second takes the best
weights of a run folder of experiments/classify.py. Every variant is written to a safetensors file,
read back and evaluated on the whole test set. Expect int8 to be more than 3.5 times smaller and to
cost less than .3 % of accuracy, and the loss of half of the weights to cost about 1 %. The run
folder gets the files, table.md and pruning.png.

Source: Krishnamoorthi 2018 (int8 by channel), Han et al. 2015 (pruning by magnitude).
"""

import dataclasses
import time
import zlib
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import classify
from jaxdl import _files, _text, config, data, export, interop, losses, metrics, plots, train
from jaxdl.export import quantization
from jaxdl.types import Batch, Metrics

FRACTIONS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the weights that are pruned for the picture."""


@dataclasses.dataclass(frozen=True)
class Config:
    """One comparison; every field is a flag."""

    run: Path | None = None
    """Run folder of experiments/classify.py, or a bundle; without it the CNN is trained first."""
    data: Literal["digits", "mnist", "fashion_mnist", "kmnist"] = "digits"
    """What it is trained on, without --run."""
    data_dir: Path | None = None
    """Folder with one folder of IDX files a set; without it TFDS provides the set."""
    num_epochs: int = 10
    """Passes over the training set, without --run."""
    seed: int = 0
    """Of that training."""
    workdir: Path | None = None
    """Where the results go; runs/compress_TIME by default."""


def train_cnn(cfg: Config, run_dir: Path) -> None:
    """The README's recipe for Fashion-MNIST."""
    recipe = classify.Config(
        data=cfg.data,
        data_dir=cfg.data_dir,
        model="cnn",
        optimizer="adamw",
        learning_rate=3e-3,
        schedule="one_cycle",
        weight_decay=0.02,
        dropout_rate=0.3,
        augment="flip" if cfg.data == "fashion_mnist" else "shift",
        batch_size=64,
        num_epochs=cfg.num_epochs,
        seed=cfg.seed,
        workdir=run_dir,
    )
    classify.main(recipe)


def variants(variables: Any) -> dict[str, Any]:
    """The trees to compare, by name."""
    pruned, _ = quantization.prune(variables, 0.5)
    return {
        "float32": variables,
        "bfloat16": quantization.cast(variables, jnp.bfloat16),
        "float16": quantization.cast(variables, jnp.float16),
        "int8": quantization.quantize(variables),
        "pruned 50 %": pruned,
        "pruned 50 %, int8": quantization.quantize(pruned),
    }


def main(cfg: Config) -> list[dict[str, Any]]:
    """Trains or loads, compresses, evaluates; returns the rows of the table."""
    workdir = cfg.workdir or Path("runs") / f"compress_{time.strftime('%Y%m%d-%H%M%S')}"
    run_dir = cfg.run or workdir / "cnn"
    if cfg.run is None:
        train_cnn(cfg, run_dir)
    found = export.open_model(run_dir)
    model, preprocessing, about = found.model, found.preprocessing, found.config["data"]
    data_dir = cfg.data_dir or about.get("data_dir")
    test = data.load(about["name"], data_dir).test

    def eval_fn(state: Any, batch: Batch) -> Metrics:
        wide = quantization.dequantize(state)
        images = preprocessing(batch["image"]).astype(jax.tree.leaves(wide["params"])[0].dtype)
        logits = jnp.asarray(model.apply(wide, images, train=False), jnp.float32)
        values = {"accuracy": metrics.accuracy, "loss": losses.cross_entropy}
        return {
            name: metrics.mean(function(logits, batch["label"]), batch.get("mask"))
            for name, function in values.items()
        }

    workdir.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for name, tree in variants(found.variables).items():
        path = (
            workdir / f"{name.replace(' %', '').replace(', ', '_').replace(' ', '_')}.safetensors"
        )
        interop.write_safetensors(path, quantization.to_arrays(tree))
        again = quantization.from_arrays(interop.read_weights(path))
        row = {"weights": name, **train.evaluate(eval_fn, again, test)}
        row["sparsity"] = quantization.sparsity(again)["all"]
        row["num_bytes"] = path.stat().st_size
        row["zipped"] = len(zlib.compress(path.read_bytes()))
        rows.append(row)
    table = to_table(rows)
    print(table)
    _files.write_text(workdir / "table.md", table + "\n")

    curves = {}
    for title, per_layer in (("all layers together", False), ("every layer alone", True)):
        accuracies = []
        for fraction in FRACTIONS:
            pruned, _ = quantization.prune(found.variables, fraction, per_layer=per_layer)
            accuracies.append(train.evaluate(eval_fn, pruned, test)["accuracy"])
        curves[title] = (np.array(FRACTIONS), np.array(accuracies))
    figure = plots.points_and_curves(
        {},
        curves,
        labels=("share of the weights that is removed", "test accuracy"),
        title=f"Pruning by magnitude, no training after it ({about['name']})",
    )
    plots.save(figure, workdir / "pruning.png")
    print(f"run folder: {workdir}")
    return rows


def to_table(rows: list[dict[str, Any]]) -> str:
    """Markdown: accuracy and size beside those of the first row."""
    first = rows[0]
    header = ["weights", "accuracy", "change", "loss", "zeros", "bytes", "÷", "zipped", "÷"]
    table = [
        [
            row["weights"],
            f"{row['accuracy']:.2%}",
            f"{100 * (row['accuracy'] - first['accuracy']):+.2f}",
            f"{row['loss']:.4f}",
            f"{row['sparsity']:.0%}",
            row["num_bytes"],
            f"{first['num_bytes'] / row['num_bytes']:.2f}",
            row["zipped"],
            f"{first['zipped'] / row['zipped']:.2f}",
        ]
        for row in rows
    ]
    return _text.align_table(header, table, align="<" + ">" * 8, markdown=True)


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
