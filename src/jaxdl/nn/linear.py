"""Linear layers with PyTorch's initialization, and flattening."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num, Shaped

from jaxdl._checks import check_count, check_shape
from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.types import Array


class Dense(nn.Module):
    r"""Linear layer :math:`y = x W + b` with PyTorch's initial distribution, for the bias too.

    Attributes:
        features: number of outputs.
        use_bias: add a bias.
        dtype: dtype of the computation; None infers it from input and parameters.
        kernel_init: initializer of the (in, features) ``kernel``.
        bias_init: initializer of the (features,) ``bias``; None is PyTorch's U(±1/√in).

    Raises:
        ValueError: no features, or inputs without any.

    Source: ``torch.nn.Linear``; the kernel is its weight transposed. ``flax.linen.Dense`` has the
    same parameters and starts from a truncated normal distribution and zero biases.

    >>> y, variables = Dense(3).init_with_output(jax.random.key(0), jnp.ones((2, 5)))
    >>> y.shape, variables["params"]["kernel"].shape
    ((2, 3), (5, 3))
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Num[Array, "*B in"]) -> Float[Array, "*B features"]:
        """Maps the last axis.

        Args:
            inputs: (..., in).

        Returns:
            (..., features).
        """
        fan_in = inputs.shape[-1]
        check_count(features=self.features, input_features=fan_in)
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.features))
        bias = None
        if self.use_bias:
            init = self.bias_init or uniform_fan_in_bias(fan_in)
            bias = self.param("bias", init, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs: Array = inputs @ kernel
        return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


@jax.named_scope("flatten")
def flatten(maps: Shaped[Array, "B ..."]) -> Shaped[Array, "B n"]:
    """Flattens feature maps in PyTorch's order, channels first.

    The dense layer after it then has the rows of PyTorch's, and weights move unchanged.

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
    """The dtype of an array, or float32 for integer arrays."""
    return array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else jnp.dtype(jnp.float32)


class Bilinear(nn.Module):
    r"""Bilinear layer :math:`y_k = x_1^\top W_k x_2 + b_k`.

    Parameters ``kernel`` (I, J, features) and ``bias``, both from U(±1/√I).

    Attributes:
        features: number of outputs.
        use_bias: add a bias.
        dtype: dtype of the computation; None infers it from inputs and parameters.

    Raises:
        ValueError: no features, or inputs whose leading axes differ.

    Source: ``torch.nn.Bilinear``; its weight is (features, I, J), so
    ``kernel = weight.permute(1, 2, 0)``.

    >>> y, variables = Bilinear(5).init_with_output(
    ...     jax.random.key(0), jnp.ones((2, 3)), jnp.ones((2, 4))
    ... )
    >>> y.shape, variables["params"]["kernel"].shape
    ((2, 5), (3, 4, 5))
    """

    features: int
    use_bias: bool = True
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x1: Num[Array, "*B I"], x2: Num[Array, "*B J"]
    ) -> Float[Array, "*B features"]:
        """Combines two inputs.

        Args:
            x1: (..., I).
            x2: (..., J), with the same leading axes.

        Returns:
            (..., features).
        """
        check_count(features=self.features)
        check_shape("x2", x2, (*x1.shape[:-1], None))
        init = uniform_fan_in_bias(x1.shape[-1])
        kernel = self.param("kernel", init, (x1.shape[-1], x2.shape[-1], self.features))
        bias = self.param("bias", init, (self.features,)) if self.use_bias else None
        x1, x2, kernel, bias = promote_dtype(x1, x2, kernel, bias, dtype=self.dtype)
        outputs = jnp.einsum("...i,ijk,...j->...k", x1, kernel, x2)
        return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


def bilinear_pool(maps: Num[Array, "B H W C"]) -> Float[Array, "B C*C"]:
    r"""Bilinear pooling: the products of all pairs of channels, averaged over the image.

    With X the (H·W, C) features of an image:

    .. math:: P = X^\top X / (HW),\quad
              S = \mathrm{sign}(P) \sqrt{|P| + 10^{-5}},\quad y = S / \lVert S \rVert_2

    Args:
        maps: (B, H, W, C).

    Returns:
        (B, C·C), each of length 1; zeros for an image of zeros. float32 for integers.

    Raises:
        ValueError: another rank.

    Source: Lin et al. 2015, Bilinear CNN models, section 3. In PyTorch ``torch.bmm`` of the maps
    and their transpose, and ``torch.nn.functional.normalize``.

    >>> pooled = bilinear_pool(jnp.array([3.0, -1.0]).reshape(1, 1, 1, 2))
    >>> [f"{value:.3f}" for value in pooled[0]]
    ['0.750', '-0.433', '-0.433', '0.250']
    """
    check_shape("maps", maps, ("B", "H", "W", "C"))
    batch, height, width, channels = maps.shape
    # half precision has no room for 1e-24, nor for sums of squares
    wide = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    features = wide.reshape(batch, height * width, channels)
    products = jnp.einsum("bpi,bpj->bij", features, features) / (height * width)
    roots = jnp.sign(products) * jnp.sqrt(jnp.abs(products) + 1e-5)
    flat = roots.reshape(batch, channels * channels)
    # as torch's normalize, v / max(‖v‖, 1e-12), with a finite gradient at 0
    squares = jnp.square(flat).sum(axis=1, keepdims=True)
    normalized = flat * jax.lax.rsqrt(jnp.maximum(squares, 1e-24))
    return normalized.astype(floating_dtype(maps))
