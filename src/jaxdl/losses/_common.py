"""Checks and reductions shared by all losses."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl._checks import check_shape, shape_of
from jaxdl.types import Array


def floating(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in float32, or float64 where one of them is."""
    dtype = jnp.result_type(jnp.float32, *arrays)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def absolute(values: Array) -> Array:
    """|values| with derivative 0 at 0, as in PyTorch (that of ``jnp.abs`` is 1)."""
    return values * jax.lax.stop_gradient(jnp.sign(values))


def hinge(values: Array) -> Array:
    """max(0, values) with derivative 1 at 0, as PyTorch's clamp (that of ``maximum`` is ½)."""
    return jnp.where(values < 0, 0.0, values)


def mean_over_features(values: Array) -> Array:
    return flatten(values).mean(axis=1)


def sum_over_features(values: Array) -> Array:
    return flatten(values).sum(axis=1)


def flatten(values: Array) -> Array:
    return values.reshape(values.shape[0], math.prod(values.shape[1:]))


def check_alike(**arrays: Array) -> None:
    """Raises ValueError unless all arrays have a batch axis and the first one's shape."""
    (name, first), *others = arrays.items()
    shape = shape_of(name, first)
    if len(shape) == 0:
        raise ValueError(f"{name} must have a leading batch axis (B, ...), got shape ().")
    for other, array in others:
        check_shape(other, array, shape)


def power(probabilities: Array, gamma: float) -> Array:
    """p^γ with p kept above 0, where the derivative for γ < 1 is infinite."""
    tiny = float(np.finfo(probabilities.dtype).tiny)  # float32 or float64
    return jnp.maximum(probabilities, tiny) ** gamma
