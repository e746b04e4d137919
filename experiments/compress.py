"""Smaller weights: half precision, int8 and pruning, with accuracy and size before and after.

    python experiments/compress.py --run RUN

RUN is the run folder of a classifier, e.g. of experiments/classify.py --model cnn, or a bundle.
Every variant is written to a safetensors file, read back and evaluated on the whole test set.
Expect int8 to be more than 3.5 times smaller and to cost less than .3 % of accuracy, and pruning
half of the weights to cost about 1 %. The results folder gets the files, table.md and pruning.png.

Source: Krishnamoorthi 2018 (int8 by channel), Han et al. 2015 (pruning by magnitude).
"""

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config, data, export, interop, losses, metrics, plots
from jaxdl.export import quantization
from jaxdl.train import evaluate
from jaxdl.types import Batch, EvalFn, Metrics, PyTree, Row

FRACTIONS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of the weights, pruned for the picture


@dataclasses.dataclass(frozen=True)
class Config:
    """One comparison; every field is a flag."""

    run: Path  # run folder or bundle of a classifier
    data_dir: Path | None = None  # folder of the data; by default that of the run
    workdir: Path | None = None  # folder of the results; runs/compress_TIME by default


def make_eval_fn(bundle: export.Bundle) -> EvalFn:
    """Accuracy and loss of a tree of weights, computed in the precision of the weights."""
    model: Any = bundle.model  # a network of jaxdl.models

    def eval_fn(variables: PyTree, batch: Batch) -> Metrics:
        wide, labels = quantization.dequantize(variables), batch["label"]
        dtype = jax.tree.leaves(wide["params"])[0].dtype
        images = bundle.preprocessing(batch["image"]).astype(dtype)
        logits = jnp.asarray(model.apply(wide, images, train=False), jnp.float32)
        loss, accuracy = losses.cross_entropy(logits, labels), metrics.accuracy(logits, labels)
        values = {"accuracy": accuracy, "loss": loss}
        return {name: metrics.mean(value, batch.get("mask")) for name, value in values.items()}

    return eval_fn


def compress(cfg: Config, bundle: export.Bundle, test: Any) -> list[Row]:
    """Writes, reads and evaluates every variant; returns one row per variant."""
    eval_fn, variables = make_eval_fn(bundle), bundle.variables
    pruned, _ = quantization.prune(variables, 0.5)
    variants = {
        "float32": variables,
        "bfloat16": quantization.cast(variables, jnp.bfloat16),
        "float16": quantization.cast(variables, jnp.float16),
        "int8": quantization.quantize(variables),
        "pruned_50": pruned,
        "pruned_50_int8": quantization.quantize(pruned),
    }
    rows: list[Row] = []
    for name, tree in variants.items():
        path = Path(cfg.workdir or ".") / f"{name}.safetensors"
        interop.write_safetensors(path, quantization.to_arrays(tree))
        again = quantization.from_arrays(interop.read_weights(path))
        sizes = {"num_bytes": path.stat().st_size, "zipped": len(zlib.compress(path.read_bytes()))}
        row = {"weights": name, **evaluate(eval_fn, again, test), **sizes}
        rows.append({**row, "sparsity": quantization.sparsity(again)["all"]})
    return rows


def to_table(rows: list[Row]) -> str:
    """Markdown; "÷" is the size of the first row divided by that of the row."""
    lines = ["| weights | accuracy | loss | zeros | bytes | ÷ | zipped | ÷ |", "|---" * 8 + "|"]
    for row in rows:
        values = f"{row['accuracy']:.2%} | {row['loss']:.4f} | {row['sparsity']:.0%}"
        sizes = [f"{row[n]:,} | {rows[0][n] / row[n]:.2f}" for n in ("num_bytes", "zipped")]
        lines.append(f"| {row['weights']} | {values} | {sizes[0]} | {sizes[1]} |")
    return "\n".join(lines) + "\n"


def main(cfg: Config) -> list[Row]:
    """Loads, compresses and evaluates; returns the rows of the table."""
    workdir = cfg.workdir or config.new_run_dir("compress")
    workdir.mkdir(parents=True, exist_ok=True)
    bundle = export.open_model(cfg.run)
    about, eval_fn = bundle.config["data"], make_eval_fn(bundle)
    test = data.load(about["name"], cfg.data_dir or about.get("data_dir")).test
    rows = compress(dataclasses.replace(cfg, workdir=workdir), bundle, test)
    (workdir / "table.md").write_text(table := to_table(rows))
    curves = {}
    for name, per_layer in (("all layers together", False), ("every layer alone", True)):
        trees = [quantization.prune(bundle.variables, f, per_layer=per_layer)[0] for f in FRACTIONS]
        accuracies = [evaluate(eval_fn, tree, test)["accuracy"] for tree in trees]
        curves[name] = (np.array(FRACTIONS), np.array(accuracies))
    labels = ("share of the weights that is removed", "test accuracy")
    title = f"Pruning by magnitude, no training after it ({about['name']})"
    figure = plots.points_and_curves({}, curves, labels=labels, title=title)
    print(f"{table}\nresults: {plots.save(figure, workdir / 'pruning.png').parent}")
    return rows


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
