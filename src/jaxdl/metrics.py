"""Additive metrics: sums and counts of batches add up, and division happens once.

An evaluation over batches of any size, over several devices, or with a padded last batch therefore
equals the evaluation of everything at once; an average of batch means does not.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Integer, Real, Shaped

from jaxdl._checks import check_count, check_num_classes, check_shape, shape_of
from jaxdl.types import Array, Mean, Metrics, PyTree


def mean(values: Shaped[Array, " B *T"], mask: Shaped[Array, "..."] | None = None) -> Mean:
    """The mean of per-example values as a sum and a count.

    Args:
        values: (B, ...) numbers, e.g. (B,) of examples or (B, T) of tokens.
        mask: (B,) or more leading axes of ``values``, 1 for real entries and 0 for padding; None
            counts everything.

    Returns:
        ``Mean(total, count)``; ``total / count`` is the masked mean.

    Raises:
        ValueError: a scalar, or a mask of another shape.

    >>> mean(jnp.array([1.0, 3.0, 100.0]), jnp.array([1.0, 1.0, 0.0]))
    Mean(total=Array(4., dtype=float32), count=Array(2., dtype=float32))
    """
    if not shape_of("values", values):
        raise ValueError("values must have shape (B, ...), got a scalar: do not reduce the loss.")
    values = values.astype(jnp.float32)
    if mask is None:
        return Mean(values.sum(), jnp.array(float(values.size)))
    check_shape("mask", mask, values.shape[: max(mask.ndim, 1)])
    weights = mask.astype(jnp.float32).reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    weights = jnp.broadcast_to(weights, values.shape)
    # where, not a product: padding that overflowed must not turn the sum into NaN
    return Mean(jnp.where(weights > 0, values * weights, 0.0).sum(), weights.sum())


def accuracy(logits: Real[Array, "*B C"], labels: Integer[Array, "*B"]) -> Float[Array, "*B"]:
    """1 where the largest logit is the label's, else 0.

    Args:
        logits: (..., C), C at least 2: (B, C), or (B, T, C) for tokens.
        labels: (...) integers.

    Returns:
        (...) float32; the mean is the accuracy as a fraction.

    Raises:
        ValueError: shapes that do not fit, or one class.

    >>> print(accuracy(jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0])))
    [1. 0.]
    """
    check_shape("labels", labels, shape_of("logits", logits)[:-1])
    check_num_classes("logits", logits.shape)
    return (logits.argmax(axis=-1) == labels).astype(jnp.float32)


def top_k_accuracy(
    logits: Real[Array, "B C"], labels: Integer[Array, " B"], *, k: int = 5
) -> Float[Array, " B"]:
    """1 where the label is among the k largest logits, else 0.

    Args:
        logits: (B, C), C at least 2.
        labels: (B,) integers.
        k: 1 to C.

    Returns:
        (B,) float32; the mean is the accuracy as a fraction.

    Raises:
        ValueError: shapes that do not fit, one class, or k out of range.

    >>> print(top_k_accuracy(jnp.array([[3.0, 2.0, 1.0]] * 2), jnp.array([1, 2]), k=2))
    [1. 0.]
    """
    check_shape("logits", logits, ("B", "C"))
    check_shape("labels", labels, (logits.shape[0],))
    check_num_classes("logits", logits.shape)
    check_count(k=k)
    if k > logits.shape[1]:
        raise ValueError(f"k must lie in 1 to {logits.shape[1]} (the classes), got {k}.")
    _, top = jax.lax.top_k(logits, k)
    return (top == labels[:, None]).any(axis=-1).astype(jnp.float32)


def confusion_matrix(
    logits: Real[Array, "B C"],
    labels: Integer[Array, " B"],
    mask: Shaped[Array, " B"] | None = None,
) -> Integer[Array, "C C"]:
    """Counts of (true class, predicted class).

    Args:
        logits: (B, C), C at least 2.
        labels: (B,) integers in [0, C); others, such as -100 (``IGNORE_LABEL``), are not counted.
        mask: (B,), 1 for a real example and 0 for padding.

    Returns:
        (C, C) int32; rows are true classes, columns predicted ones. It adds across batches.

    Raises:
        ValueError: shapes that do not fit, or one class.

    >>> print(confusion_matrix(jnp.array([[2.0, 1.0], [0.0, 3.0]]), jnp.array([0, 0])))
    [[1 1]
     [0 0]]
    """
    check_shape("logits", logits, ("B", "C"))
    check_shape("labels", labels, (logits.shape[0],))
    check_num_classes("logits", logits.shape)
    if mask is not None:
        check_shape("mask", mask, labels.shape)
    weights = jnp.ones(labels.shape, jnp.int32) if mask is None else (mask > 0).astype(jnp.int32)
    counts = jnp.zeros((logits.shape[1], logits.shape[1]), jnp.int32)
    labels = labels.astype(jnp.int32)
    rows = jnp.where(labels < 0, logits.shape[1], labels)  # a negative index counts from the end
    return counts.at[rows, logits.argmax(axis=-1)].add(weights)


HIGHER_IS_BETTER = {"accuracy", "precision", "recall", "f1", "auc", "iou", "psnr", "bleu"}

LOWER_IS_BETTER = {"loss", "error", "perplexity", "nll", "mse", "rmse", "mae"}


def direction(name: str) -> Literal["min", "max"] | None:
    """The mode of a metric by the words of its name: "min", "max", or None if unknown.

    >>> direction("test/top_5_accuracy"), direction("loss"), direction("learning_rate")
    ('max', 'min', None)
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    return "max" if words & HIGHER_IS_BETTER else "min" if words & LOWER_IS_BETTER else None


