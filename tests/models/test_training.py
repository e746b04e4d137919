"""Every family, small: overfits, is traced once, works under vmap, in bfloat16, for one example."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import draw, draw_variables, quick_jit

from jaxdl import TrainState, losses, models, optim, train, tree

RNG = np.random.default_rng(0)


def reconstruction(outputs, targets):
    return losses.binary_cross_entropy(outputs.logits, targets)


FAMILIES = {
    "mlp": (models.MLP((32, 16, 4)), (16,)),
    "lenet5": (models.LeNet5(4, hidden=(16, 12)), (12, 12, 1)),
    "convnet": (models.ConvNet(4, dropout_rate=0.0), (10, 10, 1)),
    "cnn": (models.CNN(4, (6, 8), dropout_rate=0.0), (8, 8, 1)),
    "mnist_cnn": (models.MnistCNN(4, (0.0, 0.0), (4, 8), 16), (8, 8, 1)),
    "batch_norm_convnet": (models.BatchNormConvNet(4, (4, 8), 3), (8, 8, 1)),
    "strided_convnet": (models.StridedConvNet(4), (13, 13, 1)),
    "autoencoder": (models.Autoencoder((32, 32), 16, (4, 4, 1)), (4, 4, 1)),
    "vae": (models.VAE(64, 16, (4, 4, 1)), (4, 4, 1)),
    "conv_vae": (models.ConvVAE((8, 16), 16, (4, 8, 1)), (4, 8, 1)),
    "resnet_basic": (models.ResNet((1, 1), models.BasicBlock, 4, stem="cifar", width=8), (6, 6, 1)),
    "vgg": (models.VGG((1, 1), 4, width=4, hidden=16, dropout_rate=0.0), (8, 8, 1)),
    "vit": (models.VisionTransformer(4, 4, 16, 1, 2, 32), (8, 8, 1)),
}


def make_parts(name):
    """Model, optimizer, step, and 32 examples: binary images, random labels."""
    model, shape = FAMILIES[name]
    inputs = jnp.asarray(RNG.integers(0, 2, (32, *shape)), jnp.float32)
    batch = {"image": inputs, "label": jnp.asarray(RNG.integers(0, 4, 32), jnp.int32)}
    if isinstance(model, models.Autoencoder):
        loss_fn = train.supervised(model, losses.binary_cross_entropy, targets="image")
    elif isinstance(model, (models.VAE, models.ConvVAE)):
        loss_fn = train.supervised(model, reconstruction, targets="image")
    else:
        loss_fn = train.supervised(model, losses.cross_entropy)
    # a larger eps than Adam's own, which makes a whole step of a gradient that is only rounding
    tx = optim.adam(1e-2, eps=1e-4)
    return model, tx, train.make_step(loss_fn, tx), batch


def member(stacked, index):
    """One of the vmapped; NumPy cuts without compiling, but knows no keys."""

    def cut(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf[index] if is_key else np.asarray(leaf)[index]

    return jax.tree.map(cut, stacked)


@pytest.mark.parametrize("name", FAMILIES)
def test_overfits_32_examples_in_one_trace_and_under_vmap_as_alone(name):
    model, tx, step, batch = make_parts(name)
    num_traces = 0

    @quick_jit
    def counted(state, batch):
        nonlocal num_traces
        num_traces += 1
        return step(state, batch)

    @quick_jit
    @jax.vmap
    def first(key):
        state = train.init_state(model, tx, key, batch["image"])
        return state, *step(state, batch)

    stacked = first(jax.random.split(jax.random.key(0), 2))
    for index in (1, 0):
        start, expected, first_result = member(stacked, index)
        state, result = counted(start, batch)
        assert float(result["loss"].total) == pytest.approx(float(first_result["loss"].total))
        differences = tree.max_difference(state.params, expected.params)
        assert max(differences.values()) < 1e-5, differences  # Adam's step is 1e-2
        differences = tree.max_difference(state.model_state, expected.model_state)
        assert max(differences.values(), default=0) < 1e-5, differences

    for _ in range(250):
        state, result = counted(state, batch)
        if float(result["loss"].total / 32) < 0.05:
            break
    assert float(result["loss"].total / 32) < 0.05
    assert num_traces == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_is_close_and_one_example_is_enough(name):
    model, shape = FAMILIES[name]
    x = jnp.asarray(RNG.normal(size=(4, *shape)), jnp.float32)

    @quick_jit
    def compute(variables):
        outputs = model.apply(variables, x)
        half = model.clone(dtype=jnp.bfloat16).apply(variables, x.astype(jnp.bfloat16))
        alone = model.apply(variables, x[:1])
        rngs = {"dropout": jax.random.key(0)}
        trained, _ = model.apply(variables, x[:1], train=True, mutable="batch_stats", rngs=rngs)
        return outputs, half, alone, trained

    outputs, half, alone, trained = map(jax.tree.leaves, compute(draw_variables(model, x)))
    for full, low, one, train_one in zip(outputs, half, alone, trained, strict=True):
        largest = float(abs(full).max())
        assert largest > 0
        assert low.dtype == jnp.bfloat16
        np.testing.assert_allclose(low.astype(jnp.float32), full, rtol=0, atol=0.05 * largest)
        np.testing.assert_allclose(one, full[:1], rtol=0, atol=1e-5 * largest)
        assert train_one.shape == one.shape
        assert jnp.isfinite(train_one).all()


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        FAMILIES["vit"],
        (models.ResNet((1,), models.BasicBlock, 4, stem="cifar", width=4), (4, 4, 1)),
        (models.RecurrentClassifier(4, "lstm", 8, 6, (0.0, 0.0)), (6, 4)),
    ],
    ids=["vit", "resnet", "lstm"],
)
def test_a_step_in_half_precision_is_close_to_one_in_float32(model, shape):
    batch = {"image": draw(8, *shape), "label": jnp.arange(8) % 4}
    variables = draw_variables(model, batch["image"])
    params = variables.pop("params")

    def first_update(precision):
        tx = optim.recipe(optim.sgd, 1.0, precision=precision)
        step = quick_jit(train.make_step(train.supervised(model, losses.cross_entropy), tx))
        state = TrainState(jnp.array(0), params, variables, tx.init(params), jax.random.key(0))
        for _ in range(6):  # float16's first updates are left out while its loss scale falls
            state, result = step(state, batch)
            updates = [
                new - old
                for new, old in zip(*map(jax.tree.leaves, (state.params, params)), strict=True)
            ]
            if any(update.any() for update in updates):
                break
        return float(result["loss"].total), np.concatenate([np.ravel(u) for u in updates])

    loss, update = first_update("float32")
    for precision, tolerance in (("bfloat16", 0.2), ("float16", 0.03)):  # 8 and 11 bits
        half_loss, half_update = first_update(precision)
        assert half_loss == pytest.approx(loss, rel=tolerance)
        error = np.linalg.norm(half_update - update) / np.linalg.norm(update)
        assert error < tolerance, (precision, error)


def test_functional_cnn_starts_as_torchs_layers_do():
    params = quick_jit(models.init_functional_cnn)(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == {
        "conv1": {"kernel": (5, 5, 1, 16), "bias": (16,)},
        "conv2": {"kernel": (5, 5, 16, 32), "bias": (32,)},
        "fc": {"kernel": (512, 10), "bias": (10,)},
    }
    for name, fan_in in (("conv1", 25), ("conv2", 400), ("fc", 512)):
        for leaf in params[name].values():
            bound = fan_in**-0.5
            assert abs(leaf).max() <= bound
            expected, error = bound / np.sqrt(3), bound / np.sqrt(leaf.size)
            assert leaf.std() == pytest.approx(expected, abs=error)
