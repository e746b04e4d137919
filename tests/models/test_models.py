"""All model families: sizes, intermediates, initial weights, dropout, dtypes, wrong input."""

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import SMALL, dense, draw, draw_variables, intermediates

from jaxdl import models, nn, tree
from jaxdl.interop import params_from_torch
from jaxdl.models import tutorial
from jaxdl.models.convnet import StridedConvNet
from jaxdl.nn import initializers


@pytest.mark.slow
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


@pytest.mark.slow
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

    @jax.jit
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


@pytest.mark.slow
@pytest.mark.parametrize("name", DROPOUT)
def test_dropout_is_on_in_training_only(name):
    model, x = DROPOUT[name], draw(2, 10, 10, 1)
    variables = draw_variables(model, x)

    @jax.jit
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


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_dtype_of_the_computation_leaves_parameters_and_statistics_in_float32(name):
    model, x = SMALL[name].clone(dtype=jnp.bfloat16), jnp.zeros((2, 12, 12, 1))
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = jax.eval_shape(model.apply, variables, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.bfloat16)}


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("MLP", "Dense_1"),
        ("LeNet5", "fc3"),
        ("ConvNet", "Dense_1"),
        ("CNN", "Dense_0"),
        ("MnistCNN", "fc2"),
        ("BatchNormConvNet", "fc"),
        ("StridedConvNet", "fc"),
        ("ResNet", "fc"),
        ("VGG", "classifier_6"),
        ("VisionTransformer", "heads_head"),
        ("RecurrentClassifier", "Dense_1"),
        ("EmbeddingClassifier", "Dense_1"),
    ],
)
def test_embed_is_what_the_last_layer_sees(name, last):
    model, x = {
        "RecurrentClassifier": (models.RecurrentClassifier(4, "gru", 5, 6), draw(2, 3, 4)),
        "EmbeddingClassifier": (
            models.EmbeddingClassifier(9, 4, 5, (6,)),
            jnp.array([[1, 8, 0], [2, 0, 0]]),
        ),
    }.get(name) or (SMALL[name], draw(2, 12, 12, 1))
    variables = draw_variables(model, x)
    logits, found = intermediates(model, variables, x)
    assert found["embed"].ndim == 2
    expected = dense(variables["params"][last], found["embed"])
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    # asking for intermediates computes whole maps where the call pools at once: the same numbers
    np.testing.assert_allclose(
        logits, jax.jit(model.apply)(variables, x), rtol=1e-4, atol=1e-5 * abs(logits).max()
    )


def test_a_layer_that_puts_out_several_arrays():
    class Twice(linen.Module):
        @linen.compact
        def __call__(self, x):
            lstm = nn.LSTM(3)
            outputs, (hidden, cell) = lstm(x)
            lstm(-x)
            self.sow("intermediates", "both", {"a": outputs, "b": cell})
            return outputs, hidden, cell

    model, x = Twice(), draw(2, 4, 3)
    variables = draw_variables(model, x)
    outputs, hidden, cell = jax.jit(model.apply)(variables, x)
    expected = {"LSTM_0": outputs, "LSTM_0/1/0": hidden, "LSTM_0/1/1": cell}
    expected |= {"both/a": outputs, "both/b": cell}
    expected |= {"": outputs, "1": hidden, "2": cell}
    _, found = intermediates(model, variables, x)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_initializers_can_be_chosen():
    x = jnp.zeros((1, 10, 10, 1))
    model = models.ConvNet(
        conv_init=initializers.kaiming_normal("fan_out"),
        dense_init=linen.initializers.normal(0.01),
        bias_init=linen.initializers.zeros,
    )
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    for name, deviation in (
        ("Conv_0", np.sqrt(2 / (16 * 9))),
        ("Conv_1", np.sqrt(2 / (32 * 9))),
        ("Dense_0", 0.01),
        ("Dense_1", 0.01),
    ):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
        assert (bias == 0).all()
    model = models.BatchNormConvNet(
        16,
        (16,),
        3,
        conv_init=initializers.kaiming_normal("fan_out"),
        dense_init=initializers.xavier_normal(),
    )
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    for name, deviation in (("layer1_0", np.sqrt(2 / (16 * 9))), ("fc", np.sqrt(2 / (400 + 16)))):
        kernel = params[name]["kernel"]
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
    assert (params["layer1_1"]["scale"] == 1).all()
    assert (params["layer1_1"]["bias"] == 0).all()