def add(a: Metrics, b: Metrics) -> Metrics:
    """The metrics of two batches together, as sums.

    >>> batch = {"loss": Mean(jnp.float32(6.0), jnp.float32(4.0))}
    >>> result(add(batch, batch))
    {'loss': 1.5}
    """
    added: Metrics = jax.tree.map(lambda x, y: x + y, a, b)
    return added


def sum_over_steps(
    stacked: Mapping[str, PyTree], initial: Mapping[str, PyTree] | None = None
) -> dict[str, PyTree]:
    """Sums stacked metrics over their leading axis on the host, step by step, in float64.

    A float32 sum over thousands of batches loses digits. This one does not, and it does not depend
    on how the steps are divided into calls.

    Args:
        stacked: metrics whose leaves have a leading step axis (S, ...).
        initial: sums of earlier steps to start from.

    Returns:
        the same names with NumPy leaves, float64, or int64 for counts.

    >>> sums = sum_over_steps({"loss": Mean(jnp.array([1.0, 2.0]), jnp.array([4.0, 4.0]))})
    >>> float(sums["loss"].total / sums["loss"].count)
    0.375
    """

    def total(leaf: ArrayLike, start: ArrayLike = 0) -> np.ndarray | np.generic:
        array = np.asarray(leaf)
        wide = np.float64 if jnp.issubdtype(array.dtype, jnp.floating) else np.int64
        first = np.broadcast_to(np.asarray(start, wide), array.shape[1:])[None]
        last: np.ndarray | np.generic = np.cumsum(
            np.concatenate([first, array.astype(wide)]), axis=0
        )[-1]
        return last

    others = () if initial is None else (dict(initial),)
    sums: dict[str, PyTree] = jax.tree.map(total, dict(stacked), *others)
    return sums


def result(metrics: Mapping[str, PyTree], prefix: str = "") -> dict[str, Any]:
    """The values of metrics: a float for every :class:`Mean`, nested lists for every array.

    >>> result({"loss": Mean(jnp.array(6.0), jnp.array(4.0))}, prefix="test/")
    {'test/loss': 1.5}
    """
    values: dict[str, Any] = {}
    for name, metric in metrics.items():
        if isinstance(metric, Mean):
            count = float(metric.count)
            values[prefix + name] = float(metric.total) / count if count else float("nan")
        else:
            values[prefix + name] = np.asarray(metric).tolist()
    return values
