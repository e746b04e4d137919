"""PyTorch's initial distributions, where JAX's differ.

JAX's ``he_normal`` and ``glorot_normal`` are truncated at two deviations, PyTorch's are not.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from jaxdl._checks import check_positive
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
    check_positive(fan_in=fan_in)
    bound = 1.0 / math.sqrt(fan_in)

    def init(
        key: Array, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
    ) -> Array:
        del out_sharding  # Linen passes none
        return jax.random.uniform(key, tuple(shape), dtype or jnp.float32, -bound, bound)

    return init


Fan = Literal["fan_in", "fan_out"]


def kaiming_normal(mode: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    r"""Kernel initialiser :math:`N(0, g^2/n)`, :math:`g = \sqrt{2 / (1 + a^2)}`.

    Args:
        mode: n counts the inputs or the outputs of a unit, times the pixels under the kernel.
        negative_slope: a, of the leaky ReLU behind the layer; 0 for ReLU.

    Source: ``torch.nn.init.kaiming_normal_``; He et al. 2015, eq. 10.
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "normal")


def kaiming_uniform(mode: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    r"""Kernel initialiser :math:`U(\pm\sqrt{3}\,g/\sqrt{n})`; arguments as :func:`kaiming_normal`.

    Source: ``torch.nn.init.kaiming_uniform_``.
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "uniform")


def xavier_normal(gain: float = 1.0) -> Initializer:
    r"""Kernel initialiser :math:`N(0, 2g^2 / (n_{in} + n_{out}))`.

    Source: ``torch.nn.init.xavier_normal_``; Glorot & Bengio 2010, eq. 16.
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "normal")


def xavier_uniform(gain: float = 1.0) -> Initializer:
    r"""Kernel initialiser :math:`U(\pm g\sqrt{6 / (n_{in} + n_{out})})`.

    Source: ``torch.nn.init.xavier_uniform_``; Glorot & Bengio 2010, eq. 16.
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")
