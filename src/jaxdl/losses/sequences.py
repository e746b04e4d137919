"""Losses of sequences: connectionist temporal classification (CTC)."""

import jax.numpy as jnp
import optax
from jaxtyping import Float, Integer

from jaxdl._checks import check_num_classes, check_shape, shape_of
from jaxdl._pytorch_names import explain_keywords
from jaxdl.losses._common import floating
from jaxdl.types import Array


@explain_keywords
def ctc(
    logits: Float[Array, "B T C"],
    labels: Integer[Array, "B S"],
    *,
    input_lengths: Integer[Array, " B"] | None = None,
    label_lengths: Integer[Array, " B"] | None = None,
    blank: int = 0,
    zero_infinity: bool = False,
) -> Float[Array, " B"]:
    r"""CTC loss: minus the log-probability of all alignments that collapse to the labels, in nats.

    An alignment has a class or a blank at every time; it collapses by merging repeats and dropping
    blanks.

    Args:
        logits: (B, T, C) scores, or log-probabilities; a log-softmax is applied.
        labels: (B, S) integers other than ``blank``, padded with anything.
        input_lengths: (B,) number of valid times; None is T.
        label_lengths: (B,) number of valid labels; None is S.
        blank: class of the blank.
        zero_infinity: loss and gradient are 0, not infinite, where the labels do not fit into the
            times: n labels with r equal neighbors need n + r times.

    Returns:
        (B,) losses. PyTorch's ``reduction="mean"`` also divides each by its label length.

    Raises:
        ValueError: wrong shapes or dtypes, or a blank out of range.

    Source: ``torch.nn.functional.ctc_loss(log_probs.transpose(0, 1), ..., reduction="none")``;
    Graves et al. 2006. The recursion is Optax's.

    >>> print(ctc(jnp.zeros((1, 2, 2)), jnp.array([[1]])).round(4))  # three of four alignments
    [0.2877]
    """
    batch, times, num_classes = _check_shapes(logits, labels)
    if not 0 <= blank < num_classes:
        raise ValueError(f"blank must be a class from 0 to {num_classes - 1}, got {blank}.")
    (logits,) = floating(logits)
    size = labels.shape[1]
    length_of = {"input_lengths": (input_lengths, times), "label_lengths": (label_lengths, size)}
    lengths = []
    for name, (given, longest) in length_of.items():
        value = jnp.full(batch, longest) if given is None else jnp.asarray(given)
        check_shape(name, value, (batch,))
        lengths.append(value)
    inputs, targets = lengths
    time_padding = (jnp.arange(times)[None] >= inputs[:, None]).astype(logits.dtype)
    label_padding = (jnp.arange(size)[None] >= targets[:, None]).astype(logits.dtype)
    repeats = (labels[:, 1:] == labels[:, :-1]) & (jnp.arange(1, size)[None] < targets[:, None])
    fits = targets + repeats.sum(axis=1) <= inputs
    # of examples that do not fit, neither value nor gradient is used
    safe = jnp.where(fits[:, None, None], logits, 0.0)
    losses = optax.losses.ctc_loss(safe, time_padding, labels, label_padding, blank_id=blank)
    return jnp.where(fits, losses, 0.0 if zero_infinity else jnp.inf)


def _check_shapes(logits: Array, labels: Array) -> tuple[int, int, int]:
    check_shape("logits", logits, ("B", "T", "C"))
    batch, times, num_classes = shape_of("logits", logits)
    check_num_classes("logits", logits.shape)
    check_shape("labels", labels, (batch, "S"))
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(f"labels must be integers, got {labels.dtype}.")
    return batch, times, num_classes
