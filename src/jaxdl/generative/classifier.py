"""Classifier of a data set, whose features and classes measure generated images.

The network is :class:`jaxdl.models.CNN`, trained on the training images of the set. Its features
are the last maps (3x3x128 at 28x28 pixels) averaged over the pixels: 128 numbers per image.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import data, losses, metrics, models, optim, train, transforms
from jaxdl._checks import check_positive, check_shape
from jaxdl.types import Array, PyTree

FEW_IMAGES = 10_000
"""With fewer images a training takes more epochs by default."""


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
        variables: variables of ``models.CNN``, statistics included.
        mean, std: (C,) statistics by which images in [0, 1] are normalized.
        shape: (H, W, C) of an image.
        class_names: in the order of the labels.
        accuracy: on the test images.
    """

    variables: PyTree
    mean: np.ndarray
    std: np.ndarray
    shape: tuple[int, ...]
    class_names: tuple[str, ...]
    accuracy: float


def classify(
    classifier: Classifier, images: ArrayLike, *, batch_size: int = 250
) -> tuple[Array, Array]:
    """Features and logits of images.

    Args:
        classifier: a classifier of the same data set.
        images: (N, H, W, C), uint8 or floating point in [0, 1].
        batch_size: images at a time.

    Returns:
        Features (N, 128) and logits (N, num_classes).

    Raises:
        ValueError: images of another shape, or no images.
    """
    images = jnp.asarray(images)
    check_shape("images", images, (None, *classifier.shape))
    check_positive(batch_size=batch_size)
    if not len(images):
        raise ValueError("images must have at least one image, got none.")
    number, size = len(images), min(batch_size, len(images))
    padded = jnp.concatenate([images, images[: -number % size]])
    statistics = [jnp.asarray(x).reshape(1, 1, 1, -1) for x in (classifier.mean, classifier.std)]
    parts = [
        _classify(
            len(classifier.class_names), classifier.variables, statistics,
            padded[start : start + size],
        )
        for start in range(0, len(padded), size)
    ]  # fmt: skip
    features, logits = (jnp.concatenate(part)[:number] for part in zip(*parts, strict=True))
    return features, logits


@functools.partial(jax.jit, static_argnums=0)
def _classify(
    num_classes: int, variables: PyTree, statistics: list[Array], images: Array
) -> tuple[Array, Array]:
    model, (mean, std) = models.CNN(num_classes), statistics
    inputs = (transforms.to_float(images) - mean) / std
    logits, sown = model.apply(variables, inputs, mutable="intermediates")
    features = sown["intermediates"]["embed"][0]
    return features.reshape(len(images), -1, model.features[-1]).mean(axis=1), logits


def train_classifier(
    dataset: data.Dataset,
    *,
    num_epochs: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Classifier:
    """Trains the classifier that measures generated images, or loads it from a cache.

    AdamW with a peak rate of 3e-3 in one cycle, weight decay 0.02, dropout 0.3, images shifted by
    up to 2 pixels: the recipe of ``experiments/classify.py``.

    Args:
        dataset: labeled images.
        num_epochs: passes over the training images; by default 2, and 20 for 10,000 or fewer.
        batch_size: images per step.
        seed: seed of weights, order, dropout, and shifts.
        cache_dir: folder for this training alone, e.g. ``runs/classifiers/mnist``: a training that
            was interrupted is resumed there, and one that has ended is not repeated.
        progress: show a bar.

    Raises:
        ValueError: the folder holds the training of another classifier.
    """
    images, labels = dataset.train["image"], dataset.train["label"]
    if num_epochs is None:
        num_epochs = 2 if len(images) > FEW_IMAGES else 20
    mean, std = data.mean_and_std(images)
    preprocess = transforms.normalize(mean, std)
    model = models.CNN(len(dataset.class_names))
    steps = num_epochs * data.num_batches(len(images), batch_size)
    tx = optim.recipe(
        optim.adamw, optim.one_cycle(3e-3, steps), weight_decay=0.02, decay_vectors=False
    )
    init_key, order_key = jax.random.split(jax.random.key(seed))
    state = train.init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1])))
    supervised = functools.partial(
        train.supervised,
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=preprocess,
    )
    state, history = train.run(
        train.make_step(supervised(augment=transforms.random_crop(padding=2)), tx),
        state,
        {"image": images, "label": labels},
        num_epochs=num_epochs,
        batch_size=batch_size,
        key=order_key,
        eval_fn=train.make_eval(supervised()),
        eval_data=dataset.test,
        workdir=cache_dir,
        resume=True,
        progress=progress,
    )
    return Classifier(
        variables={"params": state.params, **state.model_state},
        mean=mean,
        std=std,
        shape=images.shape[1:],
        class_names=dataset.class_names,
        accuracy=history[-1]["test/accuracy"],
    )
