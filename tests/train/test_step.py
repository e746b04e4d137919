"""One step: padding changes nothing, keys are functions of the step, every model overfits."""

import dataclasses
import weakref

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.same import assert_same, largest_difference

from jaxdl import data, losses, metrics, models, optim, train, tree
from jaxdl.types import EvalStep, Loss, Mean, Step, TrainState, as_eval_step, as_step

RNG = np.random.default_rng(0)


def make_batch(number=8, size=4, num_classes=3):
    return {
        "image": jnp.asarray(RNG.integers(0, 256, (number, size, size, 1)), jnp.uint8),
        "label": jnp.asarray(RNG.integers(0, num_classes, number), jnp.int32),
    }


def scale(images):
    return images.astype(jnp.float32) / 255.0


def make_parts(model, tx, **options):
    options = {"metrics": {"accuracy": metrics.accuracy}, "preprocess": scale} | options
    loss_fn = train.supervised(model, losses.cross_entropy, **options)
    init = jax.jit(lambda key: train.init_state(model, tx, key, jnp.zeros((1, 4, 4, 1))))
    return loss_fn, jax.jit(train.make_step(loss_fn, tx)), init(jax.random.key(0))


BATCH = make_batch()
SMALL_MLP = models.MLP((6, 3), dropout_rate=0.5)
SMALL_CNN = models.CNN(3, features=(4,), dropout_rate=0.5)


@pytest.fixture(scope="module", params=[SMALL_MLP, SMALL_CNN], ids=["mlp", "cnn"])
def parts(request):
    """Dropout, and BatchNorm in one of them; plain gradient descent of rate 1."""
    return request.param, *make_parts(request.param, optax.sgd(1.0))


# The initial state


def test_the_initial_state_is_a_function_of_the_key():
    def init(seed):
        return train.init_state(
            SMALL_CNN, optim.adam(), jax.random.key(seed), jnp.zeros((1, 4, 4, 1))
        )

    init = jax.jit(init)
    state = init(0)
    assert int(state.step) == 0
    assert state.step.dtype == jnp.int32
    assert_same(state, init(0))
    other = init(1)
    assert (jax.random.key_data(state.key) != jax.random.key_data(other.key)).any()
    different = tree.max_difference(state.params, other.params)
    assert all(different[name] > 0 for name in ("Conv_0/kernel", "Dense_0/kernel", "Dense_0/bias"))
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}
    assert_same(state.model_state, {"batch_stats": statistics})


def test_the_root_key_is_not_the_one_that_drew_the_weights():
    key = jax.random.key(0)
    state = train.init_state(models.MLP((3,)), optax.sgd(0.1), key, jnp.zeros((1, 4)))
    data = [jax.random.key_data(k) for k in (state.key, *jax.random.split(jax.random.key(0)))]
    assert (data[0] != data[1]).any()
    np.testing.assert_array_equal(data[0], data[2])


@pytest.mark.slow
def test_states_of_several_seeds_equal_each_seed_alone_and_train_together():
    model, tx = models.MLP((6, 3)), optim.sgd(0.1)
    loss_fn = train.supervised(model, losses.cross_entropy, preprocess=scale)
    step = train.make_step(loss_fn, tx)

    def init_and_step(seed):
        key = jax.random.key(seed)
        state = train.init_state(model, tx, key, jnp.zeros((1, 4, 4, 1)))
        return state, step(state, BATCH)[0]

    together, alone = jax.jit(
        lambda: (jax.vmap(init_and_step)(jnp.arange(3)), init_and_step(jnp.int32(2)))
    )()
    third = jax.tree.map(lambda leaf: leaf[2], together)
    assert_same(third[0], alone[0])
    assert largest_difference(third[1], alone[1]) < 1e-6


# Padding


def padded(batch, number):
    """Rows from ``number`` on become garbage under a mask."""
    return {
        "image": batch["image"].at[number:].set(255),
        "label": batch["label"].at[number:].set(2),
        "mask": (jnp.arange(8) < number).astype(jnp.float32),
    }


@pytest.mark.slow
@pytest.mark.parametrize("model", [models.MLP((6, 3)), SMALL_CNN.clone(dropout_rate=0.0)])
def test_gradient_state_and_metrics_under_a_mask_equal_those_of_the_slice(model):
    loss_fn, _, state = make_parts(model, optax.sgd(1.0))
    differentiate = jax.jit(
        lambda batch: jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, state.model_state, batch, key=jax.random.key(0), train=True
        )
    )
    (loss, (model_state, values)), gradients = differentiate(padded(BATCH, 5))
    sliced = {name: array[:5] for name, array in BATCH.items()}
    (expected_loss, (expected_state, expected_values)), expected = differentiate(sliced)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert largest_difference(gradients, expected) < 1e-5
    assert max(tree.norms(expected).values()) > 0.01
    if model_state:
        assert largest_difference(model_state, expected_state) < 1e-5
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(values[name], expected_values[name], rtol=1e-5)
    assert float(values["loss"].count) == 5


