"""PyTorch's initial distributions, where JAX's differ."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxdl.types import Array


def uniform_fan_in() -> Initializer:
    r"""Kernel initialiser :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` with n the fan-in of the kernel.

    The fan-in is every axis but the last: ``(in, out)`` for a dense layer, ``(h, w, in, out)`` for
    a convolution.

    Source: what ``torch.nn.Linear`` and ``torch.nn.Conv2d`` start from (``kaiming_uniform_`` with
    a=√5). Linen starts from a truncated normal (LeCun).
    """
    return jax.nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def uniform_fan_in_bias(fan_in: int) -> Initializer:
    r"""Bias initialiser :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` for a layer with ``fan_in`` inputs.

    Source: ``torch.nn.Linear`` and ``torch.nn.Conv2d``. Linen starts from zeros.
    """
    bound = 1.0 / math.sqrt(fan_in)

    def init(
        key: Array, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
    ) -> Array:
        del out_sharding  # Linen passes none
        return jax.random.uniform(key, tuple(shape), dtype or jnp.float32, -bound, bound)

    return init
