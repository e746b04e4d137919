"""Models: sizes, what they compute, dropout, batch statistics without padding, bad input."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import SMALL, convolve, dense, draw, draw_variables, pool, quick_jit

from jaxdl import models, tree
from jaxdl.models import tutorial
from jaxdl.models.convnet import StridedConvNet


def normalise(params, x, mean, var):
    x = (x - mean) / np.sqrt(var + 1e-5)
    return np.maximum(x * np.asarray(params["scale"]) + np.asarray(params["bias"]), 0)


def channels_first(maps):
    """Flattened in PyTorch's order."""
    return np.asarray(maps).transpose(0, 3, 1, 2).reshape(maps.shape[0], -1)


@pytest.mark.parametrize(
    ("model", "shape", "params", "statistics"),
    [
        (models.MLP(), (28, 28), 669_706, 0),
        (models.MLP((32, 10)), (8, 8, 1), 64 * 32 + 32 + 330, 0),
        (models.MLP((30, 20, 3)), (50,), 2_213, 0),
        (models.MLP((30, 20, 2)), (2,), 752, 0),
        (models.MLP((3,)), (50,), 153, 0),
        (models.MLP((128, 3)), (50,), 6_915, 0),
        (models.MLP((256, 10)), (20,), 7_946, 0),
        (models.MLP((64, 32, 16)), (20,), 3_952, 0),
        (models.MLP((1024, 1024, 20), jnp.tanh), (100,), 1_173_524, 0),
        (models.MLP((256, 256, 2)), (512,), 197_634, 0),
        (models.MLP((3, 1), linen.sigmoid), (5,), 22, 0),
        (tutorial.FixedWeightMLP(), (20,), 420, 0),
        (tutorial.NestedMLP(), (20,), 3_952 + 340 + 420, 0),
        (models.LeNet5(), (28, 28, 1), 61_706, 0),
        (models.LeNetMaxPool(), (32, 32, 1), 61_706, 0),
        (models.LeNetMaxPool(hidden=(120, 84)), (32, 32, 3), 62_006, 0),
        (models.ConvNet(), (28, 28, 1), 30_762, 0),
        # 9·(1·32 + 32·64 + 64·128) kernels, 2·224 scales and biases, 1,152·10 + 10 at the end
        (models.CNN(), (28, 28, 1), 104_426, 448),
        (models.CNN(5, features=(4,)), (8, 8, 3), 9 * 3 * 4 + 8 + 64 * 5 + 5, 8),
        (models.MnistCNN(), (28, 28, 1), 1_199_882, 0),
        (models.BatchNormConvNet(), (28, 28, 1), 29_034, 96),
        (models.BatchNormConvNet(512, (64,), 3), (28, 28, 3), 6_424_960, 128),
        (StridedConvNet(), (28, 28, 1), 3_720, 40),
        (models.Autoencoder(shape=(784,)), (784,), 965_604, 0),
        (models.VAE(), (28, 28, 1), 652_824, 0),
        # 320 + 18,496 + 2·62,740 + 65,856 + 32,800 + 513
        (models.ConvVAE(), (28, 28, 1), 243_465, 0),
        (models.ResNet18(), (224, 224, 3), 11_689_512, 9_600),
        (models.ResNet18(10), (224, 224, 3), 11_181_642, 9_600),
        (models.ResNet18(10, stem="cifar"), (32, 32, 3), 11_173_962, 9_600),
        (models.ResNet34(), (224, 224, 3), 21_797_672, 17_024),
        (models.ResNet50(), (224, 224, 3), 25_557_032, 53_120),
        (models.ResNet152(), (224, 224, 3), 60_192_808, 151_424),
        (models.VGG11(), (224, 224, 3), 132_863_336, 0),
        (models.VGG11(batch_norm=True), (224, 224, 3), 132_868_840, 5_504),
        (models.VGG16(), (224, 224, 3), 138_357_544, 0),
        (models.VGG16(batch_norm=True), (224, 224, 3), 138_365_992, 8_448),
        (models.VisionTransformer(), (224, 224, 3), 86_567_656, 0),
    ],
)
def test_number_of_parameters(model, shape, params, statistics):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert tree.count(variables["params"]) == params
    assert tree.count(variables.get("batch_stats", {})) == statistics


@pytest.mark.parametrize(
    ("model", "shape", "params"),
    [
        (models.LeNet5(), (28, 28, 1), [156, 2_416, 48_120, 10_164, 850]),
        (models.ConvNet(), (28, 28, 1), [160, 4_640, 25_632, 330]),
    ],
)
def test_number_of_parameters_of_each_layer(model, shape, params):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    layers = variables["params"]
    assert [tree.count(layer) for layer in layers.values()] == params
    assert len(jax.tree.leaves(layers)) == 2 * len(params)


def test_mlp_computes_dense_relu_dense():
    model, x = models.MLP((6, 5, 3)), draw(4, 2, 2, 1)
    params = draw_variables(model, x)["params"]
    hidden = np.maximum(dense(params["Dense_0"], x.reshape(4, 4)), 0)
    hidden = np.maximum(dense(params["Dense_1"], hidden), 0)
    expected = dense(params["Dense_2"], hidden)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": params}, x), expected, rtol=1e-5, atol=1e-6
    )


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


