"""Pooling: PyTorch's and Linen's numbers, ties, NaN, integers, wrong input."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl import nn

RNG = np.random.default_rng(0)
CASES = read_cases("layers")
IMAGE = np.zeros((2, 4, 4, 2))
max_pool = jax.jit(nn.max_pool, static_argnums=1)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


POOLS = {
    "max_pool 3s2p1": lambda x: nn.max_pool(x, 3, stride=2, padding=1),
    "max_pool 2s1": lambda x: nn.max_pool(x, 2, stride=1),
    "max_pool 3x2": lambda x: nn.max_pool(x, (3, 2)),
    "max_pool 3x2s1x2p1x0": lambda x: nn.max_pool(x, (3, 2), stride=(1, 2), padding=(1, 0)),
    "avg_pool 2": nn.avg_pool,
    "avg_pool 3x2": lambda x: nn.avg_pool(x, [3, 2]),
    "avg_pool 3s2p1": lambda x: nn.avg_pool(x, 3, stride=2, padding=1),
    "avg_pool 3x2s1x2p1x0": lambda x: nn.avg_pool(x, (3, 2), stride=(1, 2), padding=(1, 0)),
    "avg_pool 2p1": lambda x: nn.avg_pool(x, 2, padding=1),
    "adaptive_avg_pool 7x5to3x2": lambda x: nn.adaptive_avg_pool(x, (3, 2)),
    "adaptive_avg_pool 7x5to1x1": lambda x: nn.adaptive_avg_pool(x, 1),
    "adaptive_avg_pool 7x5to4x5": lambda x: nn.adaptive_avg_pool(x, [4, 5]),
    "adaptive_max_pool 7x5to3x2": lambda x: nn.adaptive_max_pool(x, (3, 2)),
    "adaptive_max_pool 7x5to1x1": lambda x: nn.adaptive_max_pool(x, 1),
    "adaptive_max_pool 7x5to4x5": lambda x: nn.adaptive_max_pool(x, (4, 5)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", POOLS)
def test_values_and_gradients_are_pytorchs(case):
    arrays = CASES[case]

    @jax.jit
    def both(x):
        outputs, pull = jax.vjp(POOLS[case], x)
        return outputs, pull(2 * outputs)

    outputs, (gradient,) = both(arrays["inputs"])
    compare(case, outputs, arrays["outputs"])
    if "adaptive_max" in case:  # where pixels share the maximum JAX divides the gradient
        compare(case, gradient.sum((1, 2)), arrays["inputs_gradient"].sum((1, 2)))
    else:
        compare(case, gradient, arrays["inputs_gradient"])


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


@pytest.mark.parametrize("options", [{}, {"stride": 1}, {"padding": 1}])
def test_avg_pool_of_integers_and_of_half_precision(options):
    image = jnp.arange(200, 216, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    pooled = nn.avg_pool(image, **options)
    assert pooled.dtype == jnp.float32
    expected = nn.avg_pool(image.astype(jnp.float32), **options)
    np.testing.assert_array_equal(pooled, expected)
    half = nn.avg_pool(image.astype(jnp.bfloat16), **options)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), expected, rtol=0.005)


def test_adaptive_avg_pool_of_integers_and_of_infinity():
    image = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    pooled = nn.adaptive_avg_pool(image, 2)
    assert pooled.dtype == jnp.float32
    assert pooled.ravel().tolist() == [2.5, 4.5, 10.5, 12.5]
    image = jnp.ones((1, 4, 4, 1), jnp.bfloat16).at[0, 0, 0, 0].set(jnp.inf)
    pooled = nn.adaptive_avg_pool(image, 2)
    assert pooled.dtype == jnp.bfloat16
    assert pooled.ravel().tolist() == [np.inf, 1.0, 1.0, 1.0]  # as PyTorch


def test_adaptive_max_pool_sends_each_gradient_to_a_maximum():
    x = np.random.default_rng(0).permutation(70).reshape(1, 7, 5, 2).astype(np.float32)
    gradient = jax.grad(lambda x: nn.adaptive_max_pool(x, (3, 2)).sum())(x)
    for channel in range(2):
        places = np.flatnonzero(np.asarray(gradient[..., channel]))
        outputs = np.unique(np.asarray(nn.adaptive_max_pool(x, (3, 2)))[..., channel])
        assert sorted(x[..., channel].ravel()[places]) == sorted(outputs)


@pytest.mark.parametrize("pool", [nn.max_pool, nn.avg_pool])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": (2, 0)}, "window must be at least 1, got 0"),
        ({"window": (2, 2, 2)}, r"window must be an integer or a pair .* got \(2, 2, 2\)"),
        ({"window": 2.0}, "window must be an integer, got 2.0"),
        ({"window": (5, 4)}, r"pooling over 5x4 pixels .*got images of 4x4"),
        ({"stride": -1}, "stride must be at least 1, got -1"),
        ({"stride": (1, 1.5)}, "stride must be an integer, got 1.5"),
        ({"padding": 2}, r"padding must lie in 0 to 1 \(window / 2\), got 2"),
        ({"padding": (0, -1)}, "padding must be at least 0, got -1"),
        ({"window": (4, 2), "padding": 2}, r"padding must lie in 0 to 1 .* got 2"),
    ],
)
def test_options_out_of_range_are_refused(pool, options, message):
    with pytest.raises(ValueError, match=message):
        pool(IMAGE, **options)


@pytest.mark.parametrize(
    "pool",
    [
        nn.max_pool,
        nn.avg_pool,
        lambda x: nn.adaptive_avg_pool(x, 2),
        lambda x: nn.adaptive_max_pool(x, 2),
    ],
)
def test_images_without_a_batch_are_refused(pool):
    with pytest.raises(ValueError, match=r"inputs must have shape \(B, H, W, C\), got \(4, 4, 2\)"):
        pool(IMAGE[0])


@pytest.mark.parametrize("pool", [nn.adaptive_avg_pool, nn.adaptive_max_pool])
@pytest.mark.parametrize(
    ("output_size", "message"),
    [
        (0, "output_size must be at least 1, got 0"),
        ((2, 2, 2), "output_size must be an integer or a pair"),
        (2.5, "output_size must be an integer, got 2.5"),
    ],
)
def test_adaptive_pools_refuse(pool, output_size, message):
    with pytest.raises(ValueError, match=message):
        pool(IMAGE, output_size)
