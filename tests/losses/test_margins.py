"""Margin losses by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import LN2, close, gradient_of, run

from jaxdl import losses

SCORES = jnp.array([[0.5, 0.0, 1.0]])


def test_multi_margin_by_hand():
    label = jnp.array([0])  # max(0, 1 - 0.5 + 0) + max(0, 1 - 0.5 + 1) = 0.5 + 1.5
    close(run(losses.multi_margin, SCORES, label), [2.0 / 3])
    close(run(losses.multi_margin, SCORES, label, p=2), [2.5 / 3])
    weights = jnp.array([3.0, 1.0, 1.0])
    close(run(losses.multi_margin, SCORES, label, class_weights=weights), [2.0])
    close(run(losses.multi_margin, SCORES, label, margin=0.5), [1.0 / 3])


@pytest.mark.parametrize("label", [-1, 3])
def test_multi_margin_of_a_label_out_of_range_is_nan(label):
    assert np.isnan(run(losses.multi_margin, SCORES, jnp.array([label])))


def test_multi_label_margin_by_hand():
    scores = jnp.array([[0.1, 0.2, 0.4, 0.8]])
    # labels 3 and 0 against classes 1 and 2: .4 + .6 + 1.1 + 1.3, over four classes
    close(run(losses.multi_label_margin, scores, jnp.array([[3, 0, -1, 1]])), [0.85])
    close(run(losses.multi_label_margin, scores, jnp.array([[-1, 0, 1, 2]])), [0.0])
    assert np.isnan(run(losses.multi_label_margin, scores, jnp.array([[4, -1, 0, 0]])))


def test_soft_margins_by_hand():
    close(run(losses.soft_margin, jnp.array([[0.0, 100.0]]), jnp.array([[1.0, 1.0]])), [LN2 / 2])
    close(run(losses.soft_margin, jnp.array([-100.0]), jnp.array([1.0])), [100.0])
    close(gradient_of(losses.soft_margin, jnp.array([0.0]), jnp.array([-1.0])), [0.5])
    targets = jnp.array([[1.0, 0.0]])
    close(run(losses.multi_label_soft_margin, jnp.zeros((1, 2)), targets), [LN2])
    weights = jnp.array([2.0, 4.0])
    close(
        run(losses.multi_label_soft_margin, jnp.zeros((1, 2)), targets, class_weights=weights),
        [3 * LN2],
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.multi_margin(SCORES, jnp.array([0]), p=3), "p must be 1 or 2, got 3"),
        (lambda: losses.multi_margin(SCORES, jnp.array([0.0])), "labels must be integers"),
        (lambda: losses.multi_margin(SCORES, jnp.array([0, 1])), "labels must have shape"),
        (lambda: losses.multi_label_margin(SCORES, jnp.array([[0]])), "labels must have shape"),
        (lambda: losses.soft_margin(SCORES, jnp.ones(3)), "targets must have shape"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