@pytest.fixture(scope="module")
def cnn():
    model, x = models.CNN(3, features=(4,), dropout_rate=0.0), draw(6, 4, 4, 2)
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    variables = {"params": draw_variables(model, x)["params"], "batch_stats": statistics}
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
    expected = dense(params["Dense_0"], channels_first(hidden))
    logits = jax.jit(model.apply)({"params": params, "batch_stats": statistics}, x)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


def test_cnn_in_training_normalises_by_the_batch_and_moves_a_tenth_towards_it(cnn):
    _, variables, x, train = cnn
    params = variables["params"]
    maps = np.asarray(pool(convolve(params["Conv_0"], x, "SAME")))
    mean, var = maps.mean(axis=(0, 1, 2)), maps.var(axis=(0, 1, 2))
    logits, updated = train(x, None)
    hidden = normalise(params["BatchNorm_0"], maps, mean, var)
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


@pytest.mark.parametrize(
    "model",
    [
        models.ResNet((1,), models.resnet.BasicBlock, 3, stem="cifar", width=4),
        models.BatchNormConvNet(3, (4,), 3),
        StridedConvNet(3),
        models.VGG((1,), 3, True, 4, 8, dropout_rate=0.0),
    ],
    ids=["ResNet", "BatchNormConvNet", "StridedConvNet", "VGG"],
)
def test_padding_stays_out_of_the_batch_statistics(model):
    x = draw(4, 11, 11, 1)
    variables = draw_variables(model, x)
    padded, mask = x.at[3:].set(1e3), jnp.array([1.0, 1, 1, 0])

    @quick_jit
    def compute(variables):
        options = {"train": True, "mutable": "batch_stats"}
        return model.apply(variables, padded, mask=mask, **options), model.apply(
            variables, x[:3], **options
        )

    (logits, updated), (expected, updated_slice) = compute(variables)
    np.testing.assert_allclose(logits[:3], expected, rtol=0, atol=1e-5 * abs(expected).max())
    assert max(tree.max_difference(updated, updated_slice).values()) < 1e-5


DROPOUT = {
    "ConvNet": models.ConvNet(dropout_rate=0.5),
    "CNN": models.CNN(features=(4,)),
    "MLP": models.MLP((9, 9), dropout_rate=0.5),
    "MnistCNN, maps": models.MnistCNN(dropout_rates=(0.5, 0.0), features=(3, 4), hidden=8),
    "MnistCNN, hidden": models.MnistCNN(dropout_rates=(0.0, 0.5), features=(3, 4), hidden=8),
    "VGG": models.VGG((1,), width=4, hidden=16),
    "VisionTransformer": models.VisionTransformer(9, 5, 8, 1, 2, 8, dropout_rate=0.5),
}


@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_is_on_in_training_only(name):
    model, x = DROPOUT[name], draw(2, 10, 10, 1)
    variables = draw_variables(model, x)

    @quick_jit
    def outputs(variables):
        def train(seed):
            rngs = {"dropout": jax.random.key(seed)}
            return model.apply(variables, x, train=True, rngs=rngs, mutable="batch_stats")[0]

        same = model.apply(variables, x, train=False, rngs={"dropout": jax.random.key(1)})
        return jax.vmap(train)(jnp.array([0, 0, 1])), model.apply(variables, x), same

    (first, again, other), evaluated, same = outputs(variables)
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


@pytest.mark.parametrize("name", SMALL)
def test_dtype_of_the_computation_leaves_parameters_and_statistics_in_float32(name):
    model, x = SMALL[name].clone(dtype=jnp.bfloat16), jnp.zeros((2, 12, 12, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = jax.eval_shape(model.apply, variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.bfloat16)}


# Bad input


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (models.ConvNet(), 9),
        (models.CNN(), 7),
        (models.CNN(), 4),
        (models.LeNet5(), 8),
        (models.MnistCNN(), 5),
        (StridedConvNet(), 8),
        (models.VGG11(), 31),
    ],
)
def test_images_that_are_too_small_are_refused(model, size):
    with pytest.raises(ValueError, match="the images are too small for this model"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))


@pytest.mark.parametrize("make", [models.ConvNet, models.CNN, models.MLP, models.VGG11])
def test_a_dropout_rate_that_is_no_fraction_is_refused(make):
    with pytest.raises(ValueError, match=r"dropout_rate must lie in 0 to 1, got 1\.5"):
        jax.eval_shape(make(dropout_rate=1.5).init, jax.random.key(0), jnp.zeros((1, 10, 10, 1)))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (models.LeNet5(pool="mean"), (28, 28, 1), r'pool must be "avg" or "max", got \'mean\''),
        (models.ResNet18(stem="small"), (32, 32, 3), r"stem must be .*, got \'small\'"),
        (models.VAE(), (28, 27, 1), r"x must have shape \(B, 28, 28, 1\), got \(1, 28, 27, 1\)"),
        (models.Autoencoder(), (784,), r"x must have shape \(B, 28, 28, 1\), got \(1, 784\)"),
        (
            models.ConvVAE(shape=(30, 28, 1)),
            (30, 28, 1),
            "multiples of 4, got 30x28; pad or resize",
        ),
        (models.VisionTransformer(), (224, 230, 3), "multiples of patch_size 16, got 224x230"),
        (
            models.VisionTransformer(num_heads=7),
            (32, 32, 3),
            "multiple of num_heads, got 768 and 7",
        ),
        (tutorial.FixedWeightMLP(), (19,), r"x must have shape \(B, 20\), got \(1, 19\)"),
    ],
)
def test_what_does_not_fit_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
