"""Every family, small: overfits, is traced once, works under vmap, in bfloat16, for one example."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.small_models import draw, draw_variables
from jax.test_util import check_grads

from jaxdl import TrainState, losses, models, optim, train, tree
from jaxdl.models import tutorial
from jaxdl.models.convnet import StridedConvNet

RNG = np.random.default_rng(0)


def reconstruction(outputs, targets):
    return losses.binary_cross_entropy(outputs.logits, targets)


FAMILIES = {
    "mlp": (models.MLP((32, 16, 4)), (16,)),
    "lenet5": (models.LeNet5(4, hidden=(16, 12)), (12, 12, 1)),
    "lenet_max_pool": (models.LeNetMaxPool(4, hidden=(16, 12)), (16, 16, 1)),
    "convnet": (models.ConvNet(4, dropout_rate=0.0), (10, 10, 1)),
    "cnn": (models.CNN(4, (6, 8), dropout_rate=0.0), (8, 8, 1)),
    "mnist_cnn": (models.MnistCNN(4, (0.0, 0.0), (4, 8), 16), (8, 8, 1)),
    "batch_norm_convnet": (models.BatchNormConvNet(4, (4, 8), 3), (8, 8, 1)),
    "strided_convnet": (StridedConvNet(4), (13, 13, 1)),
    "autoencoder": (models.Autoencoder((32, 32), 16, (4, 4, 1)), (4, 4, 1)),
    "vae": (models.VAE(64, 16, (4, 4, 1)), (4, 4, 1)),
    "conv_vae": (models.ConvVAE((8, 16), 16, (4, 8, 1)), (4, 8, 1)),
    "resnet_basic": (
        models.ResNet((1, 1), models.resnet.BasicBlock, 4, stem="cifar", width=8),
        (6, 6, 1),
    ),
    "vgg": (models.VGG((1, 1), 4, width=4, hidden=16, dropout_rate=0.0), (8, 8, 1)),
    "vgg_batch_norm": (models.VGG((1,), 4, True, 4, 16, dropout_rate=0.0), (4, 4, 1)),
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
    """One member of stacked arrays; NumPy slices without compiling, but not keys."""

    def cut(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return leaf[index] if is_key else np.asarray(leaf)[index]

    return jax.tree.map(cut, stacked)


# the network with max-pooling learns as LeNet5 and the convolutional ones with pooling do
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "lenet_max_pool"])
def test_overfits_32_examples_in_one_trace_and_under_vmap_as_alone(name):
    model, tx, step, batch = make_parts(name)
    num_traces = 0

    @jax.jit
    def counted(state, batch):
        nonlocal num_traces
        num_traces += 1
        return step(state, batch)

    @jax.jit
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


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_is_close_and_one_example_is_enough(name):
    model, shape = FAMILIES[name]
    x = jnp.asarray(RNG.normal(size=(4, *shape)), jnp.float32)

    @jax.jit
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        FAMILIES["vit"],
        (models.ResNet((1,), models.resnet.BasicBlock, 4, stem="cifar", width=4), (4, 4, 1)),
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
        step = jax.jit(train.make_step(train.supervised(model, losses.cross_entropy), tx))
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [tutorial.FixedWeightMLP(6), tutorial.NestedMLP((5, 4), 6)],
    ids=["fixed", "nested"],
)
def test_networks_of_one_number_under_vmap_and_in_bfloat16_with_their_gradient(model):
    generator = np.random.default_rng(0)  # far from where the number of halvings changes
    x = generator.normal(size=(3, 4, 6)).astype(np.float32)
    like = jax.eval_shape(model.init, jax.random.key(0), x[0])
    variables = jax.tree.map(
        lambda leaf: generator.uniform(-0.5, 0.5, leaf.shape).astype(np.float32), like
    )
    apply = jax.jit(model.apply)
    alone = [apply(variables, each) for each in x]
    together = jax.jit(jax.vmap(model.apply, (None, 0)))(variables, x)
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    half = model.clone(dtype=jnp.bfloat16).apply(variables, x[0])
    assert half.dtype == jnp.bfloat16
    assert float(half) == pytest.approx(float(alone[0]), abs=0.03)  # of absolutes that sum to 1
    assert abs(apply(variables, x[0, :1])) <= 1
    constants = {"constants": variables["constants"]} if "constants" in variables else {}
    check_grads(
        jax.jit(lambda params: model.apply({"params": params, **constants}, x[0])),
        (variables["params"],),
        1,
        modes=["rev"],
    )


@pytest.mark.slow
def test_functional_cnn_overfits_and_works_under_vmap_and_in_bfloat16():
    x = jnp.asarray(RNG.integers(0, 2, (16, 20, 20, 1)), jnp.float32)
    labels = jnp.arange(16) % 4
    tx = optim.adam(1e-2)

    def objective(params):
        return losses.cross_entropy(tutorial.functional_cnn(params, x), labels).mean()

    @jax.jit
    def fit(keys):
        init = functools.partial(
            tutorial.init_functional_cnn, features=(4, 4), num_features=16, num_classes=4
        )
        params = init(keys[0])

        def step(state, _):
            params, opt_state = state
            loss, gradients = jax.value_and_grad(objective)(params)
            updates, opt_state = tx.update(gradients, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        (params, _), history = jax.lax.scan(step, (params, tx.init(params)), length=200)
        outputs = tutorial.functional_cnn(params, x)
        pair = jax.tree.map(lambda a, b: jnp.stack([a, b]), init(keys[1]), params)
        half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), (params, x))
        return (
            history,
            outputs,
            jax.vmap(tutorial.functional_cnn, (0, None))(pair, x)[1],
            tutorial.functional_cnn(*half),
            tutorial.functional_cnn(params, x[:1]),
        )

    history, outputs, member, half, alone = fit(jax.random.split(jax.random.key(0)))
    assert history[0] > 1
    assert history[-1] < 0.05
    largest = float(abs(outputs).max())
    np.testing.assert_allclose(member, outputs, rtol=0, atol=1e-5 * largest)
    np.testing.assert_allclose(alone, outputs[:1], rtol=0, atol=1e-5 * largest)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(jnp.float32), outputs, rtol=0, atol=0.05 * largest)


@pytest.mark.slow
def test_functional_cnn_starts_as_torchs_layers_do():
    params = jax.jit(tutorial.init_functional_cnn)(jax.random.key(0))
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
