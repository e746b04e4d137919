"""Layers: one convolution in two forms, pooling as Linen's and PyTorch's, Linen's parameters."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxdl import nn, tree

RNG = np.random.default_rng(0)
max_pool = jax.jit(nn.max_pool, static_argnums=1)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def draw_like(abstract):
    """Parameters of the right shapes, without compiling an initialiser."""
    return jax.tree.map(lambda leaf: draw(*leaf.shape), abstract)


# Convolution

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
]


def convolve_both(inputs, kernel, cotangents=None, **options):
    """Values, and gradients by inputs and kernel, of each implementation."""

    @jax.jit
    def both(inputs, kernel):
        results = []
        for implementation in ("matmul", "lax"):

            def convolve(x, k, implementation=implementation):
                return nn.convolution(x, k, implementation=implementation, **options)

            outputs, pull = jax.vjp(convolve, inputs, kernel)
            weights = jnp.cos(jnp.arange(outputs.size, dtype=jnp.float32))
            results.append((outputs, *pull(weights.reshape(outputs.shape))))
        return results

    return both(inputs, kernel)


@pytest.mark.parametrize(("size", "stride", "padding"), CONVOLUTIONS)
def test_the_two_implementations_agree_in_values_and_gradients(size, stride, padding):
    matmul, lax = convolve_both(draw(2, 7, 6, 3), draw(*size, 3, 4), stride=stride, padding=padding)
    for ours, expected in zip(matmul, lax, strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("implementation", ["matmul", "lax", None])
def test_convolution_by_hand(implementation):
    image = jnp.arange(9.0).reshape(1, 3, 3, 1)
    kernel = jnp.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    outputs = nn.convolution(image, kernel, implementation=implementation)
    # 0·1 + 1·2 + 3·3 + 4·4 = 27: the kernel is not turned
    np.testing.assert_array_equal(outputs[0, :, :, 0], [[27, 37], [57, 67]])


def test_same_padding_with_stride_2_is_not_symmetric():
    outputs = nn.convolution(
        jnp.arange(4.0).reshape(1, 1, 4, 1), jnp.ones((1, 3, 1, 1)), stride=2, padding="SAME"
    )
    np.testing.assert_array_equal(outputs.ravel(), [0 + 1 + 2, 2 + 3])


@pytest.mark.parametrize("implementation", ["matmul", "lax"])
def test_convolution_check_grads(implementation):
    def convolve(inputs, kernel):
        return nn.convolution(
            inputs, kernel, stride=2, padding="SAME", implementation=implementation
        )

    check_grads(jax.jit(convolve), (draw(1, 4, 5, 2), draw(3, 2, 2, 2)), 1, modes=["rev"])


def test_a_batch_of_kernels_equals_each_kernel_alone():
    images, kernels = draw(2, 5, 5, 2), draw(3, 3, 3, 2, 4)
    together = jax.jit(jax.vmap(nn.convolution, in_axes=(None, 0)))(images, kernels)
    alone = jax.jit(nn.convolution)
    for outputs, kernel in zip(together, kernels, strict=True):
        np.testing.assert_allclose(outputs, alone(images, kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "kernel", "padding", "message"),
    [
        (
            (1, 5, 5, 3),
            (3, 3, 1, 4),
            "VALID",
            r"expects 1 channels, got images of shape \(1, 5, 5, 3",
        ),
        ((1, 2, 9, 1), (3, 3, 1, 4), "VALID", "a 3x3 kernel does not fit into 2x9 pixels"),
        ((1, 2, 2, 1), (7, 7, 1, 4), 2, "does not fit into 6x6 pixels .*images are too small"),
    ],
)
def test_convolution_refuses(shape, kernel, padding, message):
    with pytest.raises(ValueError, match=message):
        nn.convolution(jnp.zeros(shape), jnp.zeros(kernel), padding=padding)


# Pooling


@pytest.mark.parametrize(
    ("shape", "window"),
    [((2, 6, 8, 3), 2), ((1, 7, 5, 2), 2), ((1, 9, 10, 1), 3), ((1, 3, 3, 1), 1)],
)
def test_max_pool_equals_that_of_linen(shape, window):
    inputs = draw(*shape)

    def total(pool):
        return lambda x: (pool(x) ** 3).sum()

    def ours(x):
        return nn.max_pool(x, window)

    def expected(x):
        return linen.max_pool(x, (window, window), (window, window))

    @jax.jit
    def both(x):
        return [(pool(x), jax.grad(total(pool))(x)) for pool in (ours, expected)]

    (values, gradient), (expected_values, expected_gradient) = both(inputs)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def test_max_pool_check_grads():
    distinct = jnp.asarray(RNG.permutation(24), jnp.float32).reshape(1, 4, 6, 1)
    check_grads(max_pool, (distinct,), 1, modes=["rev"], eps=1e-2)


@pytest.mark.parametrize(
    ("pixels", "first"),
    [
        ([[1, 1], [1, 1]], (0, 0)),
        ([[0, 1], [1, 1]], (0, 1)),
        ([[0, 0], [1, 1]], (1, 0)),
        ([[0, 1], [1, 0]], (0, 1)),
        ([[0, 0], [0, 1]], (1, 1)),
    ],
)
def test_the_gradient_of_a_tie_goes_to_the_first_maximum(pixels, first):
    image = jnp.array(pixels, jnp.float32).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: max_pool(x).sum())(image)
    expected = np.zeros((2, 2))
    expected[first] = 1
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


@pytest.mark.parametrize("place", range(4))
def test_nan_goes_through_max_pool(place):
    window = np.array([1.0, 4.0, np.inf, -np.inf], np.float32)
    window[place] = np.nan
    assert np.isnan(max_pool(window.reshape(1, 2, 2, 1))).all()


def test_max_pool_of_integers():
    image = jnp.array([[200, 3], [255, 0]], jnp.uint8).reshape(1, 2, 2, 1)
    pooled = nn.max_pool(image)
    assert pooled.dtype == jnp.uint8
    assert int(pooled[0, 0, 0, 0]) == 255


def test_adaptive_avg_pool_of_integers_and_of_infinity():
    image = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    pooled = nn.adaptive_avg_pool(image, 2)
    assert pooled.dtype == jnp.float32
    assert pooled.ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    image = jnp.ones((1, 4, 4, 1), jnp.bfloat16).at[0, 0, 0, 0].set(jnp.inf)
    pooled = nn.adaptive_avg_pool(image, 2)
    assert pooled.dtype == jnp.bfloat16
    assert pooled.ravel().tolist() == [np.inf, 1.0, 1.0, 1.0]  # as PyTorch


def test_max_pool_refuses_an_image_smaller_than_the_window():
    with pytest.raises(ValueError, match=r"pooling over 3x3 pixels .*got images of 2x5"):
        nn.max_pool(jnp.zeros((1, 2, 5, 1)), 3)


# Modules


@pytest.mark.parametrize(("shape", "use_bias"), [((5,), True), ((4, 5), False), ((2, 3, 5), True)])
def test_dense_and_that_of_linen_exchange_parameters(shape, use_bias):
    inputs = draw(*shape)
    ours, other = nn.Dense(3, use_bias=use_bias), linen.Dense(3, use_bias=use_bias)
    abstract = jax.eval_shape(ours.init, jax.random.key(0), inputs)
    expected = jax.eval_shape(other.init, jax.random.key(0), inputs)
    assert tree.describe(abstract) == tree.describe(expected)
    variables = draw_like(abstract)
    expected = jax.jit(other.apply)(variables, inputs)
    np.testing.assert_allclose(
        jax.jit(ours.apply)(variables, inputs), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("stride", "padding", "use_bias"),
    [(1, "SAME", False), (2, "SAME", True), (3, ((0, 2), (1, 0)), True)],
)
def test_conv_and_that_of_linen_exchange_parameters(stride, padding, use_bias):
    inputs = draw(2, 6, 5, 2)
    options = {"padding": padding, "use_bias": use_bias}
    ours = nn.Conv(4, (3, 2), stride=stride, **options)
    other = linen.Conv(4, (3, 2), strides=stride, **options)
    abstract = jax.eval_shape(ours.init, jax.random.key(0), inputs)
    expected = jax.eval_shape(other.init, jax.random.key(0), inputs)
    assert tree.describe(abstract) == tree.describe(expected)
    variables = draw_like(abstract)
    expected = jax.jit(other.apply)(variables, inputs)
    np.testing.assert_allclose(
        jax.jit(ours.apply)(variables, inputs), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("layer", "shape", "fan_in"),
    [(nn.Dense(400), (1, 16), 16), (nn.Conv(400, (3, 3)), (1, 4, 4, 4), 36)],
    ids=["dense", "conv"],
)
def test_kernel_and_bias_start_between_the_bounds_of_pytorch(layer, shape, fan_in):
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros(shape))["params"]
    for values in params.values():
        assert 0.97 * fan_in**-0.5 < jnp.abs(values).max() <= fan_in**-0.5


@pytest.mark.parametrize("layer", [nn.Dense(3), nn.Conv(3, (2, 2))], ids=["dense", "conv"])
def test_dtype_of_the_computation_leaves_the_parameters_in_float32(layer):
    half = layer.clone(dtype=jnp.bfloat16)
    inputs = draw(2, 4, 4, 4)
    variables = draw_like(jax.eval_shape(half.init, jax.random.key(0), inputs))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = jax.jit(half.apply)(variables, inputs)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        outputs.astype(jnp.float32), jax.jit(layer.apply)(variables, inputs), rtol=0.05, atol=0.1
    )


def test_conv_refuses_images_without_a_batch():
    with pytest.raises(ValueError, match=r"images \(B, H, W, C\), got shape \(8, 8, 1\)"):
        nn.Conv(4, (3, 3)).init(jax.random.key(0), jnp.zeros((8, 8, 1)))


IMAGE, KERNEL, KEY = np.zeros((2, 4, 4, 2)), np.zeros((2, 2, 2, 4)), jax.random.key(0)


def normalise(mask):
    variables = {"params": {"scale": jnp.ones(2), "bias": jnp.zeros(2)}}
    variables["batch_stats"] = {"mean": jnp.zeros(2), "var": jnp.ones(2)}
    return nn.BatchNorm().apply(variables, IMAGE, mask=mask, train=True, mutable="batch_stats")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.max_pool(IMAGE, 0), "window must be greater than 0, got 0"),
        (lambda: nn.max_pool(IMAGE, stride=-1), "stride must be greater than 0, got -1"),
        (lambda: nn.max_pool(IMAGE[0]), r"inputs must have shape \(B, H, W, C\), got \(4, 4, 2\)"),
        (lambda: nn.avg_pool(IMAGE, 0), "window must be greater than 0, got 0"),
        (lambda: nn.avg_pool(IMAGE[0]), r"inputs must have shape \(B, H, W, C\)"),
        (lambda: nn.adaptive_avg_pool(IMAGE[0], 2), r"inputs must have shape \(B, H, W, C\)"),
        (lambda: nn.adaptive_max_pool(IMAGE[0], 2), r"inputs must have shape \(B, H, W, C\)"),
        (lambda: nn.convolution(IMAGE, KERNEL, stride=0), "stride must be greater than 0"),
        (lambda: nn.convolution(IMAGE, KERNEL, pool=0), "pool must be greater than 0"),
        (lambda: nn.convolution(IMAGE, KERNEL, dilation=0), "dilation must be greater than 0"),
        (lambda: nn.convolution(IMAGE, KERNEL[..., :3], groups=0), "groups must be greater than 0"),
        (lambda: nn.convolution(IMAGE, KERNEL, padding=-1), "padding must be at least 0, got -1"),
        (lambda: nn.convolution(IMAGE, KERNEL, padding="foo"), "\"SAME\", .* got 'foo'"),
        (lambda: nn.convolution(IMAGE, KERNEL, padding=(1, 1)), r"top, bottom.* got \(1, 1\)"),
        (lambda: nn.convolution(IMAGE, KERNEL, implementation="xla"), "\"lax\", got 'xla'"),
        (lambda: nn.convolution(IMAGE, KERNEL[0]), r"kernel must have shape \(h, w, C, features\)"),
        (
            lambda: nn.convolution(IMAGE, KERNEL, dilation=4),
            "a 5x5 kernel does not fit into 4x4 pixels",
        ),
        (
            lambda: nn.transposed_convolution(IMAGE, KERNEL, implementation="xla"),
            "implementation must be",
        ),
        (
            lambda: nn.Conv(3, (2, 2), groups=2).init(KEY, IMAGE),
            "groups must divide the 2 channels and the 3 features, got 2",
        ),
        (lambda: nn.Conv(4, (0, 2)).init(KEY, IMAGE), "kernel_height must be greater than 0"),
        (lambda: nn.ConvTranspose(0, (2, 2)).init(KEY, IMAGE), "features must be greater than 0"),
        (lambda: nn.Dense(0).init(KEY, IMAGE), "features must be greater than 0, got 0"),
        (lambda: nn.Dense(2).init(KEY, IMAGE[..., :0]), "input_features must be greater than 0"),
        (lambda: nn.LSTM(3).init(KEY, IMAGE[0], lengths=[1, 2]), "lengths must be an array"),
        (
            lambda: nn.GRU(3).init(KEY, IMAGE[0], initial_state=(np.zeros((1, 4, 3)),)),
            "initial_state must be an array, got a tuple",
        ),
        (lambda: normalise(jnp.ones(1)), r"mask must have shape \(2\), got \(1,\)"),
        (lambda: normalise(jnp.ones((1, 2))), r"mask must have shape \(2\), got \(1, 2\)"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("implementation", ["matmul", "lax"])
@pytest.mark.parametrize(("pool", "stride", "padding"), [(2, 1, 0), (2, 2, "SAME"), (3, 1, 1)])
def test_pooling_with_the_convolution_is_pooling_after_it(implementation, pool, stride, padding):
    generator = np.random.default_rng(0)
    images = jnp.array(generator.normal(size=(2, 13, 15, 3)), jnp.float32)
    kernel = jnp.array(generator.normal(size=(3, 2, 3, 4)), jnp.float32)

    def together(images, kernel):
        return nn.convolution(
            images,
            kernel,
            stride=stride,
            padding=padding,
            pool=pool,
            implementation=implementation,
        )

    def apart(images, kernel):
        outputs = nn.convolution(
            images, kernel, stride=stride, padding=padding, implementation="lax"
        )
        return nn.max_pool(outputs, pool)

    np.testing.assert_allclose(together(images, kernel), apart(images, kernel), atol=1e-5)
    for ours, theirs in zip(
        jax.grad(lambda *args: (together(*args) ** 2).sum(), (0, 1))(images, kernel),
        jax.grad(lambda *args: (apart(*args) ** 2).sum(), (0, 1))(images, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
