"""Convolutions as functions, and the implementation that XLA runs fastest."""

import contextlib
import contextvars
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxdl._checks import check_count, check_shape
from jaxdl.nn.pooling import Pair, first_maximum, max_pool, pair, pooled_size
from jaxdl.types import Array

Padding = Literal["SAME", "VALID"] | int | tuple[int, int] | Sequence[tuple[int, int]]

Implementation = Literal["matmul", "lax"]

_preferred: contextvars.ContextVar[Implementation | None] = contextvars.ContextVar(
    "preferred", default=None
)


@contextlib.contextmanager
def prefer_implementation(implementation: Implementation) -> Iterator[None]:
    """Context manager or decorator that chooses how convolutions are computed.

    The default is "matmul" on CPU and "lax" elsewhere. Both give the same numbers up to rounding.
    The choice is made when a function is traced; compiled functions keep theirs. Convolutions with
    dilation or groups always use "lax".

    Args:
        implementation: "lax" is XLA's convolution: the better choice for large networks, whose
            steps are long enough to be called one by one, and for programs that are traced on one
            kind of device and run on another. "matmul" lays the shifted images side by side and
            multiplies once: on CPU the backward pass of XLA's convolution is 10 to 18 times slower
            inside a loop (jax-ml/jax#12868), this one is not, and ``vmap`` over kernels stays a
            batched product.

    Raises:
        ValueError: an unknown implementation.

    Source: in PyTorch ``torch.backends.mkldnn.flags`` and ``torch.backends.cudnn.flags``.

    >>> image, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    >>> with prefer_implementation("lax"):
    ...     jaxpr = jax.make_jaxpr(convolution)(image, kernel)
    >>> "conv_general_dilated" in str(jaxpr)
    True
    """
    if implementation not in ("matmul", "lax"):
        raise ValueError(f'implementation must be "matmul" or "lax", got {implementation!r}.')
    token = _preferred.set(implementation)
    try:
        yield
    finally:
        _preferred.reset(token)


def _uses_lax(dilation: tuple[int, int], groups: int) -> bool:
    default = "matmul" if jax.default_backend() == "cpu" else "lax"
    return (_preferred.get() or default) == "lax" or dilation != (1, 1) or groups > 1