# Keys


def tell_the_key(params, model_state, batch, *, key, train):
    value = Mean(jax.random.uniform(key), jnp.ones(()))
    return params.sum(), (model_state, {"key": value})


def test_the_key_of_a_step_is_the_root_key_folded_with_the_step():
    tx = optax.sgd(0.1)
    params = jnp.ones(2)
    state = TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(7))
    step = jax.jit(train.make_step(tell_the_key, tx))
    for number in range(3):
        state, values = step(state, BATCH)
        expected = jax.random.uniform(jax.random.fold_in(jax.random.key(7), number))
        assert values["key"].total == expected
    assert int(state.step) == 3
    np.testing.assert_array_equal(
        jax.random.key_data(state.key), jax.random.key_data(jax.random.key(7))
    )


@pytest.mark.slow
def test_dropout_repeats_from_the_same_state_and_differs_between_steps(parts):
    _, _, step, state = parts
    after, values = step(state, BATCH)
    again, again_values = step(state, BATCH)
    assert_same(after, again)
    assert values["loss"] == again_values["loss"]
    _, later = step(state.replace(step=state.step + 1), BATCH)
    assert values["loss"].total != later["loss"].total


# Training and evaluation


@pytest.mark.slow
def test_training_updates_the_statistics_and_evaluation_uses_them_without_dropout(parts):
    model, loss_fn, step, state = parts
    after, _ = step(state, BATCH)
    if state.model_state:
        assert min(tree.max_difference(state.model_state, after.model_state).values()) > 0
    eval_fn = jax.jit(train.make_eval(loss_fn))
    values = eval_fn(after, BATCH)
    variables = {"params": after.params, **after.model_state}
    logits = jax.jit(model.apply)(variables, scale(BATCH["image"]))
    expected = losses.cross_entropy(logits, BATCH["label"]).sum()
    np.testing.assert_allclose(values["loss"], (expected, 8), rtol=1e-5)
    later = eval_fn(after.replace(step=after.step + 1), BATCH)
    assert metrics.result(values) == metrics.result(later)


@pytest.mark.slow
def test_a_step_moves_against_its_gradient(parts):
    _, loss_fn, step, state = parts
    after, _ = step(state, BATCH)
    gradients = jax.jit(train.make_step(loss_fn, optax.sgd(1.0)).gradients)(state, BATCH)
    moved = jax.tree.map(lambda old, new: old - new, state.params, after.params)
    assert largest_difference(gradients, moved) < 1e-6
    assert min(tree.norms(gradients).values()) > 0


@pytest.mark.slow
def test_metrics_are_named_and_count_the_examples(parts):
    _, _, step, state = parts
    _, values = step(state, BATCH)
    assert set(values) == {"loss", "accuracy"}
    assert all(isinstance(value, Mean) and value.count == 8 for value in values.values())
    assert 0 <= values["accuracy"].total <= 8


def test_three_steps_are_traced_once():
    traces = []

    def preprocess(images):
        traces.append(images.shape)
        return scale(images)

    _, step, state = make_parts(models.MLP((6, 3)), optim.adam(), preprocess=preprocess)
    for _ in range(3):
        state, _ = step(state, BATCH)
    assert traces == [(8, 4, 4, 1)]


# Preprocessing and augmentation


class Echo(nn.Module):
    """Its input, times a parameter that is 1."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return x.reshape(x.shape[0]) * self.param("one", nn.initializers.ones, ())


def outputs_of(train_mode, seed=0, **options):
    """The model's outputs for the inputs 0, 1, 2 and 3."""

    def pick(number):
        return lambda outputs, targets: jnp.where(targets == number, outputs, 0)

    loss_fn = train.supervised(
        Echo(),
        lambda outputs, targets: outputs,
        metrics={str(number): pick(number) for number in range(4)},
        inputs="x",
        targets="number",
        **options,
    )
    batch = {"x": jnp.arange(4, dtype=jnp.uint8)[:, None], "number": jnp.arange(4)}
    key = jax.random.key(seed)
    _, (_, values) = loss_fn({"one": jnp.ones(())}, {}, batch, key=key, train=train_mode)
    return np.array([values[str(number)].total for number in range(4)])


def add_noise(key, example):
    return example + jax.random.uniform(key, example.shape)


@pytest.mark.parametrize("train_mode", [True, False])
def test_preprocessing_is_applied_in_training_and_evaluation(train_mode):
    outputs = outputs_of(train_mode, preprocess=lambda x: x.astype(jnp.float32) * 2 + 1)
    np.testing.assert_array_equal(outputs, [1, 3, 5, 7])


