"""Convolution layers."""

import math

import flax.linen as nn
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from jaxdl._checks import check_positive
from jaxdl.nn._conv_ops import (
    Implementation,
    Padding,
    _check_groups,
    convolution,
    transposed_convolution,
)
from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.nn.linear import trailing
from jaxdl.types import Array


class Conv(nn.Module):
    """A 2-D convolution that starts as PyTorch's does and stays quick inside ``lax.scan`` on CPU.

    Args of the call: (B, H, W, C). Returns: (B, H', W', features).

    Attributes:
        features: number of output channels.
        kernel_size: (height, width).
        stride: step of the window, one number for both axes.
        padding: "SAME", "VALID", one number for all four sides, or ((top, bottom), (left, right)).
        dilation: see :func:`convolution`.
        groups: see :func:`convolution`.
        pool: keep the maximum of every ``pool`` x ``pool`` square of outputs; see
            :func:`convolution`. Bias and ReLU give the same before and after it.
        use_bias: add a bias.
        dtype: of the computation; None infers it from input and parameters.
        implementation: see :func:`convolution`; "lax" is the better one for large networks, whose
            steps are long enough to be called one by one.
        kernel_init: initialiser of the (h, w, C / groups, features) kernel.
        bias_init: initialiser of the (features,) bias; None is PyTorch's U(±1/√fan_in).

    Source: ``torch.nn.Conv2d``; the kernel is its OIHW weight as HWIO. "SAME" is TensorFlow's and
    differs from a PyTorch padding number where the stride is greater than 1.
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    padding: Padding = "VALID"
    dilation: int = 1
    groups: int = 1
    pool: int = 1
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None
    implementation: Implementation | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        if inputs.ndim != 4:
            raise ValueError(f"Conv expects images (B, H, W, C), got shape {inputs.shape}.")
        check_positive(kernel_height=self.kernel_size[0], kernel_width=self.kernel_size[1])
        _check_groups(inputs.shape[-1], self.features, self.groups)
        shape = (*self.kernel_size, inputs.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = None
        if self.use_bias:
            init = self.bias_init or uniform_fan_in_bias(math.prod(shape[:-1]))
            bias = self.param("bias", init, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = convolution(
            inputs,
            kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            pool=self.pool,
            implementation=self.implementation,
        )
        return outputs if bias is None else outputs + trailing(bias, outputs.ndim)


class ConvTranspose(nn.Module):
    """PyTorch's transposed 2-D convolution: its geometry, its kernel, its start.

    Args of the call: (B, H, W, C). Returns: (B, H', W', features) with
    ``H' = conv_transpose_output_size(H, ...)``.

    Attributes:
        features: number of output channels.
        kernel_size: (height, width).
        stride: how far two inputs lie apart in the output.
        padding: rows and columns cut off at each side of the full output.
        output_padding: rows and columns added at the bottom and the right.
        dilation: distance of two pixels that an input pixel's kernel reaches.
        groups: see :func:`convolution`.
        use_bias: add a bias.
        dtype: of the computation; None infers it from input and parameters.
        kernel_init: initialiser of the (h, w, C, features / groups) ``transposed_kernel``; None is
            PyTorch's U(±1/√(features / groups · h·w)).
        bias_init: initialiser of the (features,) bias; None as for the kernel.

    Source: ``torch.nn.ConvTranspose2d``; the kernel is its (C, features / groups, h, w) weight with
    the spatial axes first, not flipped. ``flax.linen.ConvTranspose`` takes it flipped.
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer | None = None
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        if inputs.ndim != 4:
            raise ValueError(f"ConvTranspose expects (B, H, W, C), got shape {inputs.shape}.")
        _check_groups(inputs.shape[-1], self.features, self.groups)
        features = self.features // self.groups
        start = uniform_fan_in_bias(features * math.prod(self.kernel_size))
        shape = (*self.kernel_size, inputs.shape[-1], features)
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
