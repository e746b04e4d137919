"""Models: sizes, what they compute, dropout, batch statistics without padding."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import models, tree

RNG = np.random.default_rng(0)


def draw(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def draw_params(model, x):
    """Parameters of the right shapes, without compiling an initialiser."""
    abstract = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: draw(*leaf.shape) / 4, abstract)


def dense(params, x):
    return np.asarray(x) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def convolve(params, x, padding):
    outputs = jax.lax.conv_general_dilated(
        x, params["kernel"], (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return outputs + params["bias"].reshape(1, 1, 1, -1) if "bias" in params else outputs


def normalise(params, x, mean, var):
    x = (x - mean) / np.sqrt(var + 1e-5)
    return np.maximum(x * np.asarray(params["scale"]) + np.asarray(params["bias"]), 0)


def pool(x):
    return linen.max_pool(x, (2, 2), (2, 2))


@pytest.mark.parametrize(
    ("model", "shape", "params", "statistics"),
    [
        (models.MLP(), (28, 28), 669_706, 0),
        (models.MLP((32, 10)), (8, 8, 1), 64 * 32 + 32 + 330, 0),
        (models.ConvNet(), (28, 28, 1), 30_762, 0),
        # 9·(1·32 + 32·64 + 64·128) kernels, 2·224 scales and biases, 1,152·10 + 10 at the end
        (models.CNN(), (28, 28, 1), 104_426, 448),
        (models.CNN(5, features=(4,)), (8, 8, 3), 9 * 3 * 4 + 8 + 64 * 5 + 5, 8),
    ],
)
def test_number_of_parameters(model, shape, params, statistics):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert tree.count(variables["params"]) == params
    assert tree.count(variables.get("batch_stats", {})) == statistics


def test_mlp_computes_dense_relu_dense():
    model, x = models.MLP((6, 5, 3)), draw(4, 2, 2, 1)
    params = draw_params(model, x)
    hidden = np.maximum(dense(params["Dense_0"], x.reshape(4, 4)), 0)
    hidden = np.maximum(dense(params["Dense_1"], hidden), 0)
    expected = dense(params["Dense_2"], hidden)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, x), expected, rtol=1e-5, atol=1e-6
    )


def test_convnet_computes_its_five_stages():
    model, x = models.ConvNet(7), draw(2, 12, 11, 2)
    params = draw_params(model, x)
    maps = pool(jax.nn.relu(convolve(params["Conv_0"], x, "VALID")))
    maps = pool(jax.nn.relu(convolve(params["Conv_1"], maps, "VALID")))
    hidden = np.maximum(dense(params["Dense_0"], maps.reshape(2, -1)), 0)
    expected = dense(params["Dense_1"], hidden)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, x), expected, rtol=1e-4, atol=1e-5
    )


@pytest.fixture(scope="module")
def cnn():
    model, x = models.CNN(3, features=(4,), dropout_rate=0.0), draw(6, 4, 4, 2)
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    variables = {"params": draw_params(model, x), "batch_stats": statistics}
    train = jax.jit(
        lambda x, mask: model.apply(variables, x, mask=mask, train=True, mutable="batch_stats")
    )
    return model, variables, x, train


def test_cnn_in_evaluation_normalises_by_the_running_statistics(cnn):
    model, variables, x, _ = cnn
    mean, var = np.asarray(draw(4)), np.exp(draw(4))
    statistics = {"BatchNorm_0": {"mean": mean, "var": var}}
    params = variables["params"]
    maps = np.asarray(pool(convolve(params["Conv_0"], x, "SAME")))
    hidden = normalise(params["BatchNorm_0"], maps, mean, var)
    expected = dense(params["Dense_0"], hidden.reshape(6, -1))
    logits = jax.jit(model.apply)({"params": params, "batch_stats": statistics}, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_cnn_in_training_normalises_by_the_batch_and_moves_a_tenth_towards_it(cnn):
    _, variables, x, train = cnn
    params = variables["params"]
    maps = np.asarray(pool(convolve(params["Conv_0"], x, "SAME")))
    mean, var = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    logits, updated = train(x, None)
    hidden = normalise(params["BatchNorm_0"], maps, mean, var)
    expected = dense(params["Dense_0"], hidden.reshape(6, -1))
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    statistics = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * var, rtol=1e-4)


def test_cnn_under_a_mask_equals_the_slice(cnn):
    _, _, x, train = cnn
    logits, updated = train(x.at[4:].set(1e3), jnp.array([1.0, 1, 1, 1, 0, 0]))
    expected, updated_slice = train(x[:4], None)
    np.testing.assert_allclose(logits[:4], expected, rtol=1e-4, atol=1e-5)
    differences = tree.max_difference(updated, updated_slice)
    assert max(differences.values()) < 1e-6


@pytest.mark.parametrize(
    "model",
    [
        models.ConvNet(dropout_rate=0.5),
        models.CNN(features=(4,)),
        models.MLP((9, 9), dropout_rate=0.5),
    ],
    ids=["ConvNet", "CNN", "MLP"],
)
def test_dropout_is_on_in_training_only(model):
    x = draw(2, 10, 10, 1)

    variables = {"params": draw_params(model, x)}
    if isinstance(model, models.CNN):
        statistics = {"mean": jnp.zeros(4), "var": jnp.ones(4)}
        variables["batch_stats"] = {"BatchNorm_0": statistics}

    @jax.jit
    def outputs():
        def train(seed):
            rngs = {"dropout": jax.random.key(seed)}
            return model.apply(variables, x, train=True, rngs=rngs, mutable="batch_stats")[0]

        same = model.apply(variables, x, train=False, rngs={"dropout": jax.random.key(1)})
        return jax.vmap(train)(jnp.array([0, 0, 1])), model.apply(variables, x), same

    (first, again, other), evaluated, same = outputs()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=1).all()
    np.testing.assert_array_equal(evaluated, same)


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


@pytest.mark.parametrize("make", [models.ConvNet, models.CNN, models.MLP])
def test_dtype_of_the_computation_leaves_parameters_and_statistics_in_float32(make):
    model = make(dtype=jnp.bfloat16)
    x = jnp.zeros((2, 10, 10, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert jax.eval_shape(model.apply, variables, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("model", "size"), [(models.ConvNet(), 9), (models.CNN(), 7), (models.CNN(), 4)]
)
def test_images_that_are_too_small_are_refused(model, size):
    with pytest.raises(ValueError, match="the images are too small for this model"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))


@pytest.mark.parametrize("make", [models.ConvNet, models.CNN, models.MLP])
def test_a_dropout_rate_that_is_no_fraction_is_refused(make):
    with pytest.raises(ValueError, match=r"dropout_rate must lie in 0 to 1, got 1\.5"):
        jax.eval_shape(make(dropout_rate=1.5).init, jax.random.key(0), jnp.zeros((1, 10, 10, 1)))
