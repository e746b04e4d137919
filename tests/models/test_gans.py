"""Generators and discriminators: the book's sizes, PyTorch's numbers, labels, masks, bad input."""

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_gan import DCGAN, dcgan_images, draw
from helpers.oracle import compare, read_cases
from helpers.small_gans import drawn, numbers
from helpers.small_models import draw_variables

from jaxdl import models, tree
from jaxdl.interop._layouts import torch_name

CASES = read_cases("gan")
SIGMOID = {"activation": linen.sigmoid, "layer_norm": False}
GELU = functools.partial(linen.gelu, approximate=False)


def variables_of(model, *inputs):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))


# Sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("generator", "discriminator", "shape", "counts"),
    [
        (
            models.DenseGenerator((3,), (4,), 1, **SIGMOID),
            models.DenseDiscriminator((3,), **SIGMOID),
            (4,),
            (22, 19),
        ),
        (
            models.DenseGenerator((200,), num_latents=1, **SIGMOID),
            models.DenseDiscriminator(**SIGMOID),
            (28, 28, 1),
            (157_984, 157_201),
        ),
        (
            models.DenseGenerator(),
            models.DenseDiscriminator(),
            (28, 28, 1),
            (178_184, 157_601),
        ),
        (
            models.DenseGenerator(num_classes=10),
            models.DenseDiscriminator(num_classes=10),
            (28, 28, 1),
            (180_184, 159_601),
        ),
        (
            models.DenseGenerator((300,), (218, 178, 3), activation=linen.leaky_relu),
            models.DenseDiscriminator((100,), activation=linen.leaky_relu),
            (218, 178, 3),
            (35_070_912, 11_641_601),
        ),
        (
            models.ConvGenerator(),
            models.ConvDiscriminator(),
            (128, 128, 3),
            (4_330_816, 4_294_448),
        ),
        (
            models.ConvGenerator(activation=GELU),
            models.ConvDiscriminator(activation=GELU),
            (128, 128, 3),
            (4_330_816, 4_294_448),
        ),
        # 16·(100·512 + 512·256 + 256·128 + 128·64 + 64·3) + 2·960, and
        # 16·(3·64 + 64·128 + 128·256 + 256·512 + 512) + 2·896: the tutorial's
        (
            models.DCGANGenerator(),
            models.DCGANDiscriminator(),
            (64, 64, 3),
            (3_576_704, 2_765_568),
        ),
        (
            models.DCGANGenerator((28, 28, 1)),
            models.DCGANDiscriminator(),
            (28, 28, 1),
            (
                16 * 100 * 256 + 9 * 256 * 128 + 16 * (128 * 64 + 64) + 896,
                16 * (64 + 64 * 128 + 256) + 9 * 128 * 256 + 768,
            ),
        ),
        (
            models.DCGANGenerator((32, 32, 3)),
            models.DCGANDiscriminator(norm="none"),
            (32, 32, 3),
            (1_068_928, 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256) + 449),
        ),
        (
            models.DCGANGenerator((128, 128, 3), num_classes=10),
            models.DCGANDiscriminator(num_classes=10, norm="spectral"),
            (128, 128, 3),
            (
                12_786_560 + 10 * 16 * 1024,
                16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024 + 1024)
                + (64 + 128 + 256 + 512 + 1024 + 1)
                + 10 * 1024,
            ),
        ),
        (
            models.DCGANGenerator((28, 28, 1), num_classes=10),
            models.DCGANDiscriminator(num_classes=10, condition="concatenate"),
            (28, 28, 1),
            (837_504 + 10 * 16 * 256, 431_872 + 10 * 16 * 64),
        ),
    ],
)
def test_shapes_and_numbers_of_parameters(generator, discriminator, shape, counts):
    label = () if getattr(generator, "num_classes", None) is None else (jnp.zeros(2, jnp.int32),)
    noise = jnp.zeros((2, generator.num_latents))

    def init():
        fake, first = generator.init_with_output(jax.random.key(0), noise, *label)
        outputs, second = discriminator.init_with_output(jax.random.key(0), fake, *label)
        return fake, outputs, first["params"], second["params"]

    fake, outputs, *params = jax.eval_shape(init)
    assert fake.shape == (2, *shape)
    assert outputs.shape == (2, 1)
    assert tuple(tree.count(one) for one in params) == counts


