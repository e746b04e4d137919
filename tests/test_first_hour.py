"""The calls that a PyTorch user types first: each works, or names what to write here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdl
from jaxdl import data, losses, nn, optim, tensorboard, train, transforms

IMAGES = np.random.default_rng(0).integers(0, 255, (10, 8, 8, 1), np.uint8)
LABELS = np.arange(10, dtype=np.int64) % 3


@pytest.mark.parametrize(
    ("package", "name", "ours"),
    [
        (jaxdl, "tensor", "jnp.array"),
        (jaxdl, "manual_seed", "jax.random.key"),
        (jaxdl, "no_grad", "jax.grad"),
        (jaxdl, "compile", "jax.jit"),
        (jaxdl, "save", "checkpoint.CheckpointManager"),
        (jaxdl, "load", "interop.read_weights"),
        (nn, "Module", "linen.Module"),
        (nn, "Linear", "nn.Dense"),
        (nn, "Conv2d", "nn.Conv"),
        (nn, "Sequential", "linen.Sequential"),
        (nn, "Dropout", "linen.Dropout"),
        (nn, "CrossEntropyLoss", "losses.cross_entropy"),
        (losses, "MSELoss", "losses.squared_error"),
        (optim, "Adam", "optim.adam"),
        (optim, "StepLR", "optim.step_decay"),
        (data, "DataLoader", "data.Loader"),
        (data, "TensorDataset", "data.ArraySource"),
        (transforms, "Compose", "transforms.compose"),
        (tensorboard, "SummaryWriter", "tensorboard.open_writer"),
        (train, "state_dict", "interop.params_to_torch"),
    ],
)
def test_a_name_is_answered(package, name, ours):
    with pytest.raises(AttributeError) as error:
        getattr(package, name)
    assert f"PyTorch's {name} is {ours}" in str(error.value)


def small_training():
    loss_fn = train.supervised(nn.Dense(3), losses.cross_entropy, inputs="x")
    return loss_fn, optim.adam(1e-2)


CALLS = {
    "lr=": (lambda: optim.adam(lr=1e-3), TypeError, "learning_rate"),
    "reduction=": (
        lambda: losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, int), reduction="mean"),
        TypeError,
        "metrics.mean",
    ),
    "labels first": (
        lambda: losses.cross_entropy(jnp.zeros(2, int), jnp.zeros((2, 3))),
        ValueError,
        "logits",
    ),
    "one-hot labels": (
        lambda: losses.cross_entropy(jnp.zeros((2, 3)), jax.nn.one_hot(jnp.array([0, 1]), 3)),
        ValueError,
        "losses.soft_cross_entropy",
    ),
    "data as a tuple": (
        lambda: train.init_state(*small_training(), 0, (IMAGES, LABELS)),
        (ValueError, TypeError),
        r"arrays by name, such as \{'image'",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused_with_what_to_write(name):
    call, kind, message = CALLS[name]
    with pytest.raises(kind, match=message):
        call()


def test_the_loop_by_hand():
    loss_fn, tx = small_training()
    examples = {"x": jnp.eye(6), "label": jnp.arange(6) % 3}
    state = train.init_state(loss_fn, tx, 0, examples)
    step = jax.jit(train.make_step(loss_fn, tx))
    values = []
    for _ in range(20):
        state, results = step(state, examples)
        values.append(float(results["loss"].total / results["loss"].count))
    assert values[-1] < 0.9 * values[0]


def test_a_loader_over_arrays():
    source = {"image": IMAGES, "label": LABELS}
    batches = list(data.Loader(data.ArraySource(source), batch_size=4))
    assert [len(batch["label"]) for batch in batches][:2] == [4, 4]
    assert batches[0]["image"].shape == (4, 8, 8, 1)