@pytest.mark.slow
def test_vgg_starts_as_torchvisions():
    x = jnp.zeros((1, 8, 8, 3))
    vgg = jax.jit(models.VGG((1,), 4, width=8, hidden=32).init)(jax.random.key(0), x)["params"]
    assert vgg["classifier_0"]["kernel"].std() == pytest.approx(0.01, rel=0.1)
    deviation = np.sqrt(2 / (8 * 9))
    assert vgg["features_0"]["kernel"].std() == pytest.approx(deviation, rel=0.3)
    assert all((layer["bias"] == 0).all() for layer in vgg.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        models.ResNet((1,), models.resnet.BasicBlock, 3, stem="cifar", width=4),
        models.VisionTransformer(3, 4, 8, 1, 2, 8, dropout_rate=0.3),
    ],
    ids=["ResNet", "VisionTransformer"],
)
def test_remat_computes_again_and_changes_no_number(model):
    x = draw(2, 8, 8, 3)
    variables = draw_variables(model, x)

    def gradients(model, variables):
        def objective(params):
            logits, new = model.apply(
                {**variables, "params": params},
                x,
                train=True,
                mutable="batch_stats",
                rngs={"dropout": jax.random.key(0)},
            )
            return (logits**2).sum(), (logits, new)

        return jax.grad(objective, has_aux=True)(variables["params"])

    again = model.clone(remat=True)
    plain, checkpointed = jax.jit(lambda v: (gradients(model, v), gradients(again, v)))(variables)
    differences = tree.max_difference(plain, checkpointed)
    assert max(differences.values()) < 1e-5 * max(
        abs(leaf).max() for leaf in jax.tree.leaves(plain)
    )
    for each, expected in ((model, False), (again, True)):
        jaxpr = jax.make_jaxpr(functools.partial(gradients, each))(variables)
        assert ("checkpoint" in str(jaxpr) or "remat" in str(jaxpr)) is expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "size", "names"),
    [
        (
            models.ResNet18(),
            64,
            {
                "conv1.weight": (64, 3, 7, 7),
                "layer2.0.downsample.0.weight": (128, 64, 1, 1),
                "layer2.0.downsample.1.running_var": (128,),
                "layer4.1.bn2.bias": (512,),
                "fc.weight": (1000, 512),
            },
        ),
        (
            models.VGG16(),
            32,
            {
                "features.0.weight": (64, 3, 3, 3),
                "features.28.bias": (512,),
                "classifier.0.weight": (4096, 25088),
                "classifier.6.bias": (1000,),
            },
        ),
        (
            models.VGG16(batch_norm=True),
            32,
            {"features.41.running_mean": (512,), "features.40.weight": (512, 512, 3, 3)},
        ),
        (
            models.VisionTransformer(),
            224,
            {
                "class_token": (1, 1, 768),
                "conv_proj.weight": (768, 3, 16, 16),
                "encoder.pos_embedding": (1, 197, 768),
                "encoder.layers.encoder_layer_11.ln_2.weight": (768,),
                "encoder.layers.encoder_layer_0.self_attention.in_proj_weight": (2304, 768),
                "encoder.layers.encoder_layer_0.self_attention.out_proj.bias": (768,),
                "encoder.layers.encoder_layer_0.mlp.3.weight": (768, 3072),
                "encoder.ln.bias": (768,),
                "heads.head.weight": (1000, 768),
            },
        ),
    ],
    ids=["ResNet18", "VGG16", "VGG16 with BatchNorm", "ViT-B/16"],
)
def test_torchvisions_names_fit(model, size, names):
    target = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
    with pytest.raises(ValueError, match="does not fit") as error:
        params_from_torch(
            {name: np.zeros(shape, np.float32) for name, shape in names.items()}, target
        )
    assert "unexpected" not in str(error.value)
    assert "shape:" not in str(error.value)
