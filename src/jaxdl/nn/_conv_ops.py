"""Convolutions as functions, and the implementation that XLA runs fastest."""

import contextlib
import contextvars
import functools
import operator
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxdl._checks import check_not_negative, check_positive, check_shape
from jaxdl.nn._output_size import conv_transpose_output_size
from jaxdl.nn.pooling import first_maximum, max_pool, pooled_size
from jaxdl.types import Array

Padding = Literal["SAME", "VALID"] | int | Sequence[tuple[int, int]]


Implementation = Literal["matmul", "lax"]


_preferred: contextvars.ContextVar[Implementation | None] = contextvars.ContextVar(
    "preferred", default=None
)


@contextlib.contextmanager
def prefer_implementation(implementation: Implementation) -> Iterator[None]:
    """Inside it, convolutions that name no implementation take this one.

    For programs that are traced on one kind of device and run on another. It counts where a
    function is traced: what JAX has compiled before stays as it is.

    Args:
        implementation: see :func:`convolution`.
    """
    token = _preferred.set(implementation)
    try:
        yield
    finally:
        _preferred.reset(token)


def _default_implementation() -> Implementation:
    return _preferred.get() or ("matmul" if jax.default_backend() == "cpu" else "lax")


def convolution(
    inputs: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: Padding = "VALID",
    dilation: int = 1,
    groups: int = 1,
    pool: int = 1,
    implementation: Implementation | None = None,
) -> Array:
    """2-D cross-correlation of images with a kernel, and max-pooling of the result if asked.

    Args:
        inputs: (B, H, W, C).
        kernel: (h, w, C / groups, features).
        stride: step of the window.
        padding: "SAME", "VALID", one number for all four sides, or ((top, bottom), (left, right)).
        dilation: distance of two pixels under the kernel.
        groups: parts into which the channels are cut; each part of the outputs sees one part of the
            inputs. As many groups as channels is a depthwise convolution.
        pool: ``max_pool(convolution(...), pool)`` in one. On CPU one product for each place in the
            pool gives whole arrays to compare, a third quicker than comparing within one.
        implementation: "lax" is XLA's convolution. "matmul" lays the h·w shifted images side by
            side and multiplies once: on CPU the backward pass of XLA's convolution is 10 to 18
            times slower inside a loop (jax-ml/jax#12868), this one is not, and vmap over kernels
            stays a batched product. None takes "matmul" on CPU and "lax" elsewhere. Dilation and
            groups are XLA's in either.

    Returns:
        (B, H', W', features).

    Raises:
        ValueError: another rank, channels that differ or that the groups do not divide, a kernel or
            pool larger than the image, numbers out of range, an unknown padding or implementation.

    Source: ``torch.nn.functional.conv2d``.
    """
    check_positive(stride=stride, dilation=dilation, groups=groups, pool=pool)
    _check_arrays(inputs, kernel, groups)
    height, width, channels, features = kernel.shape
    _check_groups(inputs.shape[-1], features, groups)
    reach = dilation * (height - 1) + 1, dilation * (width - 1) + 1
    pads = _explicit_padding(padding, inputs.shape[1:3], reach, stride)
    padded = tuple(n + sum(pad) for n, pad in zip(inputs.shape[1:3], pads, strict=True))
    if padded[0] < reach[0] or padded[1] < reach[1]:
        raise ValueError(
            f"a {reach[0]}x{reach[1]} kernel does not fit into {padded[0]}x{padded[1]} pixels "
            f"(input {inputs.shape[1:3]}, padding {pads}): the images are too small for this model."
        )
    rows, columns = ((n - k) // stride + 1 for n, k in zip(padded, reach, strict=True))
    rows, columns = pooled_size(rows, columns, pool)
    if _use_lax(implementation, dilation, groups):
        outputs = jax.lax.conv_general_dilated(
            inputs,
            kernel,
            (stride, stride),
            pads,
            rhs_dilation=(dilation, dilation),
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        return outputs if pool == 1 else max_pool(outputs, pool)
    images = jnp.pad(inputs, ((0, 0), *pads, (0, 0)))
    if rows * pool == columns * pool == 1:  # the kernel covers the image
        outputs = images[:, :height, :width].reshape(len(images), -1) @ kernel.reshape(-1, features)
        return outputs.reshape(-1, 1, 1, features)
    if pool == 1 and stride > 1 and height % stride == 0 and width % stride == 0:
        # blocks of stride x stride pixels as channels, under a kernel of stride 1: fewer slices
        return convolution(
            _to_blocks(images, stride),
            _kernel_of_blocks(kernel, stride),
            implementation="matmul",
        )
    step = stride * pool

    def shifted(i: int, j: int) -> Array:
        stops = i + (rows - 1) * step + 1, j + (columns - 1) * step + 1
        return images[:, i : stops[0] : step, j : stops[1] : step]

    def product(top: int, left: int) -> Array:
        """The outputs at place (top, left) of every pool."""
        patches = [
            shifted(top * stride + i, left * stride + j)
            for i in range(height)
            for j in range(width)
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
    return outputs.reshape(inputs.shape[0], rows, columns, features)


def _to_blocks(images: Array, side: int) -> Array:
    """(B, H, W, C) → (B, H // side, W // side, side² · C); what is left at the edges is cut off."""
    number, height, width, channels = images.shape
    rows, columns = height // side, width // side
    images = images[:, : rows * side, : columns * side]
    images = images.reshape(number, rows, side, columns, side, channels)
    return images.transpose(0, 1, 3, 2, 4, 5).reshape(number, rows, columns, -1)


def _from_blocks(blocks: Array, side: int) -> Array:
    """(B, H, W, side² · C) → (B, side · H, side · W, C), the inverse of :func:`_to_blocks`."""
    number, rows, columns, channels = blocks.shape
    blocks = blocks.reshape(number, rows, columns, side, side, channels // side**2)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(number, rows * side, columns * side, -1)


def _kernel_of_blocks(kernel: Array, side: int) -> Array:
    """(h, w, C, F) → (h / side, w / side, side² · C, F)."""
    height, width, channels, features = kernel.shape
    rows, columns = height // side, width // side
    kernel = kernel.reshape(rows, side, columns, side, channels, features)
    return kernel.transpose(0, 2, 1, 3, 4, 5).reshape(rows, columns, -1, features)


def _explicit_padding(
    padding: Padding, size: Sequence[int], kernel: Sequence[int], stride: int
) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, str) and padding.upper() in ("SAME", "VALID"):
        pads = jax.lax.padtype_to_pads(size, kernel, (stride, stride), padding)
        return tuple((int(low), int(high)) for low, high in pads)
    try:
        sides: Any = ((padding, padding),) * 2 if isinstance(padding, int) else padding
        (top, bottom), (left, right) = ((int(low), int(high)) for low, high in sides)
    except (TypeError, ValueError) as error:
        raise ValueError(
            'padding must be "SAME", "VALID", one number, or ((top, bottom), (left, right)), got '
            f"{padding!r}."
        ) from error
    check_not_negative(padding=min(top, bottom, left, right))
    return (top, bottom), (left, right)


def _check_arrays(inputs: Array, kernel: Array, groups: int = 1) -> None:
    check_shape("inputs", inputs, ("B", "H", "W", "C"))
    check_shape("kernel", kernel, ("h", "w", "C", "features"))
    channels = kernel.shape[2] * groups
    if inputs.shape[-1] != channels:
        raise ValueError(
            f"the kernel expects {channels} channels, got images of shape {inputs.shape}."
        )


def _check_groups(channels: int, features: int, groups: int) -> None:
    check_positive(features=features, groups=groups)
    if channels % groups or features % groups:
        raise ValueError(
            f"groups must divide the {channels} channels and the {features} features, got {groups}."
        )


def _use_lax(implementation: Implementation | None, dilation: int, groups: int) -> bool:
    if implementation not in ("matmul", "lax", None):
        raise ValueError(f'implementation must be "matmul" or "lax", got {implementation!r}.')
    chosen = implementation or _default_implementation()
    return chosen == "lax" or dilation > 1 or groups > 1


def transposed_convolution(
    inputs: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    implementation: Implementation | None = None,
) -> Array:
    """The transpose of a convolution: every input pixel lays the kernel into the output, scaled.

    Args:
        inputs: (B, H, W, C).
        kernel: (h, w, C, features / groups).
        stride: how far two inputs lie apart in the output.
        padding: rows and columns cut off at each side of the full output.
        output_padding: rows and columns added at the bottom and the right; less than the larger of
            ``stride`` and ``dilation``.
        dilation: distance of two pixels that an input pixel's kernel reaches.
        groups: see :func:`convolution`.
        implementation: "lax" is XLA's convolution of the input with holes between its pixels.
            "matmul" multiplies once and adds up the overlapping parts, which is quick on CPU inside
            a loop; see :func:`convolution`. None takes "matmul" on CPU and "lax" elsewhere.
            Dilation and groups are XLA's in either.

    Returns:
        (B, H', W', features) with ``H' = conv_transpose_output_size(H, h, ...)``.

    Raises:
        ValueError: another rank, channels that differ or that the groups do not divide, an output
            without pixels, numbers out of range, or an unknown implementation.

    Source: ``torch.nn.functional.conv_transpose2d``.
    """
    _check_arrays(inputs, kernel)
    height, width, channels, features = kernel.shape
    _check_groups(channels, features * groups, groups)
    options = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "dilation": dilation,
    }
    size = (
        conv_transpose_output_size(inputs.shape[1], height, **options),
        conv_transpose_output_size(inputs.shape[2], width, **options),
    )
    if _use_lax(implementation, dilation, groups):
        rims = [dilation * (k - 1) - padding for k in (height, width)]
        kernel = kernel[::-1, ::-1]
        if groups > 1:  # XLA wants the groups within the outputs, PyTorch has them in the inputs
            kernel = kernel.reshape(height, width, groups, channels // groups, features)
            kernel = kernel.swapaxes(2, 3).reshape(height, width, channels // groups, -1)
        return jax.lax.conv_general_dilated(
            inputs,
            kernel,
            (1, 1),
            [(rim, rim + output_padding) for rim in rims],
            lhs_dilation=(stride, stride),
            rhs_dilation=(dilation, dilation),
            feature_group_count=groups,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    # Cut into blocks of stride x stride, the kernel adds whole blocks to the output: as many sums
    # of images as the kernel has blocks, and one interleaving at the end.
    down, across = -(-height // stride), -(-width // stride)
    edges = ((0, down * stride - height), (0, across * stride - width), (0, 0), (0, 0))
    kernel = jnp.pad(kernel, edges).reshape(down, stride, across, stride, channels, features)
    kernel = kernel.transpose(4, 0, 2, 1, 3, 5).reshape(channels, -1)
    number, rows, columns = inputs.shape[:3]
    parts = inputs.reshape(-1, channels) @ kernel
    if rows == columns == 1:  # nothing overlaps
        blocks = parts.reshape(number, down, across, -1)
    else:
        parts = parts.reshape(number, rows, columns, down, across, -1)
        blocks = functools.reduce(
            operator.add,
            [
                jnp.pad(
                    parts[:, :, :, i, j],
                    ((0, 0), (i, down - 1 - i), (j, across - 1 - j), (0, 0)),
                )
                for i in range(down)
                for j in range(across)
            ],
        )
    full = _from_blocks(blocks, stride)
    missing = [max(padding + n - m, 0) for n, m in zip(size, full.shape[1:3], strict=True)]
    full = jnp.pad(full, ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0)))
    return full[:, padding : padding + size[0], padding : padding + size[1]]