@pytest.mark.parametrize("size", [(5, 5), (9, 28), (30, 13), (218, 178)])
def test_dcgan_makes_and_judges_images_of_any_size(size):
    shape, label = (*size, 2), jnp.zeros(1, jnp.int32)
    pair = models.DCGANGenerator(shape, 3, 2, 4), models.DCGANDiscriminator(2, num_classes=4)

    def init():
        fake, _ = pair[0].init_with_output(jax.random.key(0), jnp.zeros((1, 3)), label)
        return fake, pair[1].init_with_output(jax.random.key(0), fake, label)[0]

    fake, outputs = jax.eval_shape(init)
    assert (fake.shape, outputs.shape) == ((1, *shape), (1, 1))


def test_the_maps_of_the_books_convolutions():
    """28, 62 and 128 pixels; 61, 27 and 10."""

    def sizes(model, x):
        _, found = jax.eval_shape(
            lambda: model.init_with_output(jax.random.key(0), x, capture_intermediates=True)
        )
        outputs = {name: leaf["__call__"][0] for name, leaf in found["intermediates"].items()
                   if name.startswith("model")}  # fmt: skip
        return {name: leaf.shape[1] for name, leaf in outputs.items() if leaf.ndim == 4}

    maps = sizes(models.ConvGenerator((2, 2)), jnp.zeros((1, 100)))
    assert [maps[f"model_{index}"] for index in (3, 6, 9)] == [28, 62, 128]
    maps = sizes(models.ConvDiscriminator((2, 2, 3)), jnp.zeros((1, 128, 128, 3)))
    assert [maps[f"model_{index}"] for index in (0, 3, 6)] == [61, 27, 10]


def test_dcgans_start():
    """Kernels N(0, 0.02²), scales N(1, 0.02²)."""
    model = models.DCGANGenerator((8, 8, 1), 8, 128)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8)))["params"]
    kernel, scale = params["main_0"]["transposed_kernel"], params["main_1"]["scale"]
    np.testing.assert_allclose([kernel.mean(), kernel.std()], [0.0, 0.02], atol=1e-3)
    np.testing.assert_allclose([scale.mean(), scale.std()], [1.0, 0.02], atol=5e-3)


# Names, and PyTorch's numbers; those of the dense nets and of DCGAN are in tests/train/test_gan.py


def test_names_are_those_of_the_notebooks_and_the_tutorial():
    def names(model, *inputs):
        return {
            torch_name(name) for name in tree.named_leaves(variables_of(model, *inputs)["params"])
        }

    found = names(models.DenseDiscriminator(), jnp.zeros((1, 784)))
    assert found == {f"model.{i}.{leaf}" for i in (0, 2, 3) for leaf in ("weight", "bias")}
    found = names(models.DCGANDiscriminator(), jnp.zeros((1, 64, 64, 3)))
    norms = {f"main.{i}.{leaf}" for i in (3, 6, 9) for leaf in ("weight", "bias")}
    assert found == norms | {f"main.{i}.weight" for i in (0, 2, 5, 8, 11)}
    found = names(models.DCGANGenerator(), jnp.zeros((1, 100)))
    norms = {f"main.{i}.{leaf}" for i in (1, 4, 7, 10) for leaf in ("weight", "bias")}
    assert found == norms | {f"main.{i}.weight" for i in (0, 3, 6, 9, 12)}


@pytest.mark.slow
@pytest.mark.parametrize(("case", "activation"), [("leaky", None), ("gelu", GELU)])
def test_the_books_convolutional_nets_equal_pytorchs(case, activation):
    options = {} if activation is None else {"activation": activation}
    generator = models.ConvGenerator((4, 4), num_latents=6, **options)
    discriminator = models.ConvDiscriminator((4, 4, 3), **options)
    noise = jnp.asarray(draw("conv/noise", (2, 6)))
    first = variables_of(generator, noise)
    second = variables_of(discriminator, jnp.zeros((2, 128, 128, 3)))
    players = {
        "generator": drawn(first["params"], "conv/generator"),
        "discriminator": drawn(second["params"], "conv/discriminator"),
    }
    zero, one = (
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), like["batch_stats"])
        for like in (first, second)
    )

    @jax.jit
    def play(params):
        def objective(params):
            variables = {"params": params, "batch_stats": zero}
            fake, _ = generator.apply(variables, noise, train=True, mutable="batch_stats")
            variables = {"params": players["discriminator"], "batch_stats": one}
            outputs, _ = discriminator.apply(variables, fake, train=True, mutable="batch_stats")
            return outputs.sum(), (fake, outputs)

        if case == "gelu":  # the gradient of everything else is that of the other case
            return None, objective(params)[1]
        return jax.grad(objective, has_aux=True)(params)

    gradients, (fake, outputs) = play(players["generator"])
    expected = CASES[f"conv {case}"]
    compare(f"GAN conv {case}", fake[:, ::17, ::13], expected["fake"])
    compare(f"GAN conv {case}", outputs, expected["outputs"])
    if gradients is None:
        return
    # a bias before a BatchNorm has no influence: rounding on both sides
    ours, theirs = numbers(gradients), expected["gradients"]
    felt = theirs[:, -1] > 1e-6 * theirs[:, -1].max()
    assert felt.sum() == len(felt) - 3
    scale = theirs[felt, -1:]
    compare(f"GAN conv {case}, gradients", ours[felt] / scale, theirs[felt] / scale, 1e-4)


