"""Small convolutional networks: what they compute, batch statistics, masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import convolve, dense, draw, draw_variables, intermediates, pool

from jaxdl import models, tree


def normalize(params, x, mean, var):
    x = (x - mean) / np.sqrt(var + 1e-5)
    return np.maximum(x * np.asarray(params["scale"]) + np.asarray(params["bias"]), 0)


def channels_first(maps):
    """Flattened in PyTorch's order."""
    return np.asarray(maps).transpose(0, 3, 1, 2).reshape(maps.shape[0], -1)


def test_convnet_computes_its_five_stages():
    model, x = models.ConvNet(7), draw(2, 14, 17, 2)
    params = draw_variables(model, x)["params"]
    maps = pool(jax.nn.relu(convolve(params["Conv_0"], x, "VALID")))
    maps = pool(jax.nn.relu(convolve(params["Conv_1"], maps, "VALID")))
    hidden = np.maximum(dense(params["Dense_0"], channels_first(maps)), 0)
    expected = dense(params["Dense_1"], hidden)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, x), expected, rtol=1e-4, atol=1e-5
    )


def test_convnet_keeps_its_three_features():
    model, x = models.ConvNet(), draw(2, 28, 28, 1)
    variables = draw_variables(model, x)
    _, found = intermediates(model, variables, x)
    params = variables["params"]
    feat1 = jax.nn.relu(convolve(params["Conv_0"], x, "VALID"))
    feat2 = jax.nn.relu(convolve(params["Conv_1"], pool(feat1), "VALID"))
    assert feat1.shape == (2, 26, 26, 16)
    assert feat2.shape == (2, 11, 11, 32)
    np.testing.assert_allclose(found["feat1"], feat1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["feat2"], feat2, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["feat3"], found["embed"])
    assert found["feat3"].shape == (2, 32)
    assert found["feat3"].min() == 0


@pytest.fixture(scope="module")
def cnn():
    model, x = models.CNN(3, features=(4,), dropout_rate=0.0), draw(6, 4, 4, 2)
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    variables = {"params": draw_variables(model, x)["params"], "batch_stats": statistics}
    train = jax.jit(
        lambda x, mask: model.apply(variables, x, mask=mask, train=True, mutable="batch_stats")
    )
    return model, variables, x, train


def test_cnn_in_evaluation_normalizes_by_the_running_statistics(cnn):
    model, variables, x, _ = cnn
    mean, var = np.asarray(draw(4)), np.exp(draw(4))
    statistics = {"BatchNorm_0": {"mean": mean, "var": var}}
    params = variables["params"]
    maps = np.asarray(pool(convolve(params["Conv_0"], x, "SAME")))
    hidden = normalize(params["BatchNorm_0"], maps, mean, var)
    expected = dense(params["Dense_0"], channels_first(hidden))
    logits = jax.jit(model.apply)({"params": params, "batch_stats": statistics}, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_cnn_in_training_normalizes_by_the_batch_and_moves_a_tenth_towards_it(cnn):
    _, variables, x, train = cnn
    params = variables["params"]
    maps = np.asarray(pool(convolve(params["Conv_0"], x, "SAME")))
    mean, var = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    logits, updated = train(x, None)
    hidden = normalize(params["BatchNorm_0"], maps, mean, var)
    expected = dense(params["Dense_0"], channels_first(hidden))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    statistics = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    unbiased = var * 24 / 23  # 6 examples of 2x2 pixels
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * unbiased, rtol=1e-4)


def test_cnn_under_a_mask_equals_the_slice(cnn):
    _, _, x, train = cnn
    logits, updated = train(x.at[4:].set(1e3), jnp.array([1.0, 1, 1, 1, 0, 0]))
    expected, updated_slice = train(x[:4], None)
    np.testing.assert_allclose(logits[:4], expected, rtol=1e-4, atol=1e-5)
    differences = tree.max_difference(updated, updated_slice)
    assert max(differences.values()) < 1e-6
