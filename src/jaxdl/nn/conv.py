"""Convolution layers, and the sizes of their outputs."""

import math

import flax.linen as nn
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer
from jax.typing import DTypeLike
from jaxtyping import Float, Num

from jaxdl._checks import check_count, check_shape
from jaxdl.nn.conv_ops import (
    Padding,
    check_groups,
    pooled_convolution,
    transposed_convolution,
    transposed_length,
)
from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.nn.linear import trailing
from jaxdl.nn.pooling import Pair, pair
from jaxdl.types import Array


class Conv(nn.Module):
    """2-D convolution with PyTorch's initial distribution, fast inside ``lax.scan`` on CPU.

    Attributes:
        features: number of output channels.
        kernel_size: an integer or (height, width).
        stride: step of the window in pixels, an integer or (height, width).
        padding: zeros around the images: "VALID" is none, "SAME" gives ⌈H / stride⌉ rows; an
            integer, (height, width), or ((top, bottom), (left, right)).
        dilation: distance in pixels of neighbors under the kernel, an integer or (height, width).
        groups: number of groups of channels; see :func:`convolution`.
        use_bias: add a bias.
        dtype: dtype of the computation; None infers it from input and parameters.
        kernel_init: initializer of the (h, w, C / groups, features) ``kernel``.
        bias_init: initializer of the (features,) ``bias``; None is PyTorch's U(±1/√fan_in).

    Raises:
        ValueError: see :func:`convolution`.

    Source: ``torch.nn.Conv2d``; the kernel is its OIHW weight as HWIO. "SAME" is TensorFlow's and
    differs from a PyTorch padding number where the stride is greater than 1.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> conv = Conv(8, 3, stride=(2, 1), padding=1)
    >>> images = jnp.zeros((2, 28, 28, 1))
    >>> maps, variables = jax.eval_shape(conv.init_with_output, jax.random.key(0), images)
    >>> maps.shape, variables["params"]["kernel"].shape
    ((2, 14, 28, 8), (3, 3, 1, 8))
    """

    features: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Padding = "VALID"
    dilation: Pair = 1
    groups: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Num[Array, "B H W C"]) -> Float[Array, "B H2 W2 features"]:
        """Convolves images.

        Args:
            inputs: (B, H, W, C).

        Returns:
            (B, H', W', features).
        """
        return _convolve(self, inputs, pool=1)


class PooledConv(Conv):
    """``max_pool(Conv(...)(x), pool)`` in one, which is faster on CPU.

    Bias and ReLU may follow the pooling: they commute with the maximum.

    Attributes:
        pool: side of the squares of outputs whose maximum is kept; 1 makes it a :class:`Conv`.
    """

    pool: int = 1

    @nn.compact
    def __call__(self, inputs: Num[Array, "B H W C"]) -> Float[Array, "B H2 W2 features"]:
        """(B, H, W, C) → (B, H' // pool, W' // pool, features)."""
        return _convolve(self, inputs, pool=self.pool)


def _convolve(layer: Conv, inputs: Array, pool: int) -> Array:
    """The compact call of a convolution layer."""
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    check_groups(inputs.shape[-1], layer.features, layer.groups)
    kernel_size = pair("kernel_size", layer.kernel_size)
    shape = (*kernel_size, inputs.shape[-1] // layer.groups, layer.features)
    kernel = layer.param("kernel", layer.kernel_init, shape)
    bias = None
    if layer.use_bias:
        init = layer.bias_init or uniform_fan_in_bias(math.prod(shape[:-1]))
        bias = layer.param("bias", init, (layer.features,))
    inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=layer.dtype)
    outputs = pooled_convolution(
        inputs,
        kernel,
        pool,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )
    return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


