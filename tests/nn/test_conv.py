"""Convolution layers: Linen's parameters, PyTorch's numbers and start; output sizes."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import nn, tree
from jaxdl.nn.conv import PooledConv, conv_output_size, conv_transpose_output_size

RNG = np.random.default_rng(0)
CASES = read_cases("layers")
IMAGE, KEY = np.zeros((2, 4, 4, 2)), jax.random.key(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def draw_like(abstract):
    """Parameters of the right shapes, without compiling an initializer."""
    return jax.tree.map(lambda leaf: draw(*leaf.shape), abstract)


@pytest.mark.parametrize(
    ("stride", "padding", "use_bias"),
    [(1, "SAME", False), (2, "SAME", True), (3, ((0, 2), (1, 0)), True)],
)
def test_conv_and_that_of_linen_exchange_parameters(stride, padding, use_bias):
    inputs = draw(2, 6, 5, 2)
    options = {"padding": padding, "use_bias": use_bias}
    ours = nn.Conv(4, (3, 2), stride=stride, **options)
    other = linen.Conv(4, (3, 2), strides=stride, **options)
    abstract = jax.eval_shape(ours.init, KEY, inputs)
    expected = jax.eval_shape(other.init, KEY, inputs)
    assert tree.describe(abstract) == tree.describe(expected)
    variables = draw_like(abstract)
    expected = jax.jit(other.apply)(variables, inputs)
    np.testing.assert_allclose(
        jax.jit(ours.apply)(variables, inputs), expected, rtol=1e-4, atol=1e-5
    )


SPREAD = {
    "conv d2": {"dilation": 2},
    "conv s2p2d2g2": {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
    "conv p1g4": {"padding": 1, "groups": 4},
    "spread conv_transpose p1d2": {"padding": 1, "dilation": 2},
    "spread conv_transpose s2p1o1g4": {
        "stride": 2,
        "padding": 1,
        "output_padding": 1,
        "groups": 4,
    },
    "spread conv_transpose s2p2o2d3g2": {
        "stride": 2,
        "padding": 2,
        "output_padding": 2,
        "dilation": 3,
        "groups": 2,
    },
    "pairs conv s2x1p1x0": {"stride": (2, 1), "padding": (1, 0)},
    "pairs conv_transpose k3x2s1x3p0x1o0x2": {
        "stride": (1, 3),
        "padding": (0, 1),
        "output_padding": (0, 2),
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SPREAD)
def test_values_and_gradients_are_pytorchs(case):
    arrays, options = CASES[case], SPREAD[case]
    if "transpose" in case:
        features = arrays["kernel"].shape[-1] * options.get("groups", 1)
        layer = nn.ConvTranspose(features, (3, 2), use_bias=False, **options)
        name = "transposed_kernel"
    else:
        layer, name = nn.Conv(8, (3, 2), use_bias=False, **options), "kernel"
    shapes = jax.eval_shape(layer.init, KEY, arrays["inputs"])["params"]
    assert shapes[name].shape == arrays["kernel"].shape

    @jax.jit
    def both(inputs, kernel):
        outputs, pull = jax.vjp(
            lambda inputs, kernel: layer.apply({"params": {name: kernel}}, inputs), inputs, kernel
        )
        return outputs, pull(2 * outputs)

    outputs, gradients = both(arrays["inputs"], arrays["kernel"])
    compare(case, outputs, arrays["outputs"])
    compare(case, gradients, (arrays["inputs_gradient"], arrays["kernel_gradient"]))


def test_kernel_and_bias_start_between_the_bounds_of_pytorch():
    params = jax.jit(nn.Conv(400, 3).init)(KEY, jnp.zeros((1, 4, 4, 4)))["params"]
    for values in params.values():
        assert 0.97 / 6 < jnp.abs(values).max() <= 1 / 6


def test_dtype_of_the_computation_leaves_the_parameters_in_float32():
    layer = nn.Conv(3, 2)
    half, inputs = layer.clone(dtype=jnp.bfloat16), draw(2, 4, 4, 4)
    variables = draw_like(jax.eval_shape(half.init, KEY, inputs))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = jax.jit(half.apply)(variables, inputs)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        outputs.astype(jnp.float32), jax.jit(layer.apply)(variables, inputs), rtol=0.05, atol=0.1
    )


@pytest.mark.parametrize("layer", [nn.Conv, nn.ConvTranspose])
def test_an_integer_means_both_axes(layer):
    ones, inputs = layer(3, 2, stride=2, padding=1), draw(1, 6, 7, 2)
    pairs = layer(3, (2, 2), stride=(2, 2), padding=(1, 1), dilation=(1, 1))
    numpys = layer(3, np.int64(2), stride=np.int32(2), padding=(np.int64(1), 1))
    variables = draw_like(jax.eval_shape(ones.init, KEY, inputs))
    outputs = ones.apply(variables, inputs)
    for other in (pairs, numpys):
        assert jax.eval_shape(other.init, KEY, inputs) == jax.eval_shape(ones.init, KEY, inputs)
        np.testing.assert_array_equal(other.apply(variables, inputs), outputs)


@pytest.mark.slow
def test_pooled_conv_is_conv_and_max_pool():
    inputs, options = draw(2, 9, 8, 2), {"padding": "SAME", "stride": (2, 1)}
    pooled, conv = PooledConv(3, (3, 2), pool=2, **options), nn.Conv(3, (3, 2), **options)
    variables = draw_like(jax.eval_shape(conv.init, KEY, inputs))
    assert jax.eval_shape(pooled.init, KEY, inputs) == jax.eval_shape(conv.init, KEY, inputs)
    expected = nn.max_pool(conv.apply(variables, inputs))
    np.testing.assert_allclose(pooled.apply(variables, inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Conv(3, 2, groups=2), "groups must divide the 2 channels and the 3 features, got 2"),
        (nn.Conv(4, (0, 2)), "kernel_size must be at least 1, got 0"),
        (nn.Conv(4, (3, 3, 3)), r"kernel_size must be an integer or a pair .* got \(3, 3, 3\)"),
        (nn.Conv(4, 2.5), "kernel_size must be an integer, got 2.5"),
        (nn.Conv(4, 2, stride=1.5), "stride must be an integer, got 1.5"),
        (nn.Conv(2.5, 2), "features must be an integer, got 2.5"),
        (nn.ConvTranspose(0, 2), "features must be at least 1, got 0"),
        (nn.ConvTranspose(4, (2,)), r"kernel_size must be an integer or a pair .* got \(2,\)"),
        (nn.ConvTranspose(4, 2, dilation=None), "dilation must be an integer, got None"),
    ],
)
def test_options_out_of_range_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, IMAGE)


@pytest.mark.parametrize("layer", [nn.Conv(4, 3), nn.ConvTranspose(4, 3)])
def test_images_without_a_batch_are_refused(layer):
    with pytest.raises(ValueError, match=r"inputs must have shape \(B, H, W, C\), got \(8, 8, 1\)"):
        layer.init(KEY, jnp.zeros((8, 8, 1)))


# Output sizes


def size_of_outputs(layer, size, kernel, *, stride=1, **options):
    """The side of the outputs for a square image."""
    layer = layer(1, (kernel, kernel), stride=stride, **options)
    image = jnp.zeros((1, size, size, 1))
    outputs, _ = jax.eval_shape(layer.init_with_output, KEY, image)
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
def test_size_after_a_convolution(size, kernel, options, expected):
    assert conv_output_size(size, kernel, **options) == expected
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
def test_size_after_a_transposed_convolution(size, kernel, options, expected):
    assert conv_transpose_output_size(size, kernel, **options) == expected
    assert size_of_outputs(nn.ConvTranspose, size, kernel, **options) == expected


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (conv_output_size, (4, 5), {}, "a kernel of 5 .* does not fit into 4 pixels"),
        (
            conv_output_size,
            (4, 3),
            {"dilation": 2},
            r"3 \(dilation 2\) does not fit into 4",
        ),
        (conv_output_size, (4, 2), {"padding": -1}, "padding must be at least 0, got -1"),
        (conv_output_size, (4, 2), {"stride": 0}, "stride must be at least 1, got 0"),
        (conv_output_size, (0, 2), {}, "size must be at least 1, got 0"),
        (conv_output_size, ((28, 28), 2), {}, r"size must be an integer, got \(28, 28\)"),
        (conv_output_size, (4, 2), {"dilation": 0}, "dilation must be at least 1"),
        (conv_transpose_output_size, (3, 0), {}, "kernel_size must be at least 1"),
        (
            conv_transpose_output_size,
            (3, 2),
            {"stride": 2, "output_padding": 2},
            "output_padding must lie in 0 to 1 .* got 2",
        ),
        (conv_transpose_output_size, (3, 2), {"padding": -1}, "padding must be at least 0"),
        (
            conv_transpose_output_size,
            (3, 2),
            {"padding": 2},
            "padding 2 leaves nothing of 4 pixels",
        ),
    ],
)
def test_impossible_sizes_are_refused(function, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **options)
