"""Models: intermediates, special networks, their start, gradient checkpointing, names."""

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import SMALL, convolve, dense, draw, draw_variables, pool, quick_jit

from jaxdl import models, nn, tree
from jaxdl.interop import params_from_torch
from jaxdl.models import tutorial
from jaxdl.nn import initializers


def intermediates(model, variables, x):
    """Outputs and all intermediates."""
    found = quick_jit(lambda variables: nn.features(model, variables, x))(variables)
    return found[""], found


# Intermediates


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
        logits, quick_jit(model.apply)(variables, x), rtol=1e-4, atol=1e-5 * abs(logits).max()
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
    outputs, hidden, cell = quick_jit(model.apply)(variables, x)
    expected = {"LSTM_0": outputs, "LSTM_0/1/0": hidden, "LSTM_0/1/1": cell}
    expected |= {"both/a": outputs, "both/b": cell}
    expected |= {"": outputs, "1": hidden, "2": cell}
    _, found = intermediates(model, variables, x)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


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


def test_lenets_maps_have_the_sizes_of_1998():
    for model, size in ((models.LeNet5(), 28), (models.LeNetMaxPool(), 32)):
        x = jnp.zeros((1, size, size, 1))
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        found = jax.eval_shape(lambda v, m=model, x=x: nn.features(m, v, x), variables)
        assert found["relu1"].shape == (1, 28, 28, 6)
        assert found["relu2"].shape == (1, 10, 10, 16)
        assert variables["params"]["fc1"]["kernel"].shape == (400, 120)