def test_a_projection_with_spectral_norms_equals_pytorchs():
    model = models.DCGANDiscriminator(DCGAN["features"], norm="spectral", num_classes=3)
    label = jnp.array([0, 2, 1, 2])
    like = variables_of(model, jnp.asarray(dcgan_images(0)), label)
    params = {name: drawn({name: one}, "projection")[name] for name, one in like["params"].items()}
    # small_gans strips "main." from names, which the fixture has
    for name in ("main_0", "main_2", "main_5"):
        params[name] = drawn(like["params"][name], f"projection/{name}")
    params["embed"] = drawn(like["params"]["embed"], "projection/embed")
    arrays, state = CASES["projection"], {}
    for name, leaves in params.items():
        weight = "embedding" if name == "embed" else "kernel"
        u, v = arrays[f"{name}/u"], arrays[f"{name}/v"]
        if name != "embed":  # (C, h, w) in PyTorch, (h, w, C) here
            height, width, channels, _ = leaves[weight].shape
            v = v.reshape(channels, height, width).transpose(1, 2, 0).ravel()
        state[f"{name}_norm"] = {f"{weight}_u": u, f"{weight}_v": v}

    @jax.jit
    def judge(state, x):
        variables = {"params": params, "spectral_norm": state}
        outputs, new = model.apply(variables, x, label, train=True, mutable="spectral_norm")
        return outputs, new["spectral_norm"]

    for index in range(2):
        outputs, state = judge(state, dcgan_images(index))
        compare("GAN projection", outputs, arrays[f"outputs{index}"])


# Labels

CONDITIONAL = {
    "dense": (
        models.DenseGenerator((4,), (8, 8, 1), 3, num_classes=3),
        models.DenseDiscriminator((4,), num_classes=3),
    ),
    "concatenate": (
        models.DCGANGenerator((8, 8, 1), 3, 2, num_classes=3),
        models.DCGANDiscriminator(2, num_classes=3, condition="concatenate"),
    ),
    "projection": (
        models.DCGANGenerator((8, 8, 1), 3, 2, num_classes=3),
        models.DCGANDiscriminator(2, "none", num_classes=3),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CONDITIONAL)
def test_labels_matter_and_each_to_its_own_example_only(case):
    inputs = (jnp.asarray(draw("noise", (3, 3))), jnp.asarray(draw("x", (3, 8, 8, 1))))
    for model, x in zip(CONDITIONAL[case], inputs, strict=True):
        like = jax.eval_shape(lambda m=model, x=x: m.init(jax.random.key(0), x, jnp.zeros(3, int)))
        variables = jax.tree.map(lambda leaf: jnp.asarray(draw(str(leaf.shape), leaf.shape)), like)
        variables |= {"batch_stats": jax.tree.map(jnp.ones_like, variables.get("batch_stats", {}))}
        apply = jax.jit(model.apply)
        before = apply(variables, x, jnp.array([0, 1, 2]))
        after = apply(variables, x, jnp.array([0, 2, 2]))
        changed = abs(after - before).reshape(3, -1).max(axis=1) > 1e-4
        assert changed.tolist() == [False, True, False]


@pytest.mark.slow
def test_a_concatenated_label_is_a_map_of_its_own():
    """Its map is one at every pixel: the first convolution sees the sum of its kernel there."""
    model = models.DCGANDiscriminator(1, num_classes=2, condition="concatenate")
    x, label = jnp.zeros((1, 8, 8, 1)), jnp.array([1])
    variables = model.init(jax.random.key(0), x, label)
    _, found = model.apply(
        variables, x, label, capture_intermediates=lambda module, _: module.name == "main_0",
        mutable="intermediates",
    )  # fmt: skip
    maps = found["intermediates"]["main_0"]["__call__"][0]
    kernel = variables["params"]["main_0"]["kernel"]
    np.testing.assert_allclose(maps[0, 1, 1, 0], kernel[:, :, 2, 0].sum(), rtol=1e-5)


@pytest.mark.slow
def test_a_projection_adds_the_product_of_embedding_and_maps():
    model = models.DCGANDiscriminator(2, "none", num_classes=3)
    x, label = jnp.asarray(draw("x", (2, 8, 8, 1))), jnp.array([2, 0])
    variables = dict(model.init(jax.random.key(0), x, label))
    table = variables["params"].pop("embed")["embedding"]
    plain = models.DCGANDiscriminator(2, "none")
    outputs, found = plain.apply(
        variables, x, capture_intermediates=lambda module, _: module.name == "main_0",
        mutable="intermediates",
    )  # fmt: skip
    maps = linen.leaky_relu(found["intermediates"]["main_0"]["__call__"][0], 0.2)
    expected = outputs + (table[label] * maps.sum((1, 2))).sum(-1, keepdims=True)
    variables["params"]["embed"] = {"embedding": table}
    np.testing.assert_allclose(model.apply(variables, x, label), expected, rtol=1e-5, atol=1e-5)


# Statistics without padding


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.DCGANGenerator((8, 8, 1), 3, 2), (3,)),
        (models.DCGANDiscriminator(2), (16, 16, 1)),
    ],
)
def test_padding_stays_out_of_the_statistics(model, shape):
    x = jnp.asarray(draw("padding", (4, *shape)))
    variables = draw_variables(model, x)

    @jax.jit
    def apply(x, mask):
        return model.apply(variables, x, mask=mask, train=True, mutable="batch_stats")

    garbage = x.at[3].set(100.0)
    outputs, new = apply(garbage, jnp.array([1.0, 1.0, 1.0, 0.0]))
    expected, expected_new = apply(x[:3], jnp.ones(3))
    np.testing.assert_allclose(outputs[:3], expected, atol=1e-5)
    assert max(tree.max_difference(new, expected_new).values()) < 1e-5