class ConvTranspose(nn.Module):
    """Transposed 2-D convolution with PyTorch's geometry, kernel and initial distribution.

    Attributes:
        features: number of output channels.
        kernel_size: an integer or (height, width).
        stride: distance in the output of neighboring inputs, an integer or (height, width).
        padding: rows and columns cut off at each side of the full output, likewise.
        output_padding: rows and columns added at the bottom and the right, likewise; less than the
            larger of ``stride`` and ``dilation``.
        dilation: distance in the output of neighbors under the kernel, likewise.
        groups: number of groups of channels; see :func:`convolution`.
        use_bias: add a bias.
        dtype: dtype of the computation; None infers it from input and parameters.
        kernel_init: initializer of the (h, w, C, features / groups) ``transposed_kernel``; None is
            PyTorch's U(±1/√(features / groups · h·w)).
        bias_init: initializer of the (features,) ``bias``; None as for the kernel.

    Raises:
        ValueError: see :func:`transposed_convolution`.

    Source: ``torch.nn.ConvTranspose2d``; the kernel is its (C, features / groups, h, w) weight with
    the spatial axes first, not flipped. ``flax.linen.ConvTranspose`` takes it flipped.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> layer = ConvTranspose(3, 4, stride=2, padding=1)
    >>> maps = jnp.zeros((2, 7, 7, 8))
    >>> jax.eval_shape(layer.init_with_output, jax.random.key(0), maps)[0].shape
    (2, 14, 14, 3)
    """

    features: int
    kernel_size: Pair
    stride: Pair = 1
    padding: Pair = 0
    output_padding: Pair = 0
    dilation: Pair = 1
    groups: int = 1
    use_bias: bool = True
    dtype: DTypeLike | None = None
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Num[Array, "B H W C"]) -> Float[Array, "B H2 W2 features"]:
        """Applies the transposed convolution.

        Args:
            inputs: (B, H, W, C).

        Returns:
            (B, H', W', features) with ``H' = conv_transpose_output_size(H, ...)``.
        """
        check_shape("inputs", inputs, ("B", "H", "W", "C"))
        check_groups(inputs.shape[-1], self.features, self.groups)
        kernel_size = pair("kernel_size", self.kernel_size)
        features = self.features // self.groups
        start = uniform_fan_in_bias(features * math.prod(kernel_size))
        shape = (*kernel_size, inputs.shape[-1], features)
        kernel = self.param("transposed_kernel", self.kernel_init or start, shape)
        bias = None
        if self.use_bias:
            bias = self.param("bias", self.bias_init or start, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = transposed_convolution(
            inputs,
            kernel,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            dilation=self.dilation,
            groups=self.groups,
        )
        return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


def conv_output_size(
    size: int, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    r"""Number of pixels along one axis after a convolution or pooling.

    .. math:: \lfloor (n + 2p - d(k - 1) - 1) / s \rfloor + 1

    Args:
        size: n, pixels before.
        kernel_size: k.
        stride: s.
        padding: p, pixels on each side.
        dilation: d, distance in pixels of neighbors under the kernel.

    Raises:
        ValueError: a kernel that does not fit, or a number out of range.

    Source: ``torch.nn.Conv2d``.

    >>> conv_output_size(28, 5, stride=2)
    12
    """
    check_count(size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    check_count(0, padding=padding)
    result = (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
    if result < 1:
        raise ValueError(
            f"a kernel of {kernel_size} (dilation {dilation}) does not fit into {size} pixels with "
            f"padding {padding}."
        )
    return result


def conv_transpose_output_size(
    size: int,
    kernel_size: int,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Number of pixels along one axis after a transposed convolution.

    .. math:: (n - 1)s - 2p + d(k - 1) + 1 + o

    Args:
        size: n, pixels before.
        kernel_size: k.
        stride: s.
        padding: p, pixels cut off at each side.
        output_padding: o, pixels added at one side; less than the larger of s and d.
        dilation: d, distance in the output of neighbors under the kernel.

    Raises:
        ValueError: no pixel is left, or a number is out of range.

    Source: ``torch.nn.ConvTranspose2d``.

    >>> conv_transpose_output_size(11, 8, stride=2)
    28
    """
    return transposed_length(size, kernel_size, stride, padding, output_padding, dilation)
