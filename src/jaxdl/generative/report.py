"""Measurements of a generator, after every epoch and at the end."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxdl import data, tensorboard
from jaxdl._files import write_text
from jaxdl.generative.classifier import Classifier, classify, train_classifier
from jaxdl.generative.scores import (
    Gaussian,
    class_histogram,
    entropy,
    frechet_distance,
    gaussian,
    precision_and_recall,
)
from jaxdl.generative.snapshots import Snapshots
from jaxdl.train import EpochEnd
from jaxdl.train.gan import GANState, Players, sample
from jaxdl.types import Array, Row

COLLAPSED = 0.7
"""Share of the entropy of an even distribution below which a generator has collapsed."""


class Reference(NamedTuple):
    """Real images to compare with.

    Attributes:
        classifier: the classifier that computes the features.
        features: (N, D).
        gaussian: mean and covariance of the features.
    """

    classifier: Classifier
    features: np.ndarray
    gaussian: Gaussian


def make_reference(
    dataset: data.Dataset,
    *,
    num_images: int = 10_000,
    num_epochs: int | None = None,
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Reference:
    """Trains a classifier on the training images and computes features of test images.

    Args:
        dataset: labeled images.
        num_images: number of test images, at most.
        num_epochs: passes over the training images.
        progress: as in :func:`jaxdl.train.run`.
        cache_dir: folder for the classifiers of all data sets, e.g. ``runs/classifiers``: each is
            trained once. None keeps none.

    Example; ``experiments/gan_mnist.py`` is a whole one::

        mnist = data.load("mnist", data_dir)
        reference = generative.make_reference(mnist, cache_dir="runs/classifiers")
    """
    classifier = train_classifier(
        dataset,
        num_epochs=num_epochs,
        cache_dir=None if cache_dir is None else Path(cache_dir) / dataset.name,
        progress=progress,
    )
    features = np.asarray(classify(classifier, dataset.test["image"][:num_images])[0])
    return Reference(classifier, features, gaussian(features))


def measure(reference: Reference, images: ArrayLike, labels: ArrayLike | None = None) -> Row:
    """Measures the quality of generated images.

    Args:
        reference: real images.
        images: (N, H, W, C) floating point in [0, 1]; distances compare only for equal N.
        labels: (N,) classes that a conditional generator was given.

    Returns:
        ``frechet_distance``, ``precision`` and ``recall`` of the classifier's features,
        ``class_entropy`` in nats, ``num_classes`` (those with at least a tenth of an even share),
        ``collapsed`` (the entropy is below 70 % of an even distribution's), ``classes`` (number of
        images by class), ``num_samples``, and with labels ``conditional_accuracy``.

    Raises:
        ValueError: images of another shape than the reference's, or outside [0, 1].

    Example, with ``reference`` of :func:`make_reference` and the ``players`` of a trained GAN::

        images = players.to_unit(train.sample(players, state, jax.random.key(0), 10_000))
        print(generative.measure(reference, images)["frechet_distance"])
    """
    images = np.asarray(images, np.float32)
    if not (images.min() >= 0 and images.max() <= 1):  # NaN is refused too
        raise ValueError(
            f"images must lie in [0, 1], got {images.min():.4g} to {images.max():.4g}; for a tanh "
            "use (images + 1) / 2."
        )
    features, logits = classify(reference.classifier, images)
    classes = np.asarray(logits.argmax(axis=1))
    num_classes = len(reference.classifier.class_names)
    counts = class_histogram(classes, num_classes)
    precision, recall = precision_and_recall(reference.features, features)
    row = {
        "frechet_distance": frechet_distance(gaussian(features), reference.gaussian),
        "precision": precision,
        "recall": recall,
        "class_entropy": entropy(counts),
        "num_classes": int((counts >= 0.1 * len(images) / num_classes).sum()),
        "collapsed": bool(entropy(counts) < COLLAPSED * np.log(num_classes)),
        "classes": counts.tolist(),
        "num_samples": len(images),
    }
    if labels is not None:
        row["conditional_accuracy"] = float((classes == np.asarray(labels)).mean())
    return row


def make_hook(
    reference: Reference,
    players: Players,
    key: Array,
    *,
    num_epochs: int,
    num_samples: int = 10_000,
    say: Callable[[str], None] = print,
) -> Callable[[EpochEnd], None]:
    """Makes a hook for ``train.run`` that measures the generator of a GAN.

    After every epoch it measures a tenth of ``num_samples``, appends the row to
    ``generator.jsonl`` in the run folder, and writes TensorBoard scalars ``generator/…``. After the
    last epoch it measures all of them and writes ``generator.json``.

    Args:
        reference: real images.
        players: the networks; conditional ones generate equal numbers of all classes.
        key: root PRNG key of the noise; the same step draws the same noise.
        num_epochs: number of epochs of the whole training.
        num_samples: number of images at the end, at least 40.
        say: prints a line.

    Raises:
        ValueError: too few images.

    Example, with ``reference`` of :func:`make_reference`::

        hook = generative.make_hook(reference, players, jax.random.key(2), num_epochs=4)
        state, history = train.run(
            train.make_gan_step(players), state, images, num_epochs=4, batch_size=64, key=3,
            workdir="runs/gan", hooks=[hook],
        )
    """
    if num_samples < 40:
        raise ValueError(
            f"num_samples must be at least 40, got {num_samples}: a tenth of them is measured "
            "after every epoch, and recall needs four images."
        )

    @functools.partial(jax.jit, static_argnums=1)
    def generate(state: GANState, number: int, labels: Array | None) -> Array:
        step_key = jax.random.fold_in(jax.random.fold_in(key, state.step), number)
        return players.to_unit(sample(players, state, step_key, number, label=labels))

    def measure_samples(state: GANState | Snapshots, number: int) -> Row:
        gan = state.gan if isinstance(state, Snapshots) else state
        classes = players.num_classes
        labels = None if classes is None else np.arange(number) % classes
        return measure(reference, generate(gan, number, labels), labels)

    def hook(end: EpochEnd) -> None:
        row = measure_samples(end.state, max(num_samples // 10, 1))
        say(f"  generator: {_summary(row)}")
        if end.writer is not None:
            scalars = {f"generator/{n}": x for n, x in row.items() if isinstance(x, float)}
            tensorboard.write_scalars(end.writer, scalars, end.row["step"])
        if end.workdir is not None:
            _append_row(end.workdir / "generator.jsonl", {"epoch": end.row["epoch"], **row})
        if end.row["epoch"] == num_epochs:
            row = measure_samples(end.state, num_samples)
            say(f"  {num_samples:,} images: {_summary(row)}")
            if end.workdir is not None:
                write_text(end.workdir / "generator.json", json.dumps(row) + "\n")

    return hook


def _summary(row: Row) -> str:
    parts = [
        f"Fréchet distance {row['frechet_distance']:.4g}",
        f"precision {row['precision']:.3f}",
        f"recall {row['recall']:.3f}",
        f"{row['num_classes']} classes, entropy {row['class_entropy']:.3f} nats",
    ]
    if "conditional_accuracy" in row:
        parts.append(f"{row['conditional_accuracy']:.1%} of the requested class")
    if row["collapsed"]:
        parts.append(f"collapsed, images by class {row['classes']}")
    return ", ".join(parts)


def _append_row(path: Path, row: Row) -> None:
    """Appends a row to a file of JSON lines, in place of rows of the same or a later epoch."""
    rows = []
    if path.is_file():
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [old for old in rows if old["epoch"] < row["epoch"]] + [row]
    write_text(path, "".join(json.dumps(one) + "\n" for one in rows))
