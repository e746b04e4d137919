"""What a judge says of a generator: one row of numbers, at the end or after every epoch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdl import tensorboard
from jaxdl._files import write_text
from jaxdl.generative.classifier import Classifier, look
from jaxdl.generative.scores import (
    Gaussian,
    class_histogram,
    entropy,
    frechet_distance,
    gaussian,
    precision_and_recall,
)
from jaxdl.train import EpochEnd
from jaxdl.types import Array

COLLAPSE = 0.7
"""Of the entropy that an even distribution has; below it a generator is said to have collapsed."""


class Reference(NamedTuple):
    """Real images as the judge sees them.

    Attributes:
        judge: the classifier.
        features: (N, D).
        gaussian: of the features.
    """

    judge: Classifier
    features: np.ndarray
    gaussian: Gaussian


def make_reference(judge: Classifier, images: Any) -> Reference:
    """Looks at real images once.

    Args:
        judge: see :func:`~jaxdl.generative.train_classifier`.
        images: (N, H, W, C), uint8 or floating point in [0, 1]: images that the generator was not
            trained on, 10,000 test images say.
    """
    features = np.asarray(look(judge, images)[0])
    return Reference(judge, features, gaussian(features))


def measure(reference: Reference, images: Any, labels: Any = None) -> dict[str, Any]:
    """How good generated images are.

    Args:
        reference: real images.
        images: (N, H, W, C) floating point in [0, 1], as many as there are real ones if distances
            are to be compared with others.
        labels: (N,) the classes that a conditional generator was asked for.

    Returns:
        ``frechet_distance``, ``precision`` and ``recall`` of the judge's features, ``classes`` (how
        many images the judge puts into each class), ``num_classes`` (those with at least a tenth of
        an even share), ``class_entropy`` in nats, ``collapsed`` (the entropy is below 70 % of an
        even distribution's), ``num_samples``, and with labels ``conditional_accuracy``.

    Raises:
        ValueError: images of another shape than the reference's, or outside [0, 1].
    """
    images = np.asarray(images, np.float32)
    if not (images.min() >= 0 and images.max() <= 1):  # NaN is refused too
        raise ValueError(
            f"images must lie in [0, 1], got {images.min():.4g} to {images.max():.4g}; those of a "
            "tanh become so by (images + 1) / 2."
        )
    features, logits = look(reference.judge, images)
    classes = np.asarray(logits.argmax(axis=1))
    number = len(reference.judge.class_names)
    counts = class_histogram(classes, number)
    precision, recall = precision_and_recall(reference.features, features)
    row = {
        "frechet_distance": frechet_distance(gaussian(features), reference.gaussian),
        "precision": precision,
        "recall": recall,
        "class_entropy": entropy(counts),
        "num_classes": int((counts >= 0.1 * len(images) / number).sum()),
        "collapsed": bool(entropy(counts) < COLLAPSE * np.log(number)),
        "classes": counts.tolist(),
        "num_samples": len(images),
    }
    if labels is not None:
        row["conditional_accuracy"] = float((classes == np.asarray(labels)).mean())
    return row


def make_hook(
    reference: Reference,
    sample: Callable[[Any], Array],
    *,
    labels: Any = None,
    say: Callable[[str], None] = print,
) -> Callable[[EpochEnd], None]:
    """A hook for ``train.run`` that measures the generator after every epoch.

    It appends a row to ``generator.jsonl`` in the run folder, writes TensorBoard scalars
    ``generator/…``, and says so where the generator has collapsed.

    Args:
        reference: real images.
        sample: ``state -> (N, H, W, C)`` images in [0, 1], the same noise every time.
        labels: (N,) the classes that ``sample`` asked for.
        say: prints a line.
    """

    def hook(end: EpochEnd) -> None:
        row = {"epoch": end.row["epoch"], **measure(reference, sample(end.state), labels)}
        asked = f", {row['conditional_accuracy']:.1%} as asked" if labels is not None else ""
        say(
            f"  generator: Fréchet distance {row['frechet_distance']:.3g}, {row['num_classes']} "
            f"classes, entropy {row['class_entropy']:.3f} nats{asked}"
        )
        if row["collapsed"]:
            say(f"  the generator has collapsed: images by class {row['classes']}")
        if end.workdir is not None:
            _append_row(end.workdir / "generator.jsonl", row)
        if end.writer is not None:
            scalars = {f"generator/{n}": x for n, x in row.items() if isinstance(x, float)}
            tensorboard.write_scalars(end.writer, scalars, end.row["step"])

    return hook


def save_row(path: Path, row: dict[str, Any]) -> None:
    """Writes a row as JSON; the file appears whole or not at all."""
    write_text(path, json.dumps(row) + "\n")


def _append_row(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to a file of JSON lines in place of one of the same epoch and all after it."""
    rows = []
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [old for old in rows if old["epoch"] < row["epoch"]] + [row]
    write_text(path, "".join(json.dumps(one) + "\n" for one in rows))
