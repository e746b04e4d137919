"""Dense and bilinear layers: Linen's parameters, PyTorch's numbers, gradients, wrong input."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl import nn, tree
from jaxdl.nn import Bilinear, bilinear_pool

CASES = read_cases("embedding")


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def draw_like(abstract):
    """Parameters of the right shapes, without compiling an initializer."""
    return jax.tree.map(lambda leaf: draw(*leaf.shape), abstract)


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


def test_kernel_and_bias_start_between_the_bounds_of_pytorch():
    params = jax.jit(nn.Dense(400).init)(jax.random.key(0), jnp.zeros((1, 16)))["params"]
    for values in params.values():
        assert 0.97 / 4 < jnp.abs(values).max() <= 1 / 4


def test_dtype_of_the_computation_leaves_the_parameters_in_float32():
    layer, inputs = nn.Dense(3), draw(2, 4, 4, 4)
    half = layer.clone(dtype=jnp.bfloat16)
    variables = draw_like(jax.eval_shape(half.init, jax.random.key(0), inputs))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = jax.jit(half.apply)(variables, inputs)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        outputs.astype(jnp.float32), jax.jit(layer.apply)(variables, inputs), rtol=0.05, atol=0.1
    )


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Dense(0), (1, 2), "features must be at least 1, got 0"),
        (nn.Dense(2.5), (1, 2), "features must be an integer, got 2.5"),
        (nn.Dense(2), (1, 0), "input_features must be at least 1"),
    ],
)
def test_dense_refuses(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.init(jax.random.key(0), jnp.zeros(shape))


def test_bilinear_values_and_gradients_are_pytorchs():
    arrays = CASES["bilinear"]

    def apply(kernel, bias, x1, x2):
        return Bilinear(6).apply({"params": {"kernel": kernel, "bias": bias}}, x1, x2)

    names = ("kernel", "bias", "x1", "x2")
    outputs, pull_back = jax.vjp(apply, *(arrays[name] for name in names))
    compare("bilinear", outputs, arrays["outputs"])
    expected = tuple(arrays[f"{name}_gradient"] for name in names)
    compare("bilinear, gradients", pull_back(2 * outputs), expected)


@pytest.mark.slow
def test_bilinear_by_hand():
    kernel = jnp.array([[[1.0, 0.0], [2.0, 1.0]], [[0.0, 3.0], [0.0, 0.0]]])  # W[i, j, k]
    params = {"kernel": kernel, "bias": jnp.array([10.0, 20.0])}
    y = Bilinear(2).apply({"params": params}, jnp.array([[2.0, 5.0]]), jnp.array([[1.0, 3.0]]))
    # y0 = 2·1·1 + 2·3·2 + 10, y1 = 2·3·1 + 5·1·3 + 20
    np.testing.assert_array_equal(y, [[24.0, 41.0]])


def test_bilinear_starts_uniform_within_one_over_the_root_of_the_first_size():
    params = Bilinear(30).init(jax.random.key(0), draw(1, 25), draw(1, 4))["params"]
    for leaf in params.values():
        assert np.abs(leaf).max() <= 0.2
    np.testing.assert_allclose(params["kernel"].std(), 0.2 / np.sqrt(3), rtol=0.05)
    assert params["bias"].std() > 0.05


def test_bilinear_without_bias_and_in_other_dtypes():
    y, variables = Bilinear(2, use_bias=False, dtype=jnp.bfloat16).init_with_output(
        jax.random.key(0), draw(3, 2, 4), draw(3, 2, 5)
    )
    assert y.dtype == jnp.bfloat16
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (4, 5, 2)}}


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        ((2, 3), (4, 3), r"x2 must have shape \(2, any\), got \(4, 3\)"),
        ((2, 3), (2, 5, 3), r"x2 must have shape \(2, any\), got \(2, 5, 3\)"),
    ],
)
def test_bilinear_refuses_inputs_that_do_not_pair(x1, x2, message):
    with pytest.raises(ValueError, match=message):
        Bilinear(2).init(jax.random.key(0), jnp.zeros(x1), jnp.zeros(x2))


def test_poolings_values_and_gradients_are_pytorchs():
    arrays = CASES["bilinear pooling"]
    pooled, pull_back = jax.vjp(bilinear_pool, arrays["maps"])
    compare("bilinear pooling", pooled, arrays["outputs"])
    compare("bilinear pooling, gradients", pull_back(arrays["weight"])[0], arrays["gradient"])


def test_pooling_by_hand():
    maps = jnp.array([[[[2.0, 0.0]], [[0.0, -4.0]]], [[[2.0, 2.0]], [[2.0, -2.0]]]])
    # products / 2: [[2, 0], [0, 8]] and [[4, 0], [0, 4]]; roots and length 1
    expected = [[1 / np.sqrt(5), 0, 0, 2 / np.sqrt(5)], [np.sqrt(0.5), 0, 0, np.sqrt(0.5)]]
    np.testing.assert_allclose(bilinear_pool(maps), expected, atol=1e-5)


def test_pooling_gives_unit_vectors_whatever_the_scale_and_the_order_of_the_pixels():
    maps = draw(3, 4, 5, 6)
    pooled = bilinear_pool(maps)
    np.testing.assert_allclose(jnp.linalg.norm(pooled, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(pooled, bilinear_pool(maps[:, ::-1, ::-1]), atol=1e-6)
    np.testing.assert_allclose(bilinear_pool(100 * maps), bilinear_pool(10 * maps), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_pooling_of_zeros_is_zero_with_a_finite_gradient(dtype):
    zeros = jnp.zeros((1, 2, 2, 3), dtype)
    assert bilinear_pool(zeros).dtype == dtype
    np.testing.assert_array_equal(bilinear_pool(zeros), np.zeros((1, 9)))
    assert jnp.isfinite(jax.grad(lambda x: bilinear_pool(x).sum())(zeros)).all()


@pytest.mark.slow
def test_check_grads_of_both():
    x1, x2 = draw(2, 3), draw(2, 4)
    variables = Bilinear(2).init(jax.random.key(0), x1, x2)
    check_grads(jax.jit(Bilinear(2).apply), (variables, x1, x2), order=1)
    check_grads(jax.jit(bilinear_pool), (2 + draw(1, 2, 2, 2),), order=1)


def test_pooling_refuses_another_rank():
    with pytest.raises(ValueError, match=r"maps must have shape \(B, H, W, C\), got \(3, 4, 5\)"):
        bilinear_pool(jnp.zeros((3, 4, 5)))
