"""Dense and convolution layers that start as PyTorch's do, and pooling that is quick on CPU.

Parameters have Linen's names and layouts (``kernel`` (..., in, out) and ``bias``), so weights move
between these layers and Linen's unchanged.
"""

import functools
import math
from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.nn.initializers import Initializer

from jaxdl.nn.initializers import uniform_fan_in, uniform_fan_in_bias
from jaxdl.types import Array

Padding = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]


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
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.features))
        bias = None
        if self.use_bias:
            init = self.bias_init or uniform_fan_in_bias(fan_in)
            bias = self.param("bias", init, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = inputs @ kernel
        return outputs if bias is None else outputs + _trailing(bias, outputs.ndim)


class Conv(nn.Module):
    """A 2-D convolution that starts as PyTorch's does and stays quick inside ``lax.scan`` on CPU.

    Args of the call: (B, H, W, C). Returns: (B, H', W', features).

    Attributes:
        features: number of output channels.
        kernel_size: (height, width).
        strides: step of the window, one number for both axes.
        padding: "SAME", "VALID", one number for all four sides, or ((top, bottom), (left, right)).
        pool: keep the maximum of every ``pool`` x ``pool`` square of outputs; see
            :func:`convolution`. Bias and ReLU give the same before and after it.
        use_bias: add a bias.
        dtype: of the computation; None infers it from input and parameters.
        kernel_init: initialiser of the (h, w, C, features) kernel.
        bias_init: initialiser of the (features,) bias; None is PyTorch's U(±1/√fan_in).

    Source: ``torch.nn.Conv2d``; the kernel is its OIHW weight as HWIO. "SAME" is TensorFlow's and
    differs from a PyTorch padding number where the stride is greater than 1.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: Padding = "VALID"
    pool: int = 1
    use_bias: bool = True
    dtype: jnp.dtype | None = None
    kernel_init: Initializer = uniform_fan_in()
    bias_init: Initializer | None = None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        if inputs.ndim != 4:
            raise ValueError(f"Conv expects images (B, H, W, C), got shape {inputs.shape}.")
        shape = (*self.kernel_size, inputs.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = None
        if self.use_bias:
            init = self.bias_init or uniform_fan_in_bias(math.prod(shape[:-1]))
            bias = self.param("bias", init, (self.features,))
        inputs, kernel, bias = promote_dtype(inputs, kernel, bias, dtype=self.dtype)
        outputs = convolution(
            inputs, kernel, strides=self.strides, padding=self.padding, pool=self.pool
        )
        return outputs if bias is None else outputs + _trailing(bias, outputs.ndim)


def convolution(
    inputs: Array,
    kernel: Array,
    *,
    strides: int = 1,
    padding: Padding = "VALID",
    pool: int = 1,
    implementation: Literal["matmul", "lax"] | None = None,
) -> Array:
    """2-D cross-correlation of images with a kernel, and max-pooling of the result if asked.

    Args:
        inputs: (B, H, W, C).
        kernel: (h, w, C, features).
        strides: step of the window.
        padding: "SAME", "VALID", one number for all four sides, or ((top, bottom), (left, right)).
        pool: ``max_pool(convolution(...), pool)`` in one. On CPU one product for each place in the
            pool gives whole arrays to compare, a third quicker than comparing within one.
        implementation: "lax" is XLA's convolution. "matmul" lays the h·w shifted images side by
            side and multiplies once: on CPU the backward pass of XLA's convolution is 10 to 18
            times slower inside a loop (jax-ml/jax#12868), this one is not, and vmap over kernels
            stays a batched product. None takes "matmul" on CPU and "lax" elsewhere.

    Returns:
        (B, H', W', features).

    Raises:
        ValueError: channels that differ, or a kernel or pool larger than the image.

    Source: ``torch.nn.functional.conv2d``.
    """
    height, width, channels, features = kernel.shape
    if inputs.shape[-1] != channels:
        raise ValueError(
            f"the kernel expects {channels} channels, got images of shape {inputs.shape}."
        )
    pads = _explicit_padding(padding, inputs.shape[1:3], (height, width), strides)
    padded = tuple(n + sum(pad) for n, pad in zip(inputs.shape[1:3], pads, strict=True))
    if padded[0] < height or padded[1] < width:
        raise ValueError(
            f"a {height}x{width} kernel does not fit into {padded[0]}x{padded[1]} pixels "
            f"(input {inputs.shape[1:3]}, padding {pads}): the images are too small for this model."
        )
    if implementation is None:
        implementation = "matmul" if jax.default_backend() == "cpu" else "lax"
    rows, columns = ((n - k) // strides + 1 for n, k in zip(padded, (height, width), strict=True))
    rows, columns = _pooled_size(rows, columns, pool)
    if implementation == "lax":
        dimensions = ("NHWC", "HWIO", "NHWC")
        outputs = jax.lax.conv_general_dilated(
            inputs, kernel, (strides, strides), pads, dimension_numbers=dimensions
        )
        return outputs if pool == 1 else max_pool(outputs, pool)
    images = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    step = strides * pool

    def shifted(i: int, j: int) -> Array:
        stops = i + (rows - 1) * step + 1, j + (columns - 1) * step + 1
        return images[:, i : stops[0] : step, j : stops[1] : step]

    def product(top: int, left: int) -> Array:
        """The outputs at place (top, left) of every pool."""
        patches = [
            shifted(top * strides + i, left * strides + j)
            for i in range(height)
            for j in range(width)
        ]
        flat = jnp.concatenate(patches, axis=-1).reshape(-1, height * width * channels)
        return flat @ kernel.reshape(-1, features)

    outputs = functools.reduce(
        _first_maximum,
        [
            functools.reduce(_first_maximum, [product(top, left) for left in range(pool)])
            for top in range(pool)
        ],
    )
    return outputs.reshape(inputs.shape[0], rows, columns, features)


def max_pool(inputs: Array, window: int = 2) -> Array:
    """The maximum over ``window`` x ``window`` squares that do not overlap.

    Written as comparisons of slices: on CPU its gradient is several times quicker than that of
    ``flax.linen.max_pool``. Rows and columns that do not fill a window are left out.

    Args:
        inputs: (B, H, W, C).
        window: side of the square, and the stride.

    Returns:
        (B, H // window, W // window, C). NaN stays NaN.

    Raises:
        ValueError: the image is smaller than the window.

    Source: ``torch.nn.functional.max_pool2d(x, window)``; where pixels of a window share the
    maximum, the gradient goes to the first of them, as there.
    """
    batch, height, width, channels = inputs.shape
    rows, columns = _pooled_size(height, width, window)
    inside = inputs[:, : rows * window, : columns * window]
    windows = inside.reshape(batch, rows, window, columns, window, channels)
    best_of_row = functools.reduce(_first_maximum, [windows[:, :, :, :, j] for j in range(window)])
    return functools.reduce(_first_maximum, [best_of_row[:, :, i] for i in range(window)])


def _pooled_size(height: int, width: int, window: int) -> tuple[int, int]:
    if min(height, width) < window:
        raise ValueError(
            f"max_pool over {window}x{window} pixels needs at least that many, got images of "
            f"{height}x{width}: the images are too small for this model."
        )
    return height // window, width // window


def _first_maximum(a: Array, b: Array) -> Array:
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def _explicit_padding(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], strides: int
) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        pads = jax.lax.padtype_to_pads(size, kernel, (strides, strides), padding)
        return tuple((int(low), int(high)) for low, high in pads)
    if isinstance(padding, int):
        return ((padding, padding), (padding, padding))
    return tuple((int(low), int(high)) for low, high in padding)


def _trailing(bias: Array, ndim: int) -> Array:
    return bias.reshape((1,) * (ndim - 1) + bias.shape)