def test_augmentation_has_a_key_an_example_and_is_on_in_training_only():
    np.testing.assert_array_equal(outputs_of(False, augment=add_noise), [0, 1, 2, 3])
    noise = outputs_of(True, augment=add_noise) - np.arange(4)
    assert ((noise >= 0) & (noise < 1)).all()
    assert len(set(noise.round(5))) == 4
    other = outputs_of(True, seed=1, augment=add_noise) - np.arange(4)
    assert (np.abs(noise - other) > 1e-5).all()
    again = outputs_of(True, augment=add_noise) - np.arange(4)
    np.testing.assert_array_equal(noise, again)


def test_augmentation_sees_raw_examples_before_preprocessing():
    seen = []

    def augment(key, example):
        seen.append((example.shape, example.dtype))
        return example + jnp.uint8(1)

    outputs = outputs_of(True, augment=augment, preprocess=lambda x: x.astype(jnp.float32) * 10)
    assert seen == [((1,), jnp.uint8)]
    np.testing.assert_array_equal(outputs, [10, 20, 30, 40])


# Losses that are not per example


@pytest.mark.parametrize(
    ("loss", "shape"),
    [
        (lambda outputs, targets: outputs.mean(), r"\(\)"),
        (lambda outputs, targets: outputs, r"\(8, 3\)"),
        (lambda outputs, targets: outputs[:1, 0], r"\(1,\)"),
    ],
)
def test_a_loss_that_is_not_per_example_is_refused(loss, shape):
    model = models.MLP((3,))
    for name, options in (("loss", {}), ("other", {"metrics": {"other": loss}})):
        given = loss if name == "loss" else losses.cross_entropy
        loss_fn = train.supervised(model, given, preprocess=scale, **options)
        params = {"Dense_0": {"kernel": jnp.zeros((16, 3)), "bias": jnp.zeros(3)}}
        with pytest.raises(
            ValueError, match=rf"per-example {name} must have shape \(8\), got {shape}"
        ):
            loss_fn(params, {}, BATCH, key=jax.random.key(0), train=True)


# Learning


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        models.MLP((64, 10)),
        models.ConvNet(dropout_rate=0.0),
        models.CNN(features=(8,), dropout_rate=0.0),
    ],
    ids=["MLP", "ConvNet", "CNN"],
)
def test_every_model_overfits_32_examples_with_random_labels(model):
    batch = make_batch(32, 10, 10)
    tx = optim.adam(0.01)
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=scale
    )
    step, eval_fn = train.make_step(loss_fn, tx), train.make_eval(loss_fn)

    @jax.jit
    def overfit(key):
        state = train.init_state(model, tx, key, jnp.zeros((1, 10, 10, 1)))
        state = jax.lax.fori_loop(0, 150, lambda _, state: step(state, batch)[0], state)
        return eval_fn(state, batch)

    result = metrics.result(overfit(jax.random.key(0)))
    assert result["accuracy"] == 1.0
    assert result["loss"] < 0.1


# A step as a record


def test_a_step_is_hashed_by_identity_weakly_referenced_and_immutable():
    step = Step(lambda state, batch: (state + batch["x"], {}))
    assert step(1, {"x": 2}) == (3, {})
    assert step != Step(step.update)
    assert {step: 1}[step] == 1
    assert weakref.ref(step)() is step
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.network = None


@pytest.mark.slow
def test_a_step_and_its_evaluation_carry_the_network_of_their_loss(parts):
    model, loss_fn, _, state = parts
    step, eval_step = train.make_step(loss_fn, optax.sgd(1.0)), train.make_eval(loss_fn)
    assert step.network is eval_step.network is loss_fn.network
    assert step.network.model is model
    np.testing.assert_array_equal(step.network.inputs(BATCH), scale(BATCH["image"]))
    bare = train.make_step(loss_fn.fn, optax.sgd(1.0))
    assert bare.network is None
    assert_same(jax.jit(bare)(state, BATCH), jax.jit(step)(state, BATCH))


def test_a_bare_function_and_a_jitted_step_become_steps():
    def update(state, batch):
        return state, {}

    step = Step(update, gradients=lambda state, batch: state)
    assert as_step(step) is step
    assert as_step(update).update is update
    jitted = as_step(jax.jit(step))
    assert jitted.gradients is step.gradients
    assert jitted.update is not update
    evaluation = EvalStep(lambda state, batch: {}, "network")
    assert as_eval_step(evaluation) is evaluation
    assert as_eval_step(jax.jit(evaluation)).network == "network"
    assert as_eval_step(update).fn is update


# What a loss function returns


