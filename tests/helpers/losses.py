"""Inputs of losses, and losses compiled as one program."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import losses

B = 6
LOGITS = jnp.array([[2.0, 1.0, 0.0]])
LABEL = jnp.array([0])
LN2 = math.log(2.0)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


LABELS = jnp.array([0, 3, 1, 2, 2, 0])
WEIGHTS = jnp.array([0.5, 1.0, 2.0, 3.0])
PROBABILITIES = jax.nn.sigmoid(draw(B, 3, seed=9))
ONE = jnp.zeros((1, 2))


cross_entropy_of_mixed = functools.partial(losses.with_mixed_labels, losses.cross_entropy)


def close(ours, expected, atol=5e-6):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


def run(loss, *inputs, **options):
    """The loss compiled as one program, which is quicker than each of its operations alone."""
    return jax.jit(functools.partial(loss, **options))(*inputs)


def gradient_of(loss, scores, *inputs, **options):
    """The gradient of the sum of the losses with respect to the scores."""
    return jax.jit(jax.grad(lambda scores: loss(scores, *inputs, **options).sum()))(scores)
