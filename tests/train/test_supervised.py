"""What a loss function of a model counts: ignored labels, class weights, mixing, averages."""

import functools

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


def test_ignored_labels_are_slices_left_out():
    _, loss_fn, state = make(metrics={"accuracy": metrics.accuracy})
    rows = jnp.array([0, 1, 2, 4])
    all_of_them, (_, whole) = evaluate(loss_fn, state, {"image": IMAGES, "label": LABELS})
    few, (_, part) = evaluate(loss_fn, state, {"image": IMAGES[rows], "label": LABELS[rows]})
    assert float(all_of_them) == pytest.approx(float(few), rel=1e-6)
    assert metrics.result(whole) == pytest.approx(metrics.result(part), rel=1e-6)
    assert float(whole["accuracy"].count) == 4


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