def returning(result):
    def loss_fn(params, model_state, batch, *, key, train):
        return result(params["w"])

    tx = optax.sgd(0.1)
    params = {"w": jnp.float32(2.0)}
    state = TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(0))
    return train.make_step(loss_fn, tx), train.make_eval(loss_fn), state


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda w: w, r"must return \(loss, \(model_state, metrics\)\).*got an array \(\)"),
        (lambda w: (w, {}), r"got \(an array \(\), dict\)"),
        (lambda w: (w, {}, {"a": w}), r"got \(an array \(\), dict, dict\)"),
        (lambda w: (w * jnp.ones(3), ({}, {})), r"the loss must be a scalar, got shape \(3,\)"),
        (lambda w: (w, ({}, {"loss": w})), "'loss' is a plain scalar.*metrics.mean"),
        (lambda w: (w, ({}, {"n": 3})), "'n' is a plain scalar"),
    ],
)
def test_what_a_loss_function_must_return_is_said(result, message):
    step, eval_fn, state = returning(result)
    for function in (step, jax.jit(step), step.gradients, eval_fn):
        with pytest.raises(ValueError, match=message):
            function(state, {})


def test_counts_are_metrics():
    step, eval_fn, state = returning(lambda w: (w, ({}, {"counts": jnp.arange(3)})))
    for values in (step(state, {})[1], eval_fn(state, {})):
        np.testing.assert_array_equal(values["counts"], [0, 1, 2])


# Optimizers that look at the loss


def quadratic(params, model_state, batch, *, key, train):
    value = metrics.mean(((params["w"][None] - batch["x"]) ** 2).sum(axis=1))
    return value.total / value.count, (model_state, {"loss": value})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lbfgs", "polyak_sgd", "reduce_on_plateau"])
def test_optimizers_get_the_loss_and_its_function(name):
    tx = {
        "lbfgs": optax.lbfgs(),
        "polyak_sgd": optax.polyak_sgd(max_learning_rate=0.5),
        "reduce_on_plateau": optax.chain(optax.sgd(0.2), optax.contrib.reduce_on_plateau()),
    }[name]
    params = {"w": jnp.zeros(3)}
    state = TrainState(jnp.int32(0), params, {}, tx.init(params), jax.random.key(0))
    data = {"x": jnp.array([[1.0, 2.0, 3.0]] * 4)}
    step = train.make_step(quadratic, tx)
    ran, _ = train.run(
        step, state, data, num_epochs=20, batch_size=4, key=jax.random.key(0), progress=False
    )
    np.testing.assert_allclose(ran.params["w"], [1.0, 2.0, 3.0], rtol=1e-3)
    fitted, _ = train.fit(step, state, data, num_epochs=20, batch_size=4, key=0)
    np.testing.assert_allclose(fitted.params["w"], [1.0, 2.0, 3.0], rtol=1e-3)


# States from a loss function


def test_a_loss_function_and_data_give_the_state_of_model_and_inputs():
    model, tx = models.CNN(3, features=(4,)), optim.adam()
    loss_fn = train.supervised(model, losses.cross_entropy, preprocess=scale)
    expected = train.init_state(model, tx, jax.random.key(4), jnp.zeros((1, 4, 4, 1)))
    loader = data.Loader(data.ArraySource(BATCH), batch_size=2)
    for given in (BATCH, jax.tree.map(np.asarray, BATCH), loader):
        for key in (4, np.int64(4), jax.random.key(4)):
            assert_same(train.init_state(loss_fn, tx, key, given), expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((jnp.zeros((1, 4)),), "takes the data: arrays by name.*got ArrayImpl"),
        ((), "takes the data: arrays by name"),
        (({"x": jnp.zeros((1, 4))},), r"no 'image', only \['x'\]"),
    ],
)
def test_what_a_loss_function_needs_for_its_state(args, message):
    loss_fn = train.supervised(SMALL_MLP, losses.cross_entropy)
    with pytest.raises(ValueError, match=message):
        train.init_state(loss_fn, optax.sgd(0.1), 0, *args)
    with pytest.raises(ValueError, match="has no network"):
        train.init_state(Loss(loss_fn.fn), optax.sgd(0.1), 0, BATCH)


@pytest.mark.slow
def test_a_model_applied_by_hand_equals_the_one_in_supervised(parts):
    model, loss_fn, _, state = parts
    _, (expected_state, expected) = loss_fn(
        state.params, state.model_state, BATCH, key=jax.random.key(3), train=True
    )
    logits, model_state = train.apply_model(
        model,
        state.params,
        state.model_state,
        scale(BATCH["image"]),
        key=jax.random.split(jax.random.key(3))[0],
        train=True,
    )
    assert_same(model_state, expected_state)
    np.testing.assert_allclose(
        losses.cross_entropy(logits, BATCH["label"]).sum(), expected["loss"].total, rtol=1e-6
    )
