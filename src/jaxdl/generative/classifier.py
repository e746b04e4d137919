"""A classifier that judges generated images: their features and their classes.

The network is :class:`jaxdl.models.CNN`, trained on the set's own training images. Its features
are the last maps (3x3x128 at 28x28 pixels) averaged over the pixels: 128 numbers an image.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, losses, metrics, models, optim, train, transforms
from jaxdl._checks import check_positive, check_shape
from jaxdl.types import Array, PyTree


class Classifier(NamedTuple):
    """A trained classifier.

    Attributes:
        variables: of ``models.CNN``, statistics included.
        mean, std: (C,) that images in [0, 1] are normalised by.
        shape: (H, W, C) of an image.
        class_names: in the order of the labels.
        accuracy: of the test images.
    """

    variables: PyTree
    mean: np.ndarray
    std: np.ndarray
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    accuracy: float


def look(judge: Classifier, images: Any, *, batch_size: int = 250) -> tuple[Array, Array]:
    """What the judge sees in images.

    Args:
        judge: of the same set.
        images: (N, H, W, C), uint8 or floating point in [0, 1].
        batch_size: images at a time.

    Returns:
        features (N, 128) and logits (N, num_classes).

    Raises:
        ValueError: images of another shape, or none.
    """
    check_shape("images", images, (None, *judge.shape))
    check_positive(batch_size=batch_size)
    if not len(images):
        raise ValueError("images holds none (length 0): there is nothing to look at.")
    number, size = len(images), min(batch_size, len(images))
    images = jnp.asarray(images)
    padded = jnp.concatenate([images, images[: -number % size]])
    normal = tuple(jnp.asarray(x).reshape(1, 1, 1, -1) for x in (judge.mean, judge.std))
    parts = [
        _look(len(judge.class_names), judge.variables, normal, padded[start : start + size])
        for start in range(0, len(padded), size)
    ]
    features, logits = (jnp.concatenate(part)[:number] for part in zip(*parts, strict=True))
    return features, logits


@functools.partial(jax.jit, static_argnums=0)
def _look(
    num_classes: int, variables: PyTree, normal: tuple[Array, Array], images: Array
) -> tuple[Array, Array]:
    model, (mean, std) = models.CNN(num_classes), normal
    inputs = (transforms.to_float(images) - mean) / std
    logits, sown = model.apply(variables, inputs, mutable="intermediates")
    features = sown["intermediates"]["embed"][0]
    return features.reshape(len(images), -1, model.features[-1]).mean(axis=1), logits


def train_classifier(
    dataset: data.Dataset,
    *,
    num_epochs: int = 2,
    batch_size: int = 64,
    seed: int = 0,
    cache_dir: Path | str | None = None,
    progress: bool = True,
) -> Classifier:
    """Trains a judge, or takes up the one that was trained before.

    AdamW with a peak rate of 3e-3 in one cycle, weight decay 0.02, dropout 0.3, images shifted by
    up to 2 pixels: the recipe of ``experiments/classify.py``.

    Args:
        dataset: labelled images.
        num_epochs: passes over the training images.
        batch_size: images a step.
        seed: of weights, order, dropout and shifts.
        cache_dir: a folder of its own, ``runs/judges/mnist``: the training is kept there, goes on
            where it was stopped, and is not repeated once it has ended.
        progress: show a bar.

    Raises:
        ValueError: the folder holds the training of another judge.
    """
    images, labels = dataset.train["image"], dataset.train["label"]
    mean, std = data.mean_and_std(images)
    preprocess = transforms.normalize(mean, std)
    model = models.CNN(len(dataset.class_names))
    steps = num_epochs * data.num_batches(len(images), batch_size)
    schedule = optim.one_cycle(3e-3, steps)
    tx = optim.recipe(optim.adamw, schedule, weight_decay=0.02, decay_vectors=False)
    init_key, order_key = jax.random.split(jax.random.key(seed))
    state = train.init_state(model, tx, init_key, preprocess(jnp.asarray(images[:1])))
    common: Any = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": preprocess}
    supervised = functools.partial(train.supervised, model, losses.cross_entropy, **common)
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
    shape: Any = images.shape[1:]
    variables = {"params": state.params, **state.model_state}
    accuracy = history[-1]["test/accuracy"]
    return Classifier(variables, mean, std, shape, dataset.class_names, accuracy)
