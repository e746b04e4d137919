"""Quantized, cast and pruned weights: the numbers by hand, bounds, files, and the whole network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import interop, models, tree
from jaxdl.export import quantization

KERNEL = jnp.array([[1.27, -0.5, 0.0], [-0.634, 0.005, 0.0]])


@pytest.fixture(scope="module")
def cnn():
    """A small CNN with statistics that are not those it starts with, its inputs and outputs."""
    model = models.CNN(10, features=(4,))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 8, 8, 1)), jnp.float32)
    variables = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), x)
    mean = jax.tree.map(lambda leaf: leaf + 0.1, variables["batch_stats"])
    return model, {**variables, "batch_stats": mean}, x


def test_int8_by_hand():
    small = quantization.quantize({"kernel": KERNEL})["kernel"]
    np.testing.assert_array_equal(small.values, [[127, -127, 0], [-63, 1, 0]])
    np.testing.assert_allclose(small.scale, [[0.01, 0.5 / 127, np.finfo(np.float32).tiny]], 1e-6)
    assert (small.values.dtype, small.scale.dtype) == (np.int8, np.float32)
    wide = quantization.dequantize({"kernel": small})["kernel"]
    np.testing.assert_allclose(wide, [[1.27, -0.5, 0], [-0.63, 0.5 / 127, 0]], 1e-6)


def test_the_channel_is_the_last_axis_and_the_entry_of_an_embedding():
    rows = jnp.array([[1.0, 2.0, 4.0], [0.1, 0.2, 0.3]])
    small = quantization.quantize(
        {"embedding": rows, "kernel": rows, "bias": rows[0], "table": rows}
    )
    np.testing.assert_allclose(small["embedding"].scale, np.array([[4.0], [0.3]]) / 127, 1e-6)
    np.testing.assert_allclose(small["kernel"].scale, np.array([[1.0, 2.0, 4.0]]) / 127, 1e-6)
    assert small["bias"] is rows[0] or small["bias"].shape == (3,)
    assert not isinstance(small["table"], quantization.Quantized)
    convolution = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 2, 5)), jnp.float32)
    scale = quantization.quantize({"kernel": convolution})["kernel"].scale
    np.testing.assert_allclose(scale.ravel(), np.abs(convolution).max((0, 1, 2)) / 127, 1e-6)


def test_a_weight_moves_by_half_a_step_at_most_and_the_largest_not_at_all():
    kernel = jnp.asarray(np.random.default_rng(1).standard_t(2, size=(200, 30)), jnp.float32)
    small = quantization.quantize({"kernel": kernel})
    error = np.abs(quantization.dequantize(small)["kernel"] - kernel)
    assert (error <= np.asarray(small["kernel"].scale) * 0.5001).all()
    assert (np.abs(small["kernel"].values).max(0) == 127).all()
    again = quantization.quantize(quantization.dequantize(small))
    np.testing.assert_array_equal(again["kernel"].values, small["kernel"].values)


def test_half_precision_comes_back_in_its_dtype():
    small = quantization.quantize({"kernel": KERNEL.astype(jnp.bfloat16)})
    assert quantization.dequantize(small)["kernel"].dtype == jnp.bfloat16
    with pytest.raises(ValueError, match="kernel was bfloat16; quantize float32 weights"):
        quantization.to_arrays(small)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_cannot_be_quantized(bad):
    with pytest.raises(ValueError, match="fc/kernel holds NaN or infinity"):
        quantization.quantize({"fc": {"kernel": KERNEL.at[0, 0].set(bad)}})
    with pytest.raises(ValueError, match="pattern 'weight' matches no parameter"):
        quantization.quantize({"kernel": KERNEL}, "weight")


@pytest.mark.slow
def test_a_quantized_network_is_saved_loaded_and_runs_compiled_from_int8(cnn, tmp_path):
    model, variables, x = cnn
    small = quantization.quantize(variables)
    interop.write_safetensors(tmp_path / "small", quantization.to_arrays(small))
    found = quantization.from_arrays(interop.read_weights(tmp_path / "small"))
    assert jax.tree.structure(found) == jax.tree.structure(jax.tree.map(lambda leaf: leaf, small))
    assert not any(tree.max_difference(found, small).values())
    arrays = interop.read_weights(tmp_path / "small")
    assert arrays["params/Conv_0/kernel/int8"].dtype == np.int8
    assert arrays["params/Conv_0/kernel/int8_scale"].shape == (1, 1, 1, 4)
    apply = jax.jit(lambda v, x: model.apply(quantization.dequantize(v), x, train=False))
    expected = apply(variables, x)
    np.testing.assert_allclose(apply(found, x), expected, atol=0.02 * float(abs(expected).max()))
    assert np.abs(apply(found, x) - expected).max() > 0
    # of its arguments and constants nothing is larger than the int8 weights
    compiled = apply.lower(found, x).compile().memory_analysis()
    assert compiled.argument_size_in_bytes < tree.num_bytes(found) + x.nbytes + 64 * 30


def test_arrays_that_are_no_quantized_weights_are_refused():
    values, scale = np.ones((2, 3), np.int8), np.ones((1, 3), np.float32)
    for bad, words in (
        ({"k/int8": values}, "got int8.2, 3. and nothing"),
        ({"k/int8": values, "k/int8_scale": scale.astype(np.float64)}, "float64.1, 3."),
        ({"k/int8": values.astype(np.uint8), "k/int8_scale": scale}, "got uint8"),
        ({"k/int8": values, "k/int8_scale": np.ones((2, 2), np.float32)}, "float32.2, 2."),
        ({"k/int8": values, "k/int8_scale": np.ones(3, np.float32)}, "float32.3."),
    ):
        with pytest.raises(ValueError, match=f"k must be int8 .*{words}"):
            quantization.from_arrays(bad)


def test_a_cast_spares_statistics_and_integers_and_refuses_what_overflows(cnn):
    _, variables, _ = cnn
    variables = {**variables, "counts": {"n": jnp.array([3], jnp.int32)}}
    small = quantization.cast(variables, jnp.bfloat16)
    dtypes = {name: leaf.dtype for name, leaf in tree.named_leaves(small).items()}
    assert {d for n, d in dtypes.items() if n.startswith("params/")} == {jnp.dtype("bfloat16")}
    assert {d for n, d in dtypes.items() if n.startswith("batch_stats/")} == {jnp.dtype("float32")}
    assert dtypes["counts/n"] == jnp.int32
    every = quantization.cast(variables, jnp.float16, statistics=True)
    assert every["batch_stats"]["BatchNorm_0"]["mean"].dtype == jnp.float16
    with pytest.raises(
        ValueError, match=r"params/fc holds 7e.04, which exceeds the maximum of float16, 6.55e.04"
    ):
        quantization.cast({"params": {"fc": jnp.array([-7e4, 1.0])}}, jnp.float16)
    assert np.isinf(quantization.cast({"a": jnp.array([np.inf])}, jnp.float16)["a"][0])


# Pruning

LAYERS = {
    "a": {"kernel": jnp.array([[1.0, -2.0], [3.0, 4.0]]), "bias": jnp.array([0.1, 0.1])},
    "b": {"kernel": jnp.array([[10.0, -0.5], [20.0, 30.0]])},
}


def test_pruning_by_hand():
    pruned, masks = quantization.prune(LAYERS, 0.5)  # of all: -0.5, 1, -2, 3
    np.testing.assert_array_equal(pruned["a"]["kernel"], [[0, 0], [0, 4]])
    np.testing.assert_array_equal(pruned["b"]["kernel"], [[10, 0], [20, 30]])
    np.testing.assert_array_equal(pruned["a"]["bias"], LAYERS["a"]["bias"])
    np.testing.assert_array_equal(masks["b"]["kernel"], [[True, False], [True, True]])
    assert masks["a"]["bias"].all()
    assert quantization.sparsity(pruned) == {"a/kernel": 0.75, "b/kernel": 0.25, "all": 0.5}

    pruned, _ = quantization.prune(LAYERS, 0.5, per_layer=True)
    np.testing.assert_array_equal(pruned["a"]["kernel"], [[0, 0], [3, 4]])
    np.testing.assert_array_equal(pruned["b"]["kernel"], [[0, 0], [20, 30]])
    assert quantization.sparsity(pruned) == {"a/kernel": 0.5, "b/kernel": 0.5, "all": 0.5}


@pytest.mark.parametrize("per_layer", [False, True])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_ties_are_pruned_to_the_very_number(fraction, per_layer):
    layers = {"a": {"kernel": jnp.ones((10, 10))}, "b": {"kernel": jnp.ones((10, 10))}}
    pruned, _ = quantization.prune(layers, fraction, per_layer=per_layer)
    assert quantization.sparsity(pruned)["all"] == fraction


def test_a_mask_keeps_weights_pruned_in_training():
    pruned, masks = quantization.prune(LAYERS, 0.5)
    gradients = jax.tree.map(jnp.multiply, jax.tree.map(jnp.ones_like, pruned), masks)
    trained = jax.tree.map(lambda weight, gradient: weight - 0.1 * gradient, pruned, gradients)
    assert quantization.sparsity(trained)["all"] == 0.5
    assert trained["a"]["kernel"][1, 1] == jnp.float32(3.9)


def test_a_fraction_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match="fraction must lie in 0 to 1, got 50"):
        quantization.prune(LAYERS, 50)
