"""Sizes behind convolutions and their transposes: those of the books, PyTorch's rules, errors."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl import nn


def size_of_outputs(layer, size, kernel, *, stride=1, **options):
    """The side of what a layer makes of a square image."""
    layer = layer(1, (kernel, kernel), stride=stride, **options)
    image = jnp.zeros((1, size, size, 1))
    outputs, _ = jax.eval_shape(layer.init_with_output, jax.random.key(0), image)
    side = outputs.shape[1]
    assert outputs.shape == (1, side, side, 1)
    return side


@pytest.mark.parametrize(
    ("size", "kernel", "options", "expected"),
    [
        (6, 2, {}, 5),
        (6, 2, {"stride": 2}, 3),
        (6, 2, {"stride": 2, "padding": 1}, 4),
        (5, 2, {"stride": 2}, 2),  # the last pixel is not used
        (28, 5, {"stride": 2}, 12),
        (12, 3, {"stride": 2}, 5),
        (128, 8, {"stride": 2}, 61),
        (61, 8, {"stride": 2}, 27),
        (27, 8, {"stride": 2}, 10),
        (7, 3, {"dilation": 2}, 3),
        (7, 3, {"dilation": 3, "padding": 2, "stride": 2}, 3),
        (3, 3, {}, 1),
    ],
)
def test_convolution(size, kernel, options, expected):
    assert nn.conv_output_size(size, kernel, **options) == expected
    assert size_of_outputs(nn.Conv, size, kernel, **options) == expected


@pytest.mark.parametrize(
    ("size", "kernel", "options", "expected"),
    [
        (3, 2, {"stride": 2}, 6),
        (3, 2, {}, 4),
        (3, 2, {"stride": 2, "padding": 1}, 4),
        (11, 8, {"stride": 2}, 28),
        (28, 8, {"stride": 2}, 62),
        (62, 8, {"stride": 2, "padding": 1}, 128),
        (3, 3, {"stride": 2, "padding": 1, "output_padding": 1}, 6),
        (3, 3, {"dilation": 2, "output_padding": 1}, 8),
    ],
)
def test_transposed_convolution(size, kernel, options, expected):
    assert nn.conv_transpose_output_size(size, kernel, **options) == expected
    assert size_of_outputs(nn.ConvTranspose, size, kernel, **options) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.conv_output_size(4, 5), "a kernel of 5 .* does not fit into 4 pixels"),
        (lambda: nn.conv_output_size(4, 3, dilation=2), r"3 \(dilation 2\) does not fit into 4"),
        (lambda: nn.conv_output_size(4, 2, padding=-1), "does not fit .* padding -1"),
        (lambda: nn.conv_output_size(4, 2, stride=0), "stride must be greater than 0, got 0"),
        (lambda: nn.conv_output_size(0, 2), "size must be greater than 0"),
        (lambda: nn.conv_output_size(4, 2, dilation=0), "dilation must be greater than 0"),
        (lambda: nn.conv_transpose_output_size(3, 0), "kernel_size must be greater than 0"),
        (
            lambda: nn.conv_transpose_output_size(3, 2, stride=2, output_padding=2),
            "output_padding lie in 0 to 1 .* got 0 and 2",
        ),
        (lambda: nn.conv_transpose_output_size(3, 2, padding=-1), "padding must be at least 0"),
        (
            lambda: nn.conv_transpose_output_size(3, 2, padding=2),
            "padding 2 leaves nothing of 4 pixels",
        ),
    ],
)
def test_impossible_sizes_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
