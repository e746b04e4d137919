"""Padding is excluded: what is masked equals what is left out, for any dtype, rank and place."""

import functools
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.same import largest_difference

from jaxdl import data, losses, metrics, train
from jaxdl import nn as layers
from jaxdl.data.collate import epoch_order
from jaxdl.types import TrainState

DTYPES = [np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32]
MASK_DTYPES = [np.float32, np.bool_, np.uint8, np.int32]
NUM_CLASSES = 3


class PerToken(nn.Module):
    """Class scores of every vector (..., F) by itself."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(NUM_CLASSES)(nn.tanh(nn.Dense(4)(x)))


def make_case(seed):
    """A loss, a set with masked garbage, the same set without it, drawn from the seed."""
    rng = np.random.default_rng(seed)
    rank, dtype = seed % 3, DTYPES[seed % len(DTYPES)]
    # as many of each kind for any seed: arrays of one shape share compiled operations
    shape = (7, 4, 2)[: rank + 1]
    size = int(np.prod(shape))
    place = rng.permutation(size).reshape(shape)
    mask = place < 2 * size // 3
    ignored = int(rng.choice([-1, 100])) if np.issubdtype(dtype, np.signedinteger) else 255
    ignore = (place >= size // 2) & (place < 3 * size // 4)  # some of them masked
    labels = np.where(ignore, ignored, rng.integers(0, NUM_CLASSES, shape))
    x = rng.normal(size=(*shape, 5)).astype(np.float32)
    garbage = {"x": np.where(mask[..., None], x, 1e4), "label": np.where(mask, labels, 2)}
    whole = {
        "x": garbage["x"].astype(np.float32),
        "label": garbage["label"].astype(dtype),
        "mask": mask.astype(MASK_DTYPES[seed % len(MASK_DTYPES)]),
    }
    counts = mask & (labels != ignored)
    rows = {"x": x[counts], "label": labels[counts].astype(np.int32)}
    class_weights = jnp.array([1.0, 2.0, 5.0]) if seed % 2 else None
    options = {} if class_weights is None else {
        "weights": functools.partial(
            losses.label_weights, class_weights=class_weights, ignore_label=ignored
        )
    }  # fmt: skip
    loss_fn = train.supervised(
        PerToken(),
        functools.partial(losses.cross_entropy, class_weights=class_weights, ignore_label=ignored),
        metrics={"accuracy": metrics.accuracy},
        ignore_label=ignored,
        inputs="x",
        **options,
    )
    return loss_fn, whole, rows


def start(loss_fn, arrays, tx):
    return train.init_state(loss_fn, tx, 0, arrays)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24))
def test_loss_gradient_and_metrics(seed):
    loss_fn, whole, rows = make_case(seed)
    state = start(loss_fn, whole, optax.sgd(0.1))
    found = [
        jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, {}, jax.tree.map(jnp.asarray, arrays), key=jax.random.key(0), train=True
        )
        for arrays in (whole, rows)
    ]
    (loss, (_, values)), gradients = found[0]
    (expected_loss, (_, expected)), expected_gradients = found[1]
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert metrics.result(values) == pytest.approx(metrics.result(expected), rel=1e-5)
    assert largest_difference(gradients, expected_gradients) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_evaluation_of_arrays_and_loaders_in_batches_of_any_size(seed):
    loss_fn, whole, rows = make_case(seed)
    state, eval_fn = start(loss_fn, whole, optax.sgd(0.1)), train.make_eval(loss_fn)
    expected = train.evaluate(eval_fn, state, rows)
    number = len(whole["label"])
    for batch_size in (1, 3, number - 1, number):
        found = train.evaluate(eval_fn, state, whole, batch_size=batch_size)
        assert found == pytest.approx(expected, rel=1e-5)
    for resident, pad_last in itertools.product((True, False), repeat=2):
        loader = data.Loader(
            data.ArraySource(whole), batch_size=4, resident=resident, pad_last=pad_last
        )
        assert train.evaluate(eval_fn, state, loader) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_training_by_run_fit_and_loader_agrees_with_steps_by_hand(seed):
    """Two epochs in the order of the data; by hand, every batch is cut to what counts."""
    loss_fn, whole, _ = make_case(seed)
    tx = optax.sgd(0.1)
    step, state = train.make_step(loss_fn, tx), start(loss_fn, whole, tx)
    number, batch_size = len(whole["label"]), 4
    options = {"num_epochs": 2, "progress": False}
    found = []
    for resident in (True, False):
        loader = data.Loader(data.ArraySource(whole), batch_size=batch_size, resident=resident)
        found.append(train.run(step, state, loader, **options)[0])
    by_hand, update = state, jax.jit(step)
    for _ in range(2):
        for first in range(0, number, batch_size):
            part = {name: array[first : first + batch_size] for name, array in whole.items()}
            by_hand, _ = update(by_hand, part)
    for other in found:
        assert largest_difference(other.params, by_hand.params) < 1e-5
    key = jax.random.key(seed)
    ran, _ = train.run(step, state, whole, batch_size=batch_size, key=key, **options)
    fitted, _ = train.fit(step, state, whole, num_epochs=2, batch_size=batch_size, key=key)
    assert largest_difference(ran.params, fitted.params) < 1e-6


# Functions that do not read the mask


class OwnNorm(nn.Module):
    """BatchNorm of Linen in a network whose call has no mask."""

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.BatchNorm(momentum=0.0, use_running_average=not train)(x)
        return nn.Dense(NUM_CLASSES)(x)


class MaskedNorm(nn.Module):
    """The same with a mask."""

    @nn.compact
    def __call__(self, x, *, mask=None, train=False):
        x = layers.BatchNorm(momentum=1.0, name="BatchNorm_0")(x, mask=mask, train=train)
        return nn.Dense(NUM_CLASSES)(x)


RNG = np.random.default_rng(0)
NUMBERS = {
    "x": RNG.normal(3.0, 2.0, (11, 5)).astype(np.float32),
    "label": RNG.integers(0, NUM_CLASSES, 11).astype(np.int32),
}


def unpadded(step, state, order, num_epochs=1):
    """Steps over rows in a given order, the last batch as short as it is."""
    update = jax.jit(step)
    for _ in range(num_epochs):
        for rows in order:
            state, _ = update(state, {name: array[rows] for name, array in NUMBERS.items()})
    return state


def assert_close(found, expected):
    for a, b in ((found.params, expected.params), (found.model_state, expected.model_state)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6), a, b)


def orders(key, batch_size=4):
    order = np.asarray(epoch_order(key, 0, 11, batch_size))
    return [*order[:-1], order[-1][: 11 % batch_size]]


def own_loss(params, model_state, batch, *, key, train):
    """A loss written by a newcomer: it reads no mask."""
    logits = batch["x"] @ params["kernel"]
    values = losses.cross_entropy(logits, batch["label"])
    counts = jnp.zeros(NUM_CLASSES).at[batch["label"]].add(1.0)
    return values.mean(), (model_state, {"loss": metrics.mean(values), "labels": counts})


def parts_of(name):
    tx = optax.sgd(0.1, momentum=0.9)
    if name == "loss":
        params = {"kernel": jnp.ones((5, NUM_CLASSES)) * jnp.arange(NUM_CLASSES)[None]}
        state = TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(0))
        return own_loss, train.make_step(own_loss, tx), state
    model = {"norm": OwnNorm(), "masked": MaskedNorm()}[name]
    loss_fn = train.supervised(model, losses.cross_entropy, inputs="x")
    return loss_fn, train.make_step(loss_fn, tx), train.init_state(loss_fn, tx, 0, NUMBERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["norm", "loss", "masked"])
def test_no_padding_reaches_training(name):
    _, step, state = parts_of(name)
    key = jax.random.key(7)
    expected = unpadded(step, state, orders(key))
    if name != "loss":
        short = NUMBERS["x"][orders(key)[-1]]
        statistics = expected.model_state["batch_stats"]["BatchNorm_0"]
        np.testing.assert_allclose(statistics["mean"], short.mean(axis=0), rtol=1e-5)
    options = {"num_epochs": 1, "batch_size": 4, "key": key}
    ran, history = train.run(step, state, NUMBERS, progress=False, **options)
    fitted, table = jax.jit(lambda state: train.fit(step, state, NUMBERS, **options))(state)
    for found in (ran, fitted):
        assert int(found.step) == 3
        assert_close(found, expected)
    assert history[0]["train/loss"] == pytest.approx(float(table["train/loss"][0]), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["norm", "loss", "masked"])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("pad_last", [True, False])
def test_no_padding_of_a_loader_reaches_training(name, resident, pad_last):
    _, step, state = parts_of(name)
    rows = np.arange(11)
    expected = unpadded(step, state, [rows[:4], rows[4:8], rows[8:]], num_epochs=2)
    loader = data.Loader(
        data.ArraySource(NUMBERS), batch_size=4, resident=resident, pad_last=pad_last
    )
    ran, _ = train.run(step, state, loader, num_epochs=2, progress=False)
    assert_close(ran, expected)


@pytest.mark.slow
def test_no_padding_reaches_an_evaluation():
    loss_fn, _, state = parts_of("loss")
    eval_fn = train.make_eval(loss_fn)
    expected = train.evaluate(eval_fn, state, NUMBERS, batch_size=11)
    assert expected["labels"] == np.bincount(NUMBERS["label"], minlength=NUM_CLASSES).tolist()
    for batch_size in (3, 4, 10):
        found = train.evaluate(eval_fn, state, NUMBERS, batch_size=batch_size)
        assert found["labels"] == expected["labels"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    for pad_last in (True, False):
        loader = data.Loader(
            data.ArraySource(NUMBERS), batch_size=4, resident=False, pad_last=pad_last
        )
        found = train.evaluate(eval_fn, state, loader)
        assert found["labels"] == expected["labels"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.slow
def test_a_run_with_a_short_last_batch_resumes_bitwise(tmp_path):
    _, step, state = parts_of("norm")
    options = {"batch_size": 4, "key": jax.random.key(1), "progress": False}
    whole, _ = train.run(step, state, NUMBERS, num_epochs=3, **options)
    train.run(step, state, NUMBERS, num_epochs=1, workdir=tmp_path / "run", **options)
    resumed, _ = train.run(
        step, state, NUMBERS, num_epochs=3, workdir=tmp_path / "run", resume=True, **options
    )
    jax.tree.map(np.testing.assert_array_equal, whole.params, resumed.params)


# Metrics that would be summed


def summing(state, batch):
    return state.replace(step=state.step + 1), {"loss": batch["x"].mean()}


def test_a_plain_scalar_metric_is_refused_everywhere():
    _, _, state = parts_of("loss")
    message = r"the metric 'loss' is a plain scalar.*metrics.mean\(values, batch.get\('mask'\)\)"
    options = {"num_epochs": 1, "batch_size": 4, "key": jax.random.key(0)}
    loader = data.Loader(data.ArraySource(NUMBERS), batch_size=4, resident=False)

    def evaluation(state, batch):
        return summing(state, batch)[1]

    for attempt in (
        lambda: train.run(summing, state, NUMBERS, progress=False, **options),
        lambda: train.fit(summing, state, NUMBERS, **options),
        lambda: train.run(summing, state, loader, num_epochs=1, progress=False),
        lambda: train.evaluate(evaluation, state, NUMBERS),
        lambda: train.evaluate(evaluation, state, loader),
    ):
        with pytest.raises(ValueError, match=message):
            attempt()
