"""The loss function of a model: ignored labels, class weights, mixing, averages."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, losses, metrics, models, optim, train, transforms

IMAGES = jax.random.uniform(jax.random.key(0), (6, 4, 4, 1))
LABELS = jnp.array([0, 2, 1, -100, 2, -100])


def make(**options):
    model = models.MLP((3,))
    loss_fn = train.supervised(model, losses.cross_entropy, **options)
    state = train.init_state(model, optim.sgd(0.1), jax.random.key(1), IMAGES)
    return model, loss_fn, state


def evaluate(loss_fn, state, batch, key=2, train_mode=False):
    return loss_fn(
        state.params, state.model_state, batch, key=jax.random.key(key), train=train_mode
    )


@pytest.mark.slow
def test_ignored_labels_are_slices_left_out():
    _, loss_fn, state = make(metrics={"accuracy": metrics.accuracy})
    rows = jnp.array([0, 1, 2, 4])
    all_of_them, (_, whole) = evaluate(loss_fn, state, {"image": IMAGES, "label": LABELS})
    few, (_, part) = evaluate(loss_fn, state, {"image": IMAGES[rows], "label": LABELS[rows]})
    assert float(all_of_them) == pytest.approx(float(few), rel=1e-6)
    assert metrics.result(whole) == pytest.approx(metrics.result(part), rel=1e-6)
    assert float(whole["accuracy"].count) == 4


@pytest.mark.slow
def test_another_label_can_be_the_ignored_one():
    batch = {"image": IMAGES, "label": jnp.array([0, 2, 1, 0, 2, 0])}
    options = {"metrics": {"accuracy": metrics.accuracy}, "ignore_label": 0}
    model, _, state = make()
    ignoring = functools.partial(losses.cross_entropy, ignore_label=0)
    loss_fn = train.supervised(model, ignoring, **options)
    value, (_, results) = evaluate(loss_fn, state, batch)
    rows = jnp.array([1, 2, 4])
    some = {name: array[rows] for name, array in batch.items()}
    expected, _ = evaluate(train.supervised(model, losses.cross_entropy), state, some)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert float(results["loss"].count) == float(results["accuracy"].count) == 3


@pytest.mark.slow
def test_labels_beyond_the_outputs_are_named(tmp_path):
    _, loss_fn, state = make()
    step, eval_fn = train.make_step(loss_fn, optim.sgd(0.1)), train.make_eval(loss_fn)
    right = {"image": np.asarray(IMAGES), "label": np.arange(6, dtype=np.int32) % 3}
    wrong = {**right, "label": np.array([0, 1, 2, 0, 7, 1], np.int32)}
    options = {"num_epochs": 1, "batch_size": 2, "key": jax.random.key(0), "progress": False}
    message = r"the model has 3 outputs: labels must lie in 0 to 2, got 7"
    with pytest.raises(ValueError, match=message):
        train.run(step, state, wrong, **options)
    with pytest.raises(ValueError, match=message + " at index 4"):
        train.run(step, state, right, eval_fn=eval_fn, eval_data=wrong, **options)
    loader = data.Loader(data.ArraySource(wrong), batch_size=2, resident=False)
    with pytest.raises(ValueError, match=message):
        train.evaluate(eval_fn, state, loader)
    masked = {**wrong, "mask": np.array([1, 1, 1, 1, 0, 1], np.float32)}
    assert np.isfinite(train.evaluate(eval_fn, state, masked)["loss"])
    with pytest.raises(ValueError, match="mask'] is 0 everywhere"):
        train.evaluate(eval_fn, state, {**right, "mask": np.zeros(6, np.float32)})


@pytest.mark.slow
def test_class_weights_divide_by_the_weights_of_the_labels():
    weights = jnp.array([1.0, 2.0, 5.0])
    model, _, state = make()
    weighted = train.supervised(
        model,
        lambda z, y: losses.cross_entropy(z, y, class_weights=weights),
        weights=lambda y: losses.label_weights(y, weights),
    )
    value, (_, results) = evaluate(weighted, state, {"image": IMAGES, "label": LABELS})
    logits = model.apply({"params": state.params}, IMAGES)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = -(log_p[0, 0] + 5 * log_p[1, 2] + 2 * log_p[2, 1] + 5 * log_p[4, 2]) / 13
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert float(results["loss"].count) == 13


@pytest.mark.slow
@pytest.mark.parametrize("mix", [transforms.mixup(1.0), transforms.cutmix(1.0)])
def test_mixed_examples_share_their_losses(mix):
    model, loss_fn, state = make(mix=mix)
    labels = jnp.array([0, 1, 2, 0, 1, 2])
    batch = {"image": IMAGES, "label": labels}
    value, _ = evaluate(loss_fn, state, batch, train_mode=True)
    # by hand, with the key that supervised gives
    _, augment_key = jax.random.split(jax.random.key(2))
    mixed, partner, share = mix(jax.random.fold_in(augment_key, 1), IMAGES)
    logits = model.apply({"params": state.params}, mixed)
    own, other = (losses.cross_entropy(logits, y) for y in (labels, labels[partner]))
    expected = (share * own + (1 - share) * other).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    plain, _ = evaluate(loss_fn, state, batch)
    assert float(plain) == pytest.approx(
        float(losses.cross_entropy(model.apply({"params": state.params}, IMAGES), labels).mean())
    )


def test_a_penalty_is_in_the_loss_but_not_in_the_metric():
    _, loss_fn, state = make(penalty=lambda params: 3.0 * params["Dense_0"]["bias"].sum())
    batch = {"image": IMAGES, "label": jnp.zeros(6, jnp.int32)}
    value, (_, results) = evaluate(loss_fn, state, batch, train_mode=True)
    gap = float(value) - float(results["loss"].total / 6)
    assert gap == pytest.approx(3.0 * float(state.params["Dense_0"]["bias"].sum()), rel=1e-4)
    value, (_, results) = evaluate(loss_fn, state, batch)
    assert float(value) == pytest.approx(float(results["loss"].total / 6))


@pytest.mark.slow
def test_the_average_of_the_weights_is_evaluated_where_asked():
    tx = optim.ema(optim.sgd(0.5), 0.5)
    model = models.MLP((3,))
    loss_fn = train.supervised(model, losses.cross_entropy)
    batch = {"image": IMAGES, "label": jnp.array([0, 1, 2, 0, 1, 2])}
    state = train.init_state(model, tx, jax.random.key(1), IMAGES)
    for _ in range(3):
        state, _ = train.make_step(loss_fn, tx)(state, batch)
    average = optim.averaged_params(state)
    swapped = train.make_eval(loss_fn)(state.replace(params=average), batch)
    averaged = train.make_eval(loss_fn, averaged=True)(state, batch)
    assert float(averaged["loss"].total) == float(swapped["loss"].total)
    assert float(averaged["loss"].total) != float(train.make_eval(loss_fn)(state, batch)["loss"][0])
    plain = train.init_state(model, optim.sgd(0.1), jax.random.key(1), IMAGES)
    with pytest.raises(ValueError, match="found 0"):
        train.make_eval(loss_fn, averaged=True)(plain, batch)


def plateau_training():
    tx = optim.reduce_on_plateau(optim.sgd(1e-3), patience=0, factor=0.5, threshold=0.5)
    model = models.MLP((3,))
    loss_fn = train.supervised(model, losses.cross_entropy)
    state = train.init_state(model, tx, jax.random.key(1), IMAGES)
    data = {"image": np.asarray(IMAGES), "label": np.arange(6, dtype=np.int32) % 3}
    common = {"batch_size": 2, "key": jax.random.key(3), "eval_data": data}
    return (
        train.make_step(loss_fn, tx),
        state,
        data,
        {**common, "eval_fn": train.make_eval(loss_fn)},
    )


@pytest.mark.slow
def test_run_and_fit_lower_the_rate_on_a_plateau_and_agree(tmp_path):
    """The loss moves by less than half, so every epoch after the first halves the rate."""
    step, state, data, common = plateau_training()
    ran, history = train.run(step, state, data, num_epochs=4, progress=False, **common)
    assert [row["learning_rate"] for row in history] == [0.001, 0.001, 0.0005, 0.00025]
    fitted, _ = train.fit(step, state, data, num_epochs=4, **common)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ran.params, fitted.params
    )
    # stopped after two epochs and resumed: bitwise the same
    options = {**common, "progress": False, "workdir": tmp_path / "run"}
    train.run(step, state, data, num_epochs=2, **options)
    resumed, rows = train.run(step, state, data, num_epochs=4, resume=True, **options)
    jax.tree.map(np.testing.assert_array_equal, resumed.params, ran.params)
    jax.tree.map(np.testing.assert_array_equal, resumed.opt_state, ran.opt_state)
    assert [row["learning_rate"] for row in rows] == [0.001, 0.001, 0.0005, 0.00025]


def test_a_plateau_wants_a_metric():
    step, state, data, common = plateau_training()
    with pytest.raises(ValueError, match="monitor 'test/error' is not a metric"):
        train.run(step, state, data, num_epochs=1, progress=False, monitor="test/error", **common)
    with pytest.raises(ValueError, match="monitor 'test/error' is not a metric"):
        train.fit(step, state, data, num_epochs=1, monitor="test/error", **common)


# Ignored labels of every dtype


INTEGERS = [jnp.int8, jnp.int16, jnp.int32, jnp.uint8, jnp.uint16, jnp.uint32]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("ignored", [-1, 100, 255])
def test_labels_of_every_integer_dtype_are_ignored(dtype, ignored):
    if not jnp.iinfo(dtype).min <= ignored <= jnp.iinfo(dtype).max:
        pytest.skip("not a number of this dtype")
    model, _, state = make()
    loss_fn = train.supervised(
        model,
        functools.partial(losses.cross_entropy, ignore_label=ignored),
        metrics={"accuracy": metrics.accuracy},
        ignore_label=ignored,
    )
    labels = jnp.array([0, 2, 1, ignored, 2, ignored]).astype(dtype)
    rows = jnp.array([0, 1, 2, 4])
    differentiate = jax.value_and_grad(loss_fn, has_aux=True)
    found = [
        differentiate(state.params, {}, batch, key=jax.random.key(0), train=True)
        for batch in (
            {"image": IMAGES, "label": labels},
            {"image": IMAGES[rows], "label": labels[rows].astype(jnp.int32)},
        )
    ]
    assert float(found[0][0][1][1]["loss"].count) == 4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), *found)


def test_void_pixels_of_uint8_masks_do_not_count():
    """One labeled pixel of four and logits of 0: the loss is log 2, not a quarter of it."""

    class Pixels(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, kernel_init=nn.initializers.zeros)(x)

    loss_fn = train.supervised(
        Pixels(), functools.partial(losses.cross_entropy, ignore_label=255), ignore_label=255
    )
    batch = {
        "image": jnp.ones((1, 2, 2, 3)),
        "label": jnp.array([[[1, 255], [255, 255]]], jnp.uint8),
    }
    state = train.init_state(loss_fn, optim.sgd(0.1), 0, batch)
    value, (_, results) = evaluate(loss_fn, state, batch)
    assert float(value) == pytest.approx(np.log(2), rel=1e-6)
    assert float(results["loss"].count) == 1


def test_numbers_of_a_regression_are_never_ignored():
    class Constant(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x * self.param("one", nn.initializers.ones, ())

    def measure(**options):
        loss_fn = train.supervised(
            Constant(), losses.squared_error, inputs="x", targets="y", **options
        )
        batch = {"x": jnp.zeros(3), "y": jnp.array([-100, 0, 100])}
        value, _ = loss_fn({"one": jnp.ones(())}, {}, batch, key=jax.random.key(0), train=False)
        return float(value)

    assert measure() == measure(ignore_label=None) == pytest.approx(20_000 / 3)
    assert measure(ignore_label=0) == 10_000  # asked for


@pytest.mark.slow
def test_nothing_to_count_is_a_loss_of_0_without_a_gradient():
    model, _, state = make()
    class_weights = jnp.array([1.0, 0.0, 0.0])
    weighted = train.supervised(
        model,
        functools.partial(losses.cross_entropy, class_weights=class_weights),
        weights=functools.partial(losses.label_weights, class_weights=class_weights),
    )
    for loss_fn, label in ((weighted, 2), (make()[1], -100)):
        batch = {"image": IMAGES, "label": jnp.full(6, label)}
        (value, _), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, {}, batch, key=jax.random.key(0), train=True
        )
        assert float(value) == 0.0
        assert not any(leaf.any() for leaf in jax.tree.leaves(gradients))


# Mixing under a mask


@pytest.mark.slow
def test_padding_is_never_mixed_into_an_example():
    _, loss_fn, state = make(mix=transforms.mixup(1.0))
    real = jnp.array([1, 0, 1, 1, 0, 1], jnp.float32)
    labels = jnp.array([0, 1, 2, 0, 1, 2])

    def measure(filling, label):
        batch = {
            "image": jnp.where(real[:, None, None, None] > 0, IMAGES, filling),
            "label": jnp.where(real > 0, labels, label),
            "mask": real,
        }
        return jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, {}, batch, key=jax.random.key(5), train=True
        )

    jax.tree.map(np.testing.assert_array_equal, measure(0.0, 0), measure(jnp.nan, 7))


def test_a_partner_without_a_label_gives_no_share():
    def with_the_next(key, x):
        return x, (jnp.arange(6) + 1) % 6, jnp.float32(0.25)

    model, loss_fn, state = make(mix=with_the_next)
    value, (_, results) = evaluate(
        loss_fn, state, {"image": IMAGES, "label": LABELS}, train_mode=True
    )
    log_p = np.asarray(jax.nn.log_softmax(model.apply({"params": state.params}, IMAGES)))
    own = -(log_p[0, 0] + log_p[1, 2] + log_p[2, 1] + log_p[4, 2])
    other = -(log_p[0, 2] + log_p[1, 1] + log_p[3, 2] + log_p[5, 0])
    assert float(value) == pytest.approx((0.25 * own + 0.75 * other) / 4, rel=1e-5)
    assert float(results["loss"].count) == 4


# Several inputs, several targets, other calls


class Both(nn.Module):
    """Class scores and a number from an image and a row of a table; noise in training."""

    @nn.compact
    def __call__(self, image, row, *, deterministic):
        x = jnp.concatenate([image.reshape(image.shape[0], -1), row], axis=1)
        if not deterministic:
            x += jax.random.normal(self.make_rng("noise"), x.shape)
        return {"scores": nn.Dense(3)(x), "number": nn.Dense(1)(x)[:, 0]}


def both_losses(outputs, targets):
    return losses.cross_entropy(outputs["scores"], targets["class"]) + losses.squared_error(
        outputs["number"], targets["number"]
    )


TABLE = {
    "image": (IMAGES * 255).astype(jnp.uint8),
    "row": jnp.arange(12.0).reshape(6, 2),
    "class": jnp.array([0, 1, 2, 0, 1, 2]),
    "number": jnp.linspace(-1.0, 1.0, 6),
}


@pytest.mark.slow
def test_several_inputs_and_targets_by_name():
    loss_fn = train.supervised(
        Both(),
        both_losses,
        metrics={"accuracy": lambda z, y: metrics.accuracy(z["scores"], y["class"])},
        preprocess={"image": transforms.to_float},
        augment={"row": lambda key, row: row + jax.random.uniform(key, row.shape)},
        inputs=("image", "row"),
        targets=("class", "number"),
        rngs=("noise", "dropout"),
    )
    tx = optim.sgd(0.1)
    state = train.init_state(loss_fn, tx, 3, TABLE)
    assert state.params["Dense_0"]["kernel"].shape == (18, 3)
    value, (_, results) = evaluate(loss_fn, state, TABLE)
    outputs = Both().apply(
        {"params": state.params},
        transforms.to_float(TABLE["image"]),
        TABLE["row"],
        deterministic=True,
    )
    expected = both_losses(outputs, TABLE).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    assert float(results["accuracy"].count) == 6
    drawn = [float(evaluate(loss_fn, state, TABLE, key, train_mode=True)[0]) for key in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    arrays = {name: np.asarray(array) for name, array in TABLE.items()}
    options = {"num_epochs": 2, "batch_size": 4, "key": jax.random.key(0)}
    step, eval_fn = train.make_step(loss_fn, tx), train.make_eval(loss_fn)
    common = {**options, "eval_fn": eval_fn, "eval_data": arrays}
    ran, history = train.run(step, state, arrays, progress=False, **common)
    fitted, table = train.fit(step, state, arrays, **common)
    np.testing.assert_allclose(
        [row["test/accuracy"] for row in history], table["test/accuracy"], rtol=1e-6
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ran.params, fitted.params
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preprocess": lambda x: x}, "preprocess must be functions by name, e.g. {'image'"),
        ({"augment": {"meta": lambda key, x: x}}, r"augment is for the inputs .*, got 'meta'"),
        ({"mix": transforms.mixup()}, "mix takes a model with one input"),
        ({"metrics": {"loss": both_losses}}, "a metric cannot be called 'loss'"),
        ({"targets": "mask"}, "'mask' is the batch's mask of padding"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    options = {"inputs": ("image", "row"), "targets": ("class", "number")} | options
    with pytest.raises(ValueError, match=message):
        train.supervised(Both(), both_losses, **options)


def test_other_names_in_the_batch_are_answered_with_the_option():
    _, loss_fn, state = make()
    for renamed, message in (
        ({"x": IMAGES, "label": LABELS}, r"no 'image', only \['label', 'x'\]: set inputs="),
        ({"image": IMAGES, "y": LABELS}, r"no 'label', only \['image', 'y'\]: set targets="),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(loss_fn, state, renamed)


def test_a_plain_module_needs_no_train_argument():
    loss_fn = train.supervised(nn.Dense(3), losses.cross_entropy, inputs="row", targets="class")
    state = train.init_state(loss_fn, optim.sgd(0.1), 0, TABLE)
    value, _ = evaluate(loss_fn, state, TABLE, train_mode=True)
    logits = nn.Dense(3).apply({"params": state.params}, TABLE["row"])
    assert float(value) == pytest.approx(
        float(losses.cross_entropy(logits, TABLE["class"]).mean()), rel=1e-6
    )


class Sowing(nn.Module):
    """Sows two losses, and keeps a count of its training calls in a collection."""

    @nn.compact
    def __call__(self, x, *, train=False):
        calls = self.variable("counts", "calls", lambda: jnp.zeros((), jnp.int32))
        if train:
            calls.value += 1
        kernel = self.param("kernel", nn.initializers.ones, (2, 3))
        self.sow("losses", "size", (kernel**2).sum())
        self.sow("losses", "shift", kernel.sum())
        return x @ kernel


@pytest.mark.slow
def test_sown_losses_are_trained_but_are_not_state():
    loss_fn = train.supervised(Sowing(), losses.cross_entropy, inputs="row", targets="class")
    tx = optim.sgd(1.0)
    state = train.init_state(loss_fn, tx, 0, TABLE)
    assert state.model_state == {"counts": {"calls": 0}}
    plain = train.supervised(nn.Dense(3, use_bias=False), losses.cross_entropy, inputs="row",
                             targets="class")  # fmt: skip
    value, (model_state, results) = evaluate(loss_fn, state, TABLE, train_mode=True)
    expected, _ = evaluate(plain, state.replace(model_state={}), TABLE)
    assert float(value) == pytest.approx(float(expected) + 6 + 6)
    assert metrics.result(results)["loss"] == pytest.approx(float(expected))
    assert metrics.result(results)["sown_loss"] == 12
    assert int(model_state["counts"]["calls"]) == 1
    step = train.make_step(loss_fn, tx)
    after, _ = train.fit(step, state, TABLE, num_epochs=1, batch_size=2, key=0)
    assert int(after.model_state["counts"]["calls"]) == 3
    gradients = step.gradients(state, TABLE)["kernel"]
    others = train.make_step(plain, tx).gradients(state.replace(model_state={}), TABLE)["kernel"]
    np.testing.assert_allclose(gradients, others + 2 * 1 + 1, rtol=1e-5)


def test_a_sown_array_is_refused():
    class Bad(nn.Module):
        @nn.compact
        def __call__(self, x):
            self.sow("losses", "each", x)
            return nn.Dense(3)(x)

    loss_fn = train.supervised(Bad(), losses.cross_entropy, inputs="row", targets="class")
    state = train.init_state(loss_fn, optim.sgd(0.1), 0, TABLE)
    with pytest.raises(ValueError, match=r"sown into 'losses' must be a scalar, got shapes \[\(6"):
        evaluate(loss_fn, state, TABLE)


@pytest.mark.slow
def test_labels_that_are_ignored_under_any_number_train_and_evaluate():
    """ignore_label=-1 under the default name; fit, run and evaluate agree."""
    model, _, state = make()
    loss_fn = train.supervised(
        model, functools.partial(losses.cross_entropy, ignore_label=-1), ignore_label=-1
    )
    arrays = {"image": np.asarray(IMAGES), "label": np.array([0, 2, 1, -1, 2, -1])}
    step, eval_fn = train.make_step(loss_fn, optim.sgd(0.1)), train.make_eval(loss_fn)
    options = {"num_epochs": 1, "batch_size": 6, "key": jax.random.key(0)}
    options |= {"eval_fn": eval_fn, "eval_data": arrays}
    ran, history = train.run(step, state, arrays, progress=False, **options)
    fitted, table = train.fit(step, state, arrays, **options)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), ran.params, fitted.params
    )
    loader = data.Loader(data.ArraySource(arrays), batch_size=4, resident=False)
    found = [train.evaluate(eval_fn, ran, which)["loss"] for which in (arrays, loader)]
    np.testing.assert_allclose(found, [history[0]["test/loss"]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found[0], table["test/loss"][0], rtol=1e-6)
    bad = {**arrays, "label": np.array([0, 2, 1, -1, -7, -1])}
    with pytest.raises(ValueError, match=r"labels must lie in 0 to .*, got -7"):
        train.run(step, state, bad, progress=False, **{**options, "eval_data": bad})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.linspace(0.0, 1.0, 6).astype(np.float32), "must be integers .*targets="),
        (np.array([-1, 1, 1, -1, 1, 1]), "must lie in 0 to .*, got -1.*targets="),
    ],
)
def test_targets_of_a_regression_under_the_name_label_are_refused_with_a_hint(labels, message):
    _, loss_fn, state = make()
    arrays = {"image": np.asarray(IMAGES), "label": labels}
    with pytest.raises(ValueError, match="(?s)" + message):
        train.evaluate(train.make_eval(loss_fn), state, arrays)