# Bad input


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (models.DenseGenerator(), (jnp.zeros((2, 3)),), r"noise must have shape \(B, 100\)"),
        (models.ConvGenerator(), (jnp.zeros((2, 3)),), r"noise must have shape \(B, 100\)"),
        (models.DCGANGenerator(), (jnp.zeros(100),), r"noise must have shape \(B, 100\)"),
        (
            models.DCGANGenerator((4, 9, 1)),
            (jnp.zeros((1, 100)),),
            "images must be at least 5 pixels high and wide for DCGAN, got 4x9",
        ),
        (
            models.DCGANDiscriminator(),
            (jnp.zeros((1, 9, 4, 3)),),
            "at least 5 pixels high and wide for DCGAN, got 9x4",
        ),
        (models.DCGANDiscriminator(), (jnp.zeros((1, 784)),), "images must have shape"),
        (models.ConvDiscriminator(), (jnp.zeros((1, 28, 28, 1)),), "too small for this model"),
        (
            models.DCGANDiscriminator(norm="layer"),
            (jnp.zeros((1, 8, 8, 1)),),
            r"norm must be one of \('batch', 'spectral', 'none'\), got 'layer'",
        ),
        (
            models.DCGANDiscriminator(condition="add"),
            (jnp.zeros((1, 8, 8, 1)),),
            "condition must be one of",
        ),
        (
            models.DenseGenerator(num_classes=10),
            (jnp.zeros((2, 100)),),
            r"expected a label \(B,\) int32 for each example, as num_classes=10",
        ),
        (
            models.DCGANDiscriminator(num_classes=10),
            (jnp.zeros((1, 8, 8, 1)),),
            r"expected a label \(B,\) int32 for each example, as num_classes=10",
        ),
        (
            models.DenseDiscriminator(),
            (jnp.zeros((2, 784)), jnp.zeros(2, jnp.int32)),
            "got labels, but the model has num_classes=None",
        ),
        (
            models.DCGANDiscriminator(),
            (jnp.zeros((2, 8, 8, 1)), jnp.zeros(2, jnp.int32)),
            "got labels, but the model has num_classes=None",
        ),
        (
            models.DenseDiscriminator(num_classes=10),
            (jnp.zeros((2, 784)), jnp.zeros(3, jnp.int32)),
            r"label must have shape \(2\), got \(3,\)",
        ),
        (
            models.DenseDiscriminator(num_classes=10),
            (jnp.zeros((2, 784)), jnp.zeros(2)),
            "label must be integers",
        ),
    ],
)
def test_bad_input_is_named(model, inputs, message):
    with pytest.raises(ValueError, match=message):
        variables_of(model, *inputs)
