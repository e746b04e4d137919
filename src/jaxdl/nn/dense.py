"""A dense layer that starts as PyTorch's does, and PyTorch's order of flattening."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from jaxdl.checks import check_positive
from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.types import Array


class Dense(nn.Module):
    """Linen's ``Dense`` with PyTorch's initial distribution, for the bias too.

    Args of the call: (..., in). Returns: (..., features).

    Attributes:
        features: number of outputs.
        use_bias: add a bias.
        dtype: of the computation; None infers it from input and parameters.
        kernel_init: initialiser of the (in, features) kernel.
        bias_init: initialiser of the (features,) bias; None is PyTorch's U(±1/√in).

    Source: ``torch.nn.Linear``; the kernel is its weight transposed.
    """

    features: int
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        fan_in = inputs.shape[-1]
        check_positive(features=self.features, input_features=fan_in)
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.features))
        bias = None
        if self.use_bias:
            init = self.bias_init or uniform_fan_in_bias(fan_in)
            bias = self.param("bias", init, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = inputs @ kernel
        return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


@jax.named_scope("flatten")
def flatten(maps: Array) -> Array:
    """Flattens feature maps in PyTorch's order: channels first.

    So the dense layer behind it has the rows of PyTorch's, and weights move unchanged.

    Args:
        maps: (B, H, W, C), or (B, ...) of another rank, which is flattened as it is.

    Returns:
        (B, C·H·W).

    Source: ``torch.flatten(x, 1)`` of an NCHW array.

    >>> flatten(jnp.arange(8).reshape(1, 2, 2, 2)).tolist()
    [[0, 2, 4, 6, 1, 3, 5, 7]]
    """
    if maps.ndim == 4:
        maps = maps.transpose(0, 3, 1, 2)
    return maps.reshape(maps.shape[0], -1)


def trailing(vector: Array, ndim: int) -> Array:
    """A vector (C,) as (1, ..., 1, C), to be added to an array of ``ndim`` axes."""
    return vector.reshape((1,) * (ndim - 1) + vector.shape)


def floating_dtype(array: Array) -> jnp.dtype:
    """The dtype of an array, or float32 for integers, whose means are none."""
    return array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else jnp.dtype(jnp.float32)
