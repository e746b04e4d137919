"""Output sizes of convolutions."""

from jaxdl._checks import check_positive


def conv_output_size(
    size: int, kernel_size: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Pixels along one axis after a convolution or pooling: ⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1.

    Args:
        size: n, pixels before.
        kernel_size: k.
        stride: s.
        padding: p, on each side.
        dilation: d, the distance of two pixels under the kernel.

    Raises:
        ValueError: the kernel does not fit, or a number is out of range.

    Source: ``torch.nn.Conv2d``.

    >>> conv_output_size(28, 5, stride=2)
    12
    """
    check_positive(size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    result = (size + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
    if padding < 0 or result < 1:
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
    """Pixels along one axis after a transposed convolution: (n − 1)s − 2p + d(k − 1) + 1 + o.

    Args:
        size: n, pixels before.
        kernel_size: k.
        stride: s.
        padding: p, cut off at each side.
        output_padding: o, added at one side; less than the larger of s and d.
        dilation: d, the distance of two pixels that an input pixel's kernel reaches.

    Raises:
        ValueError: nothing is left, or a number is out of range.

    Source: ``torch.nn.ConvTranspose2d``.

    >>> conv_transpose_output_size(11, 8, stride=2)
    28
    """
    check_positive(size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    limit = max(stride, dilation)
    if padding < 0 or not 0 <= output_padding < limit:
        raise ValueError(
            f"padding must be at least 0 and output_padding lie in 0 to {limit - 1} (the larger of "
            f"stride and dilation, less 1), got {padding} and {output_padding}."
        )
    result = (size - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + 1 + output_padding
    if result < 1:
        raise ValueError(
            f"padding {padding} leaves nothing of {result + 2 * padding} pixels at each side."
        )
    return result
