"""Convolutions as functions: both implementations, pairs of options, gradients, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl import nn
from jaxdl.nn.conv_ops import pooled_convolution, prefer_implementation

RNG = np.random.default_rng(0)
CASES = read_cases("layers")
IMPLEMENTATIONS = ("matmul", "lax")
IMAGE, KERNEL = np.zeros((2, 4, 4, 2)), np.zeros((2, 2, 2, 4))


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def with_implementation(implementation, function, *arguments, **options):
    """``function(*arguments, **options)`` and a function that pulls a cotangent back."""
    with prefer_implementation(implementation):
        return jax.vjp(lambda *arguments: function(*arguments, **options), *arguments)


CONVOLUTIONS = [
    ((1, 1), 1, "VALID"),
    ((3, 3), 1, "VALID"),
    ((3, 3), 1, "SAME"),
    ((3, 3), 2, "SAME"),
    ((2, 2), 2, "SAME"),
    ((5, 5), 2, 2),
    ((1, 1), 3, "SAME"),
    ((2, 3), 3, 1),
    ((3, 1), 2, ((0, 2), (1, 0))),
    ((3, 2), (2, 1), (1, 0)),
    ((2, 3), (1, 3), ((1, 0), 1)),
    ((4, 2), (2, 1), "same"),
    ((4, 3), (2, 3), [1, 0]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "stride", "padding"), CONVOLUTIONS)
def test_the_two_implementations_agree_in_values_and_gradients(size, stride, padding):
    @jax.jit
    def both(inputs, kernel):
        results = []
        for implementation in IMPLEMENTATIONS:
            outputs, pull = with_implementation(
                implementation, nn.convolution, inputs, kernel, stride=stride, padding=padding
            )
            weights = jnp.cos(jnp.arange(outputs.size, dtype=jnp.float32))
            results.append((outputs, *pull(weights.reshape(outputs.shape))))
        return results

    matmul, lax = both(draw(2, 7, 6, 3), draw(*size, 3, 4))
    for ours, expected in zip(matmul, lax, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


TRANSPOSED = {
    "conv_transpose k3s1p0": (1, 0, 0),
    "conv_transpose k4s2p1": (2, 1, 0),
    "conv_transpose k8s2p0": (2, 0, 0),
    "conv_transpose k3s2p1o1": (2, 1, 1),
    "conv_transpose k2s3p0": (3, 0, 0),
    "conv_transpose k5s3p2o2": (3, 2, 2),
    "pairs conv_transpose k3x2s2x1p1x0o1x0": ((2, 1), (1, 0), (1, 0)),
    "pairs conv_transpose k3x2s1x3p0x1o0x2": ((1, 3), (0, 1), (0, 2)),
}
PAIRS = {
    "pairs conv s2x1p1x0": {"stride": (2, 1), "padding": (1, 0)},
    "pairs conv s1x2p0x1": {"stride": (1, 2), "padding": [0, 1]},
    "pairs conv p1x2d2x1": {"padding": (1, 2), "dilation": (2, 1)},
}


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("case", [*TRANSPOSED, *PAIRS])
def test_values_and_gradients_are_pytorchs(case, implementation):
    arrays = CASES[case]
    if case in PAIRS:
        function, options = nn.convolution, PAIRS[case]
    else:
        function = nn.transposed_convolution
        options = dict(zip(("stride", "padding", "output_padding"), TRANSPOSED[case], strict=True))

    @jax.jit
    def both(inputs, kernel):
        outputs, pull = with_implementation(implementation, function, inputs, kernel, **options)
        return outputs, pull(2 * outputs)

    outputs, gradients = both(arrays["inputs"], arrays["kernel"])
    name = f"{case} ({implementation})"
    compare(name, outputs, arrays["outputs"])
    compare(name, gradients, (arrays["inputs_gradient"], arrays["kernel_gradient"]))


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_convolution_by_hand(implementation):
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    outputs, _ = with_implementation(implementation, nn.convolution, image, kernel)
    # 0·1 + 1·2 + 3·3 + 4·4 = 27: the kernel is not flipped
    np.testing.assert_array_equal(outputs[0, :, :, 0], [[27, 37], [57, 67]])


def test_cpu_multiplies_unless_told_otherwise():
    def primitives(**options):
        return str(jax.make_jaxpr(lambda x, k: nn.convolution(x, k, **options))(IMAGE, KERNEL))

    assert "conv_general_dilated" not in primitives()
    assert "conv_general_dilated" in primitives(dilation=(1, 2))
    with prefer_implementation("lax"):
        assert "conv_general_dilated" in primitives()
    assert "conv_general_dilated" not in primitives()


def test_same_padding_with_stride_2_is_not_symmetric():
    outputs = nn.convolution(
        jnp.arange(4.0).reshape(1, 1, 4, 1), jnp.ones((1, 3, 1, 1)), stride=2, padding="SAME"
    )
    np.testing.assert_array_equal(outputs.ravel(), [0 + 1 + 2, 2 + 3])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_convolution_check_grads(implementation):
    @jax.jit
    def convolve(inputs, kernel):
        with prefer_implementation(implementation):
            return nn.convolution(inputs, kernel, stride=2, padding="SAME")

    check_grads(convolve, (draw(1, 4, 5, 2), draw(3, 2, 2, 2)), 1, modes=["rev"])


def test_a_batch_of_kernels_equals_each_kernel_alone():
    images, kernels = draw(2, 5, 5, 2), draw(3, 3, 3, 2, 4)
    together = jax.jit(jax.vmap(nn.convolution, in_axes=(None, 0)))(images, kernels)
    alone = jax.jit(nn.convolution)
    for outputs, kernel in zip(together, kernels, strict=True):
        np.testing.assert_allclose(outputs, alone(images, kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("pool", "stride", "padding"), [(2, 1, 0), (2, 2, "SAME"), (3, (1, 2), 1)])
def test_pooling_with_the_convolution_is_pooling_after_it(implementation, pool, stride, padding):
    images, kernel = draw(2, 13, 20, 3), draw(3, 2, 3, 4)
    options = {"stride": stride, "padding": padding}

    def apart(images, kernel):
        return nn.max_pool(nn.convolution(images, kernel, **options), pool)

    def together(images, kernel):
        return pooled_convolution(images, kernel, pool, **options)

    ours, pull = with_implementation(implementation, together, images, kernel)
    theirs, their_pull = with_implementation("lax", apart, images, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for gradient, expected in zip(pull(2 * ours), their_pull(2 * theirs), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-3)


def test_unknown_implementation_is_refused():
    with (
        pytest.raises(ValueError, match='must be "matmul" or "lax", got \'xla\''),
        prefer_implementation("xla"),
    ):
        pass


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "message"),
    [
        ((1, 5, 5, 3), (3, 3, 1, 4), {}, r"expects 1 channels, got images of shape \(1, 5, 5, 3"),
        ((1, 2, 9, 1), (3, 3, 1, 4), {}, "a 3x3 kernel does not fit into 2x9 pixels"),
        ((1, 2, 2, 1), (7, 7, 1, 4), {"padding": 2}, "not fit into 6x6 pixels .*too small"),
        ((1, 4, 4, 1), (2, 2, 1, 4), {"dilation": (1, 4)}, "a 2x5 kernel does not fit into 4x4"),
        ((1, 4, 4, 1), (2, 1, 4), {}, r"kernel must have shape \(h, w, C, features\)"),
        ((4, 4, 1), (2, 2, 1, 4), {}, r"inputs must have shape \(B, H, W, C\)"),
    ],
)
def test_convolution_refuses_shapes(shape, kernel, options, message):
    with pytest.raises(ValueError, match=message):
        nn.convolution(jnp.zeros(shape), jnp.zeros(kernel), **options)


PAIR = r"must be an integer or a pair \(height, width\) of integers, got "


@pytest.mark.parametrize("function", [nn.convolution, nn.transposed_convolution])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride must be at least 1, got 0"),
        ({"stride": (1, 0)}, "stride must be at least 1, got 0"),
        ({"stride": (1, 1, 1)}, f"stride {PAIR}" + r"\(1, 1, 1\)"),
        ({"stride": 1.5}, "stride must be an integer, got 1.5"),
        ({"stride": None}, "stride must be an integer, got None"),
        ({"stride": ("2", 1)}, "stride must be an integer, got '2'"),
        ({"dilation": 0}, "dilation must be at least 1, got 0"),
        ({"dilation": (1,)}, f"dilation {PAIR}" + r"\(1,\)"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"padding": (0, -1)}, "padding must be at least 0, got -1"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"groups": (2, 1)}, r"groups must be an integer, got \(2, 1\)"),
    ],
)
def test_options_out_of_range_are_refused(function, options, message):
    with pytest.raises(ValueError, match=message):
        function(IMAGE, KERNEL, **options)


@pytest.mark.parametrize("padding", ["foo", 1.5, (1, 1, 1), None, ((1, 1),)])
def test_unknown_padding_is_refused(padding):
    with pytest.raises(ValueError, match=r'padding must be "SAME", "VALID", an integer, .* got '):
        nn.convolution(IMAGE, KERNEL, padding=padding)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 2, "output_padding": 2}, "output_padding must lie in 0 to 1 .* got 2"),
        ({"stride": (2, 1), "output_padding": 1}, "output_padding must lie in 0 to 0 .* got 1"),
        ({"output_padding": (0, 1.0)}, "output_padding must be an integer, got 1.0"),
        ({"padding": 3}, "padding 3 leaves nothing of 5 pixels"),
        ({"padding": "SAME"}, "padding must be an integer, got 'SAME'"),
        ({"padding": ((1, 0), (0, 0))}, r"padding must be an integer, got \(1, 0\)"),
    ],
)
def test_transposed_convolution_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        nn.transposed_convolution(IMAGE, KERNEL, **options)


def test_pool_must_be_positive():
    with pytest.raises(ValueError, match="pool must be at least 1, got 0"):
        pooled_convolution(IMAGE, KERNEL, 0)
