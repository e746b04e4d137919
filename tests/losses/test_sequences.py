"""CTC by hand: sums over alignments."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import draw, gradient_of, run

from jaxdl import losses


def by_hand(logits, labels, blank=0):
    """Minus the log of the summed probability of every alignment that collapses to the labels."""
    times, num_classes = logits.shape
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    total = 0.0
    for path in itertools.product(range(num_classes), repeat=times):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != blank] == list(labels):
            total += math.exp(sum(log_p[t, c] for t, c in enumerate(path)))
    return -math.log(total)


def test_it_sums_all_alignments():
    logits, labels = draw(2, 4, 3), jnp.array([[1, 2], [2, 2]])
    expected = [by_hand(*pair) for pair in zip(logits, labels.tolist(), strict=True)]
    np.testing.assert_allclose(run(losses.ctc, logits, labels), expected, rtol=1e-5)


def test_padding_does_not_count():
    logits, labels = draw(1, 5, 3), jnp.array([[1, 2, 1]])
    lengths = {"input_lengths": jnp.array([4]), "label_lengths": jnp.array([2])}
    cut = run(losses.ctc, logits[:, :4], labels[:, :2])
    np.testing.assert_allclose(run(losses.ctc, logits, labels, **lengths), cut, rtol=1e-6)
    gradient = gradient_of(losses.ctc, logits, labels, **lengths)
    assert np.all(gradient[:, 4] == 0)
    assert np.any(gradient[:, 3] != 0)


def test_labels_that_do_not_fit_are_infinite_or_zero():
    logits, labels = draw(1, 2, 3), jnp.array([[1, 1]])  # equal neighbors need a blank between
    assert run(losses.ctc, logits, labels) == math.inf
    assert run(losses.ctc, logits, labels, zero_infinity=True) == 0
    assert np.all(gradient_of(losses.ctc, logits, labels, zero_infinity=True) == 0)
    assert np.isfinite(run(losses.ctc, logits, jnp.array([[1, 2]])))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z, y: losses.ctc(z, y, blank=3), "blank must be a class from 0 to 2, got 3"),
        (lambda z, y: losses.ctc(z[0], y), r"logits must have shape \(B, T, C\)"),
        (lambda z, y: losses.ctc(z, y.astype(float)), "labels must be integers, got float32"),
        (lambda z, y: losses.ctc(z, y, label_lengths=jnp.array(1)), "label_lengths must have"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(jnp.zeros((2, 4, 3)), jnp.ones((2, 2), int))
