"""Overlap losses by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import close, run

from jaxdl import losses

PREDICTED = jnp.array([1.0, 1.0, 0.0, 0.0]).reshape(1, 2, 2, 1)
TARGET = jnp.array([1.0, 0.0, 0.0, 0.0]).reshape(1, 2, 2, 1)


def test_hard_masks_by_hand():
    """One pixel is right, one is a false positive."""
    close(run(losses.dice, PREDICTED, TARGET, smooth=0.0), [1 - 2 / 3])
    close(run(losses.jaccard, PREDICTED, TARGET, smooth=0.0), [1 - 1 / 2])
    options = {"alpha": 0.25, "beta": 0.75, "smooth": 0.0}
    close(run(losses.tversky, PREDICTED, TARGET, **options), [1 - 1 / 1.25])
    close(run(losses.tversky, TARGET, PREDICTED, **options), [1 - 1 / 1.75])
    close(run(losses.dice, PREDICTED, TARGET), [1 - 3 / 4])


def test_classes_are_averaged_and_examples_are_not():
    both = jnp.concatenate([PREDICTED, TARGET], axis=-1)
    targets = jnp.concatenate([TARGET, TARGET], axis=-1)
    losses_ = run(losses.jaccard, jnp.tile(both, (3, 1, 1, 1)), jnp.tile(targets, (3, 1, 1, 1)))
    close(losses_, [(1 - 2 / 3) / 2] * 3)


def test_an_empty_class_is_right_when_it_is_not_predicted():
    nothing = jnp.zeros((1, 4, 1))
    close(run(losses.dice, nothing, nothing), [0.0])
    assert np.isnan(run(losses.dice, nothing, nothing, smooth=0.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.dice(jnp.zeros(3), jnp.zeros(3)), r"must have shape \(B, \.\.\., C\)"),
        (lambda: losses.dice(PREDICTED, TARGET[..., 0]), "targets must have shape"),
        (lambda: losses.tversky(PREDICTED, TARGET, alpha=-1.0), "alpha must be at least 0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
