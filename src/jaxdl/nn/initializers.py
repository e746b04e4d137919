"""PyTorch's initial distributions where JAX's differ.

JAX's ``he_normal`` and ``glorot_normal`` are truncated at two standard deviations, PyTorch's are
not. An initializer is a function ``init(key, shape, dtype)``, for any layer's ``kernel_init``.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike

from jaxdl._checks import check_count
from jaxdl.types import Array

Fan = Literal["fan_in", "fan_out"]


def uniform_fan_in() -> Initializer:
    r"""Kernel initializer :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` with n the fan-in of the kernel.

    The fan-in is the product of all axes but the last: ``(in, out)`` for a dense layer,
    ``(h, w, in, out)`` for a convolution.

    Source: the initialization of ``torch.nn.Linear`` and ``torch.nn.Conv2d``
    (``kaiming_uniform_`` with a=√5). Linen's is a truncated normal distribution (LeCun).

    >>> kernel = uniform_fan_in()(jax.random.key(0), (100, 50))
    >>> bool(jnp.abs(kernel).max() <= 0.1)
    True
    """
    return jax.nn.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")


def uniform_fan_in_bias(fan_in: int) -> Initializer:
    r"""Bias initializer :math:`U(-1/\sqrt{n}, 1/\sqrt{n})` for a layer with n inputs.

    Args:
        fan_in: n.

    Raises:
        ValueError: ``fan_in`` is not a positive integer.

    Source: the initialization of ``torch.nn.Linear`` and ``torch.nn.Conv2d``. Linen's is zero.

    >>> bias = uniform_fan_in_bias(25)(jax.random.key(0), (50,))
    >>> bool(jnp.abs(bias).max() <= 0.2)
    True
    """
    check_count(fan_in=fan_in)
    bound = 1.0 / math.sqrt(fan_in)

    def init(
        key: Array,
        shape: Sequence[int],
        dtype: DTypeLike | None = None,
        out_sharding: object = None,
    ) -> Array:
        del out_sharding  # Linen passes none
        return jax.random.uniform(key, tuple(shape), dtype or jnp.float32, -bound, bound)

    return init


def kaiming_normal(mode: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    r"""Kernel initializer :math:`N(0, g^2/n)`, :math:`g = \sqrt{2 / (1 + a^2)}`.

    Args:
        mode: n counts the inputs ("fan_in") or the outputs ("fan_out") of a unit, times the pixels
            under the kernel.
        negative_slope: a, slope of the leaky ReLU after the layer; 0 for ReLU.

    Source: ``torch.nn.init.kaiming_normal_``; He et al. 2015, eq. 10.

    >>> kaiming_normal("fan_out")(jax.random.key(0), (3, 3, 1, 8)).shape
    (3, 3, 1, 8)
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "normal")


def kaiming_uniform(mode: Fan = "fan_in", *, negative_slope: float = 0.0) -> Initializer:
    r"""Kernel initializer :math:`U(\pm\sqrt{3}\,g/\sqrt{n})`, :math:`g = \sqrt{2 / (1 + a^2)}`.

    Args:
        mode: see :func:`kaiming_normal`.
        negative_slope: a, slope of the leaky ReLU after the layer; 0 for ReLU.

    Source: ``torch.nn.init.kaiming_uniform_``; He et al. 2015, eq. 10.

    >>> kernel = kaiming_uniform()(jax.random.key(0), (6, 50))
    >>> bool(jnp.abs(kernel).max() <= 1.0)
    True
    """
    return jax.nn.initializers.variance_scaling(2 / (1 + negative_slope**2), mode, "uniform")


def xavier_normal(gain: float = 1.0) -> Initializer:
    r"""Kernel initializer :math:`N(0, 2g^2 / (n_{in} + n_{out}))`.

    Args:
        gain: g.

    Source: ``torch.nn.init.xavier_normal_``; Glorot & Bengio 2010, eq. 16.

    >>> xavier_normal()(jax.random.key(0), (4, 8)).shape
    (4, 8)
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "normal")


def xavier_uniform(gain: float = 1.0) -> Initializer:
    r"""Kernel initializer :math:`U(\pm g\sqrt{6 / (n_{in} + n_{out})})`.

    Args:
        gain: g.

    Source: ``torch.nn.init.xavier_uniform_``; Glorot & Bengio 2010, eq. 16.

    >>> kernel = xavier_uniform()(jax.random.key(0), (2, 4))
    >>> bool(jnp.abs(kernel).max() <= 1.0)
    True
    """
    return jax.nn.initializers.variance_scaling(gain**2, "fan_avg", "uniform")
