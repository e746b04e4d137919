"""Losses of one example each: shape (B, ...) in, (B,) out, never reduced.

:func:`jaxdl.metrics.mean` reduces them under a mask, once, in one place.
"""

import math

import jax
import jax.numpy as jnp
import optax

from jaxdl.checks import check_fraction, check_shape
from jaxdl.types import Array


def cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> Array:
    r"""Cross entropy between logits and class indices, in nats.

    .. math:: -\sum_c q_c \log \mathrm{softmax}(z)_c,\quad
              q_c = (1-\epsilon)\,[c = y] + \epsilon / C

    Args:
        logits: (B, C) unnormalised log-probabilities.
        labels: (B,) integers in [0, C). Out of range, C or more gives NaN and a negative one counts
            from the end, so data is checked on the host (:func:`jaxdl.checks.check_labels`).
        label_smoothing: ε in [0, 1].

    Returns:
        (B,) losses.

    Raises:
        ValueError: wrong shapes or dtypes, or ε outside [0, 1].

    Source: ``torch.nn.functional.cross_entropy(..., reduction="none")``, equal to it.

    >>> print(cross_entropy(jnp.array([[2.0, 1.0, 0.0]]), jnp.array([0])).round(4))
    [0.4076]
    """
    check_shape("logits", logits, ("B", "C"))
    check_shape("labels", labels, (logits.shape[0],))
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers (class indices), got dtype {labels.dtype}.")
    check_fraction(label_smoothing=label_smoothing)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    if label_smoothing == 0.0:
        return losses
    uniform = -jax.nn.log_softmax(logits).mean(axis=-1)
    return (1.0 - label_smoothing) * losses + label_smoothing * uniform


def binary_cross_entropy(logits: Array, targets: Array) -> Array:
    r"""Binary cross entropy from logits, averaged over an example's outputs, in nats.

    .. math:: -t \log \sigma(z) - (1-t) \log(1 - \sigma(z))

    Args:
        logits: (B, ...) log-odds.
        targets: like ``logits``, values in [0, 1].

    Returns:
        (B,) losses.

    Source: ``torch.nn.functional.binary_cross_entropy_with_logits``; its mean over a batch is the
    mean of these.

    >>> print(binary_cross_entropy(jnp.zeros((1, 4)), jnp.ones((1, 4))).round(4))
    [0.6931]
    """
    check_shape("targets", targets, logits.shape)
    return _mean_over_features(optax.losses.sigmoid_binary_cross_entropy(logits, targets))


def squared_error(predictions: Array, targets: Array) -> Array:
    r"""Squared error, averaged over an example's outputs: :math:`\frac1n\sum_i (p_i - t_i)^2`.

    Args:
        predictions: (B, ...).
        targets: like ``predictions``.

    Returns:
        (B,) losses.

    Source: ``torch.nn.functional.mse_loss``; its mean over a batch is the mean of these.

    >>> print(squared_error(jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 3.0]])))
    [2.5]
    """
    check_shape("targets", targets, predictions.shape)
    return _mean_over_features(optax.losses.squared_error(predictions, targets))


def _mean_over_features(values: Array) -> Array:
    return values.reshape(values.shape[0], math.prod(values.shape[1:])).mean(axis=1)
