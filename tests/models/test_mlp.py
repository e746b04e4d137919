"""MLP: what it computes, dropout, output activation."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
from helpers.small_models import dense, draw, draw_variables

from jaxdl import models, nn


def test_mlp_computes_dense_relu_dense():
    model, x = models.MLP((6, 5, 3)), draw(4, 2, 2, 1)
    params = draw_variables(model, x)["params"]
    hidden = np.maximum(dense(params["Dense_0"], x.reshape(4, 4)), 0)
    hidden = np.maximum(dense(params["Dense_1"], hidden), 0)
    expected = dense(params["Dense_2"], hidden)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, x), expected, rtol=1e-5, atol=1e-6
    )


def test_mlp_dropout_drops_its_fraction_and_scales_the_rest():
    model = models.MLP((2000, 1), dropout_rate=0.25)
    params = {
        "Dense_0": {"kernel": jnp.zeros((1, 2000)), "bias": jnp.ones(2000)},
        "Dense_1": {"kernel": jnp.ones((2000, 1)), "bias": jnp.zeros(1)},
    }
    outputs = model.apply(
        {"params": params}, jnp.zeros((50, 1)), train=True, rngs={"dropout": jax.random.key(0)}
    )
    kept = np.asarray(outputs) * 0.75
    np.testing.assert_allclose(kept, kept.round(), atol=1e-2)  # each unit counts 0 or 1/0.75
    assert abs(kept.mean() - 1500) < 4 * np.sqrt(2000 * 0.25 * 0.75 / 50)


def test_sequential_and_a_class_compute_the_same_mlp():
    """Three routes to one network; the reshape is a function in the sequence."""
    x = draw(3, 4, 5)
    sequence = linen.Sequential(
        [lambda x: x.reshape(x.shape[0], -1), nn.Dense(6), linen.relu, nn.Dense(2)]
    )
    params = draw_variables(sequence, x)["params"]
    assert list(params) == ["layers_1", "layers_3"]
    renamed = {"Dense_0": params["layers_1"], "Dense_1": params["layers_3"]}
    by_hand = dense(renamed["Dense_1"], np.maximum(dense(renamed["Dense_0"], x.reshape(3, 20)), 0))
    for outputs in (
        sequence.apply({"params": params}, x),
        models.MLP((6, 2)).apply({"params": renamed}, x),
    ):
        np.testing.assert_allclose(outputs, by_hand, rtol=1e-5, atol=1e-6)


def test_output_activation_comes_last():
    x = draw(3, 5)
    model = models.MLP((4, 1), linen.sigmoid)
    params = draw_variables(model, x)["params"]
    probabilities = model.clone(output_activation=linen.sigmoid).apply({"params": params}, x)
    logits = model.apply({"params": params}, x)
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), rtol=1e-6)