def convolution(
    inputs: Float[Array, "B H W C"],
    kernel: Float[Array, "h w C_per_group features"],
    *,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Array, "B H2 W2 features"]:
    """2-D cross-correlation of images with a kernel.

    :func:`jaxdl.nn.conv_ops.prefer_implementation` chooses how it is computed.

    Args:
        inputs: (B, H, W, C).
        kernel: (h, w, C / groups, features).
        stride: step of the window in pixels, an integer or (height, width).
        padding: zeros around the images: "VALID" is none, "SAME" gives ⌈H / stride⌉ rows; an
            integer, (height, width), or ((top, bottom), (left, right)).
        dilation: distance in pixels of neighbors under the kernel, an integer or (height, width).
        groups: number of groups of channels; each group of outputs sees one group of inputs. As
            many groups as channels is a depthwise convolution.

    Returns:
        (B, H', W', features) with ``H' = conv_output_size(H, h, ...)``.

    Raises:
        ValueError: another rank, channels that differ or that the groups do not divide, a kernel
            larger than the image, numbers out of range, or an unknown padding.

    Source: ``torch.nn.functional.conv2d``. "SAME" is TensorFlow's, which PyTorch has for stride 1
    only.

    >>> image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    >>> convolution(image, jnp.ones((2, 2, 1, 1)))[0, :, :, 0].tolist()
    [[8.0, 12.0], [20.0, 24.0]]
    """
    return pooled_convolution(
        inputs, kernel, 1, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def pooled_convolution(
    inputs: Array,
    kernel: Array,
    pool: int,
    *,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    groups: int = 1,
) -> Array:
    """``max_pool(convolution(inputs, kernel, ...), pool)`` in one.

    On CPU one product for each place in the pool gives whole arrays to compare, a third faster than
    comparing within one.
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    check_shape("kernel", kernel, ("h", "w", "C", "features"))
    check_count(pool=pool)
    height, width, channels, features = kernel.shape
    check_groups(inputs.shape[-1], features, groups)
    _check_channels(inputs, channels * groups)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    reach = dilation[0] * (height - 1) + 1, dilation[1] * (width - 1) + 1
    pads = _explicit_padding(padding, inputs.shape[1:3], reach, stride)
    padded = tuple(n + sum(pad) for n, pad in zip(inputs.shape[1:3], pads, strict=True))
    if padded[0] < reach[0] or padded[1] < reach[1]:
        raise ValueError(
            f"a {reach[0]}x{reach[1]} kernel does not fit into {padded[0]}x{padded[1]} pixels "
            f"(input {inputs.shape[1:3]}, padding {pads}): the images are too small for this model."
        )
    if not _uses_lax(dilation, groups):
        return _multiply(jnp.pad(inputs, ((0, 0), *pads, (0, 0))), kernel, stride, pool)
    outputs = jax.lax.conv_general_dilated(
        inputs,
        kernel,
        stride,
        pads,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return outputs if pool == 1 else max_pool(outputs, pool)


def _multiply(images: Array, kernel: Array, stride: tuple[int, int], pool: int) -> Array:
    """Convolution of padded images as products with the kernel, and max-pooling of the result."""
    height, width, channels, features = kernel.shape
    down, across = stride
    size = (images.shape[1] - height) // down + 1, (images.shape[2] - width) // across + 1
    rows, columns = pooled_size(size, (pool, pool), (pool, pool))
    if rows * pool == columns * pool == 1:  # the kernel covers the image
        outputs = images[:, :height, :width].reshape(len(images), -1) @ kernel.reshape(-1, features)
        return outputs.reshape(-1, 1, 1, features)
    if pool == 1 and stride != (1, 1) and height % down == 0 and width % across == 0:
        # blocks of pixels as channels, under a kernel of stride 1: fewer slices
        return _multiply(_to_blocks(images, stride), _kernel_of_blocks(kernel, stride), (1, 1), 1)

    def shifted(i: int, j: int) -> Array:
        stops = i + (rows - 1) * down * pool + 1, j + (columns - 1) * across * pool + 1
        return images[:, i : stops[0] : down * pool, j : stops[1] : across * pool]

    def product(top: int, left: int) -> Array:
        """The outputs at place (top, left) of every pool."""
        patches = [
            shifted(top * down + i, left * across + j) for i in range(height) for j in range(width)
        ]
        flat = jnp.concatenate(patches, axis=-1).reshape(-1, height * width * channels)
        return flat @ kernel.reshape(-1, features)

    outputs = functools.reduce(
        first_maximum,
        [
            functools.reduce(first_maximum, [product(top, left) for left in range(pool)])
            for top in range(pool)
        ],
    )
    return outputs.reshape(images.shape[0], rows, columns, features)


def _to_blocks(images: Array, block: tuple[int, int]) -> Array:
    """(B, H, W, C) → (B, H // h, W // w, h · w · C); what is left at the edges is cut off."""
    batch, height, width, channels = images.shape
    rows, columns = height // block[0], width // block[1]
    images = images[:, : rows * block[0], : columns * block[1]]
    images = images.reshape(batch, rows, block[0], columns, block[1], channels)
    return images.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)


def _from_blocks(blocks: Array, block: tuple[int, int]) -> Array:
    """(B, H, W, h · w · C) → (B, h · H, w · W, C), the inverse of :func:`_to_blocks`."""
    batch, rows, columns, channels = blocks.shape
    blocks = blocks.reshape(batch, rows, columns, *block, channels // (block[0] * block[1]))
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(batch, rows * block[0], columns * block[1], -1)


def _kernel_of_blocks(kernel: Array, block: tuple[int, int]) -> Array:
    """(H, W, C, F) → (H / h, W / w, h · w · C, F)."""
    height, width, channels, features = kernel.shape
    rows, columns = height // block[0], width // block[1]
    kernel = kernel.reshape(rows, block[0], columns, block[1], channels, features)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(rows, columns, -1, features)


def _explicit_padding(
    padding: Padding,
    size: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right))."""
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID"):
        vertical, horizontal = jax.lax.padtype_to_pads(size, kernel, stride, padding)
        return (int(vertical[0]), int(vertical[1])), (int(horizontal[0]), int(horizontal[1]))
    if isinstance(padding, int):
        padding = (padding, padding)
    if not isinstance(padding, tuple | list) or len(padding) != 2:
        raise ValueError(
            'padding must be "SAME", "VALID", an integer, (height, width) or '
            f"((top, bottom), (left, right)), got {padding!r}."
        )
    return pair("padding", padding[0], minimum=0), pair("padding", padding[1], minimum=0)


def check_groups(channels: int, features: int, groups: int) -> None:
    """Raises ValueError unless ``groups`` divides the channels and the features."""
    check_count(features=features, groups=groups)
    if channels % groups or features % groups:
        raise ValueError(
            f"groups must divide the {channels} channels and the {features} features, got {groups}."
        )


def _check_channels(inputs: Array, channels: int) -> None:
    if inputs.shape[-1] != channels:
        raise ValueError(
            f"the kernel expects {channels} channels, got images of shape {inputs.shape}."
        )


def transposed_convolution(
    inputs: Float[Array, "B H W C"],
    kernel: Float[Array, "h w C features"],
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Array, "B H2 W2 all_features"]:
    """The transpose of a convolution: every input pixel adds a scaled kernel to the output.

    :func:`jaxdl.nn.conv_ops.prefer_implementation` chooses how it is computed.

    Args:
        inputs: (B, H, W, C).
        kernel: (h, w, C, features / groups).
        stride: distance in the output of neighboring inputs, an integer or (height, width).
        padding: rows and columns cut off at each side of the full output, likewise.
        output_padding: rows and columns added at the bottom and the right, likewise; less than the
            larger of ``stride`` and ``dilation``.
        dilation: distance in the output of neighbors under the kernel, likewise.
        groups: see :func:`convolution`.

    Returns:
        (B, H', W', features) with ``H' = conv_transpose_output_size(H, h, ...)``.

    Raises:
        ValueError: another rank, channels that differ or that the groups do not divide, an output
            without pixels, or numbers out of range.

    Source: ``torch.nn.functional.conv_transpose2d``.

    >>> transposed_convolution(jnp.ones((1, 2, 2, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
    [[1.0, 2.0, 2.0, 1.0], [2.0, 4.0, 4.0, 2.0], [2.0, 4.0, 4.0, 2.0], [1.0, 2.0, 2.0, 1.0]]
    """
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    check_shape("kernel", kernel, ("h", "w", "C", "features"))
    height, width, channels, features = kernel.shape
    check_count(groups=groups)
    check_groups(channels, features * groups, groups)
    _check_channels(inputs, channels)
    stride, dilation = pair("stride", stride), pair("dilation", dilation)
    padding = pair("padding", padding, minimum=0)
    output_padding = pair("output_padding", output_padding, minimum=0)
    rows, columns = (
        transposed_length(inputs.shape[axis + 1], kernel.shape[axis], *options)
        for axis, options in enumerate(zip(stride, padding, output_padding, dilation, strict=True))
    )
    if not _uses_lax(dilation, groups):
        return _cut(_spread(inputs, kernel, stride), padding, (rows, columns))
    kernel = kernel[::-1, ::-1]
    if groups > 1:  # XLA has the groups within the outputs, PyTorch within the inputs
        kernel = kernel.reshape(height, width, groups, channels // groups, features)
        kernel = kernel.swapaxes(2, 3).reshape(height, width, channels // groups, -1)
    rims = dilation[0] * (height - 1) - padding[0], dilation[1] * (width - 1) - padding[1]
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        (1, 1),
        [(rim, rim + extra) for rim, extra in zip(rims, output_padding, strict=True)],
        lhs_dilation=stride,
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def transposed_length(
    size: int, kernel_size: int, stride: int, padding: int, output_padding: int, dilation: int
) -> int:
    """See :func:`jaxdl.nn.conv.conv_transpose_output_size`."""
    check_count(size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    check_count(0, padding=padding, output_padding=output_padding)
    limit = max(stride, dilation)
    if output_padding >= limit:
        raise ValueError(
            f"output_padding must lie in 0 to {limit - 1} (the larger of stride and dilation, "
            f"less 1), got {output_padding}."
        )
    result = (size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1 + output_padding
    if result < 1:
        raise ValueError(
            f"padding {padding} leaves nothing of {result + 2 * padding} pixels at each side."
        )
    return result


def _spread(inputs: Array, kernel: Array, stride: tuple[int, int]) -> Array:
    """Computes the full transposed convolution by one product and a few sums; may end in zeros.

    Cut into blocks of the size of the stride, the kernel adds whole blocks to the output: as many
    sums of images as the kernel has blocks, and one interleaving at the end.
    """
    height, width, channels, features = kernel.shape
    batch, rows, columns = inputs.shape[:3]
    down, across = -(-height // stride[0]), -(-width // stride[1])
    edges = ((0, down * stride[0] - height), (0, across * stride[1] - width), (0, 0), (0, 0))
    kernel = jnp.pad(kernel, edges)
    kernel = kernel.reshape(down, stride[0], across, stride[1], channels, features)
    kernel = kernel.transpose(4, 0, 2, 1, 3, 5).reshape(channels, -1)
    parts = inputs.reshape(-1, channels) @ kernel
    if rows == columns == 1:  # nothing overlaps
        return _from_blocks(parts.reshape(batch, down, across, -1), stride)
    parts = parts.reshape(batch, rows, columns, down, across, -1)
    blocks = functools.reduce(
        operator.add,
        [
            jnp.pad(parts[:, :, :, i, j], ((0, 0), (i, down - 1 - i), (j, across - 1 - j), (0, 0)))
            for i in range(down)
            for j in range(across)
        ],
    )
    return _from_blocks(blocks, stride)


def _cut(full: Array, padding: tuple[int, int], size: tuple[int, int]) -> Array:
    """``size`` pixels of (B, H, W, C) from ``padding`` on, zeros where there are none."""
    (top, left), (rows, columns) = padding, size
    below, right = max(top + rows - full.shape[1], 0), max(left + columns - full.shape[2], 0)
    full = jnp.pad(full, ((0, 0), (0, below), (0, right), (0, 0)))
    return full[:, top : top + rows, left : left + columns]