def test_vgg16_has_the_taps_of_the_papers():
    model, x = models.VGG16(3, width=2, hidden=6), draw(1, 32, 32, 3)
    variables = draw_variables(model, x)
    logits, found = intermediates(model, variables, x)
    np.testing.assert_array_equal(found["pool5"], pool(found["relu5_3"]))
    expected = jax.nn.relu(convolve(variables["params"]["features_28"], found["relu5_2"], "SAME"))
    np.testing.assert_allclose(found["relu5_3"], expected, rtol=1e-4, atol=1e-6)
    expected = dense(variables["params"]["classifier_6"], found["fc7"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


def test_resnets_features_are_the_means_of_its_last_stage():
    model, x = models.ResNet((1, 1), models.resnet.BasicBlock, 3, width=4), draw(2, 17, 16, 3)
    variables = draw_variables(model, x)
    logits, found = intermediates(model, variables, x)
    assert found["layer1"].shape == (2, 5, 4, 4)
    assert found["layer2"].shape == (2, 3, 2, 8)
    np.testing.assert_array_equal(found["layer2"], found["layer2_0"])
    np.testing.assert_allclose(found["avgpool"], found["layer2"].mean((1, 2)), rtol=1e-5)
    expected = dense(variables["params"]["fc"], found["avgpool"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


# Special networks


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


def test_fixed_weight_mlp_halves_until_its_sum_of_absolutes_is_at_most_one():
    model = tutorial.FixedWeightMLP(2)
    params = {"Dense_0": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    constants = {"weight": jnp.zeros((2, 2))}
    # every unit is relu(0 + 1) = 1: 2 in one example are halved once, 6 in three thrice
    for examples, expected in ((1, 1.0), (3, 0.75)):
        x = draw(examples, 2)
        assert model.apply({"params": params, "constants": constants}, x) == expected
    # 1 + 0.5·1 in the first unit, 1 in the second, of which the dense layer keeps a tenth
    params = {"Dense_0": {"kernel": jnp.eye(2) / 10, "bias": jnp.zeros(2)}}
    constants = {"weight": jnp.array([[0.5, 0.0], [0.0, 0.0]])}
    outputs = model.apply({"params": params, "constants": constants}, jnp.array([[10.0, 0.0]]))
    np.testing.assert_allclose(outputs, 0.25, rtol=1e-6)


def test_fixed_weight_mlps_constant_is_drawn_once_and_is_no_parameter():
    model, x = tutorial.FixedWeightMLP(), jnp.zeros((1, 20))
    first, second = (jax.jit(model.init)(jax.random.key(seed), x) for seed in (0, 1))
    constant = first["constants"]["weight"]
    assert constant.shape == (20, 20)
    assert 0 <= constant.min() < 0.1 < 0.9 < constant.max() < 1
    assert (constant != second["constants"]["weight"]).any()
    assert list(first["params"]) == ["Dense_0"]


def vae_of(mean, deviation):
    """A VAE whose code has one distribution for all inputs, and whose logits are the code."""
    model = models.VAE(hidden=2, num_latents=2, shape=(2,))
    zeros, ones = jnp.zeros((2, 2)), jnp.eye(2)
    params = {
        "fc1": {"kernel": zeros, "bias": jnp.zeros(2)},
        "fc21": {"kernel": zeros, "bias": jnp.full(2, mean)},
        "fc22": {"kernel": zeros, "bias": jnp.full(2, 2 * np.log(deviation))},
        "fc3": {"kernel": ones, "bias": jnp.zeros(2)},  # a ReLU that large codes pass
        "fc4": {"kernel": ones, "bias": jnp.zeros(2)},
    }
    return functools.partial(model.apply, {"params": params})


def test_vae_draws_its_code_in_training_and_takes_the_mean_in_evaluation():
    apply, x = vae_of(100.0, 3.0), jnp.zeros((5_000, 2))
    rngs = {"dropout": jax.random.key(0)}
    logits, mean, log_variance = apply(x)
    np.testing.assert_array_equal(logits, np.full((5_000, 2), 100.0))
    np.testing.assert_array_equal(mean, np.full((5_000, 2), 100.0))
    np.testing.assert_allclose(log_variance, np.full((5_000, 2), 2 * np.log(3)), rtol=1e-6)
    drawn = np.asarray(apply(x, train=True, rngs=rngs).logits)
    assert drawn.mean() == pytest.approx(100, abs=5 * 3 / 100)
    assert drawn.std() == pytest.approx(3, abs=5 * 3 / np.sqrt(2 * 10_000))
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1
    for options, expected in (({"train": False, "sample": True}, drawn), ({"sample": False}, mean)):
        np.testing.assert_array_equal(apply(x, rngs=rngs, **options).logits, expected)
    other = apply(x, train=True, rngs={"dropout": jax.random.key(1)}).logits
    assert (other != drawn).all()


@pytest.mark.parametrize("name", ["Autoencoder", "VAE", "ConvVAE"])
def test_decoding_the_code_which_is_embed_is_the_reconstruction(name):
    model, x = SMALL[name], draw(2, 12, 12, 1)

    @quick_jit
    def compute(variables):
        code = model.apply(variables, x, method="encode")
        code = code if name == "Autoencoder" else code[0]
        outputs, sown = model.apply(variables, x, mutable=["intermediates"])
        embed = sown["intermediates"]["embed"][0]
        return outputs, model.apply(variables, code, method="decode"), code, embed

    outputs, decoded, code, embed = compute(draw_variables(model, x))
    outputs = outputs if name == "Autoencoder" else outputs.logits
    assert outputs.shape == x.shape
    np.testing.assert_array_equal(embed, code)
    np.testing.assert_allclose(outputs, decoded, rtol=1e-5, atol=1e-6)


def test_autoencoder_keeps_flat_examples_flat():
    model = models.Autoencoder(shape=(784,))
    outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((10, 784)))
    assert outputs.shape == (10, 784)


# Start


def test_resnet_starts_from_kaiming_and_perhaps_from_its_shortcuts():
    model = models.ResNet((1,), models.resnet.Bottleneck, 3, stem="cifar", width=16)
    x = draw(1, 4, 4, 3)
    params = quick_jit(model.init)(jax.random.key(0), x)["params"]
    block = params["layer1_0"]
    for kernel, fan_out in (
        (params["conv1"]["kernel"], 16 * 9),
        (block["conv2"]["kernel"], 16 * 9),
        (block["conv3"]["kernel"], 64),
        (block["downsample_0"]["kernel"], 64),
    ):
        deviation = np.sqrt(2 / fan_out)
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
    assert (block["bn3"]["scale"] == 1).all()
    assert (block["bn3"]["bias"] == 0).all()
    zero = model.clone(zero_init_residual=True)
    _, found = quick_jit(
        lambda: (
            variables := zero.init(jax.random.key(0), x),
            nn.features(zero, variables, x, names=["layer1", "layer1_0/downsample_1"]),
        )
    )()
    shortcut = jax.nn.relu(found["layer1_0/downsample_1"])
    np.testing.assert_array_equal(found["layer1"], shortcut)
    assert shortcut.max() > 0


def test_initialisers_can_be_chosen():
    x = jnp.zeros((1, 10, 10, 1))
    model = models.ConvNet(
        conv_init=initializers.kaiming_normal("fan_out"),
        dense_init=linen.initializers.normal(0.01),
        bias_init=linen.initializers.zeros,
    )
    params = quick_jit(model.init)(jax.random.key(0), x)["params"]
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
    params = quick_jit(model.init)(jax.random.key(0), x)["params"]
    for name, deviation in (("layer1_0", np.sqrt(2 / (16 * 9))), ("fc", np.sqrt(2 / (400 + 16)))):
        kernel = params[name]["kernel"]
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
    assert (params["layer1_1"]["scale"] == 1).all()
    assert (params["layer1_1"]["bias"] == 0).all()


def test_vgg_and_vit_start_as_torchvisions():
    x = jnp.zeros((1, 8, 8, 3))
    vgg = quick_jit(models.VGG((1,), 4, width=8, hidden=32).init)(jax.random.key(0), x)["params"]
    assert vgg["classifier_0"]["kernel"].std() == pytest.approx(0.01, rel=0.1)
    deviation = np.sqrt(2 / (8 * 9))
    assert vgg["features_0"]["kernel"].std() == pytest.approx(deviation, rel=0.3)
    assert all((layer["bias"] == 0).all() for layer in vgg.values())
    model = models.VisionTransformer(4, 4, 16, 1, 2, 32)
    vit = quick_jit(model.init)(jax.random.key(0), x)["params"]
    deviation = np.sqrt(1 / 48)
    assert vit["conv_proj"]["kernel"].std() == pytest.approx(deviation, rel=0.15)
    assert vit["encoder"]["pos_embedding"].std() == pytest.approx(0.02, rel=0.5)
    attention = vit["encoder"]["layers_encoder_layer_0"]["self_attention"]
    assert abs(attention["in_proj"]["kernel"]).max() == pytest.approx(np.sqrt(6 / 64), rel=0.02)
    assert (attention["in_proj"]["bias"] == 0).all()
    assert (vit["class_token"] == 0).all()
    assert (vit["heads_head"]["kernel"] == 0).all()


# Gradient checkpointing and names


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
    plain, checkpointed = quick_jit(lambda v: (gradients(model, v), gradients(again, v)))(variables)
    differences = tree.max_difference(plain, checkpointed)
    assert max(differences.values()) < 1e-5 * max(
        abs(leaf).max() for leaf in jax.tree.leaves(plain)
    )
    for each, expected in ((model, False), (again, True)):
        jaxpr = jax.make_jaxpr(functools.partial(gradients, each))(variables)
        assert ("checkpoint" in str(jaxpr) or "remat" in str(jaxpr)) is expected


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
