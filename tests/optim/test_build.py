"""A whole optimizer in one call: parts, frozen, decay, clipping, accumulation, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import losses, metrics, models, optim, train
from jaxdl.types import TrainState

PARAMS = {
    "backbone": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 2.0)},
    "head": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 2.0)},
    "stem": {"kernel": jnp.full((2, 2), 2.0)},
}
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def update(tx, gradients=ONES, number=1):
    state, params = tx.init(PARAMS), PARAMS
    for _ in range(number):
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    moved = jax.tree.map(lambda new, old: np.unique(new - old).tolist(), params, PARAMS)
    return moved, state


def test_every_part_moves_at_its_own_rate():
    tx = optim.recipe(
        optim.sgd, 1.0, parts={"head": ("^head", 0.5)}, frozen="^stem", weight_decay=0.25
    )
    moved, state = update(tx)
    assert moved == {
        "backbone": {"kernel": [-1.5], "bias": [-1.0]},  # 1 · (1 + 0.25 · 2), no decay on the bias
        "head": {"kernel": [-0.75], "bias": [-0.5]},
        "stem": {"kernel": [0.0]},
    }
    assert optim.learning_rates(state) == {"learning_rate/head": 0.5, "learning_rate/rest": 1.0}


def test_the_rate_of_every_part_is_read_as_it_changes():
    halving = optim.exponential(1.0, 0.5)
    tx = optim.recipe(optim.adam, halving, parts={"head": ("^head", 1e-2)}, ema=0.9, accumulate=2)
    _, state = update(tx, number=6)  # three updates
    assert optim.learning_rates(state) == {"learning_rate/head": 0.01, "learning_rate/rest": 0.25}


def test_decay_of_vectors_too():
    moved, _ = update(optim.recipe(optim.sgd, 1.0, weight_decay=0.25, decay_vectors=True))
    assert moved["backbone"]["bias"] == [-1.5]


def test_the_norm_is_that_of_what_is_trained():
    """Six ones have norm √6; the frozen 10 elsewhere must not shrink them further."""
    gradients = {**ONES, "head": jax.tree.map(lambda g: 10 * g, ONES["head"])}
    tx = optim.recipe(optim.sgd, 1.0, clip_norm=1.0, frozen=["^head", "^stem"])
    moved, _ = update(tx, gradients)
    np.testing.assert_allclose(moved["backbone"]["kernel"], [-1 / np.sqrt(6)], rtol=1e-6)
    assert moved["head"]["kernel"] == [0.0]


def test_a_small_norm_is_clipped_as_pytorch_does_it():
    """By limit / (norm + 1e-6); without the last term 1 part in 500 more is left here."""
    tx = optim.recipe(optim.sgd, 1.0, clip_norm=4e-4)
    params = {"w": jnp.zeros(2)}
    updates, _ = tx.update({"w": jnp.array([3e-4, 4e-4])}, tx.init(params), params)
    scale = 4e-4 / (5e-4 + 1e-6)
    np.testing.assert_allclose(updates["w"], [-3e-4 * scale, -4e-4 * scale], rtol=1e-5)


def test_accumulated_gradients_make_one_update():
    tx = optim.recipe(optim.sgd, 1.0, accumulate=3)
    state = tx.init(PARAMS)
    for index, value in enumerate((1.0, 2.0, 6.0)):
        gradients = jax.tree.map(lambda g, v=value: v * g, ONES)
        updates, state = tx.update(gradients, state, PARAMS)
        expected = -3.0 if index == 2 else 0.0
        np.testing.assert_allclose(updates["head"]["kernel"], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frozen": "^tail"}, "matches no"),
        ({"parts": {"a": ("^head", 0.1), "b": ("kernel", 0.1)}}, "matches the patterns of"),
        ({"parts": {"a": ("^head", 0.1)}, "frozen": "head"}, "matches the patterns of"),
        ({"parts": {"rest": ("^head", 0.1)}}, "'rest' is no name"),
        ({"clip_norm": 0.0}, "clip_norm must be greater than 0"),
        ({"accumulate": 0}, "accumulate must be greater than 0"),
        ({"precision": "float8"}, "dtype must be 'bfloat16' or 'float16'"),
    ],
)
def test_a_wrong_recipe_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.recipe(optim.sgd, 0.1, **options).init(PARAMS)


@pytest.mark.parametrize("make", [optim.lamb, optim.lion, optim.muon])
def test_the_newer_optimizers_go_downhill(make):
    target = jnp.arange(12.0).reshape(3, 4) / 12

    def objective(params):
        return ((params["w"] - target) ** 2).sum() + params["b"] ** 2

    tx = make(1e-2, weight_decay=0.0)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(objective)(params), state, params)
        return (optax.apply_updates(params, updates), state), objective(params)

    start = {"w": jnp.full((3, 4), 0.5), "b": jnp.array(0.5)}
    values = jax.jit(lambda c: jax.lax.scan(step, c, None, 200))((start, tx.init(start)))[1]
    assert values[-1] < 0.05 * values[0]


# Mixed precision

BATCH = {"image": jnp.linspace(0, 1, 32 * 16).reshape(32, 4, 4), "label": jnp.arange(32) % 3}


def make_training(tx, loss=losses.cross_entropy, model=None):
    model = model or models.MLP((8, 3))
    seen = []

    def recorded(outputs, labels):
        seen.append(outputs.dtype)
        return loss(outputs, labels)

    loss_fn = train.supervised(model, recorded)
    state = train.init_state(model, tx, jax.random.key(0), BATCH["image"])
    return train.make_step(loss_fn, tx), state, seen


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_computes_in_it_and_keeps_float32(dtype):
    half, state, seen = make_training(optim.recipe(optim.sgd, 0.1, precision=dtype))
    full, full_state, _ = make_training(optim.sgd(0.1))
    assert f":{'bf16' if dtype == 'bfloat16' else 'f16'}[16,8]" in str(
        jax.make_jaxpr(half)(state, BATCH)
    )
    assert seen == [jnp.float32]  # the loss sees float32
    for _ in range(3):
        state, metrics = jax.jit(half)(state, BATCH)
        full_state, full_metrics = jax.jit(full)(full_state, BATCH)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}
    difference = jax.tree.map(lambda a, b: float(abs(a - b).max()), state.params, full_state.params)
    assert 0 < max(jax.tree.leaves(difference)) < 5e-3
    assert float(metrics["loss"].total) == pytest.approx(float(full_metrics["loss"].total), 2e-2)


def test_an_update_that_overflows_is_left_out_and_the_scale_halved():
    tx = optim.mixed_precision(optim.adam(0.1), "float16")
    params = {"w": jnp.ones(3)}
    state = tx.init(params)
    good = {"w": jnp.full(3, 2.0**16)}
    updates, state = tx.update(good, state, params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)
    updates, after = tx.update({"w": jnp.array([1.0, jnp.inf, 1.0])}, state, params)
    assert updates["w"].tolist() == [0.0, 0.0, 0.0]
    assert float(after.loss_scale) == 2.0**15
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)


def test_the_scale_doubles_after_two_thousand_good_updates():
    tx = optim.mixed_precision(optim.sgd(0.1), "float16")
    params = {"w": jnp.ones(3)}

    def step(state, _):
        return tx.update(params, state, params)[1], None

    state = tx.init(params)
    state, _ = jax.lax.scan(step, state, None, 1999)
    assert float(state.loss_scale) == 2.0**16
    state, _ = step(state, None)
    assert float(state.loss_scale) == 2.0**17
    assert int(state.num_good) == 0


def test_float16_keeps_gradients_that_would_vanish():
    """A gradient of 1e-8 is 0 in float16; scaled by 2^16 it is not."""
    tiny = functools.partial(lambda outputs, labels: 1e-8 * outputs.sum(-1))
    step, state, _ = make_training(optim.mixed_precision(optim.sgd(1.0), "float16"), tiny)
    gradients = step.gradients(state, BATCH)
    np.testing.assert_allclose(gradients["Dense_1"]["bias"], 1e-8, rtol=1e-2)


# A plateau inside an average


def test_plateau_average_accumulation_and_clipping_against_numpy():
    """Two batches an update, norm at most 1, rate halved after the third; the average last."""
    tx = optim.recipe(
        optim.sgd,
        0.5,
        momentum=0.9,
        clip_norm=1.0,
        accumulate=2,
        plateau={"patience": 0, "factor": 0.5},
        ema=0.8,
    )
    gradients = np.random.default_rng(3).normal(size=(12, 3))
    values = [1.0, 0.5, 0.7, 0.9, 0.4, 0.3]  # worse at the third and fourth
    w, velocity, average, rate = np.ones(3), np.zeros(3), np.ones(3), 0.5
    params = {"w": jnp.ones(3)}
    state, update, tell = tx.init(params), jax.jit(tx.update), jax.jit(optim.observe)
    assert optim.plateau.has_plateau(state)
    for number, value in enumerate(values):
        for gradient in gradients[2 * number : 2 * number + 2]:
            updates, state = update({"w": jnp.asarray(gradient, jnp.float32)}, state, params)
            params = optax.apply_updates(params, updates)
        mean = gradients[2 * number : 2 * number + 2].mean(0)
        velocity = 0.9 * velocity + mean / max(1.0, np.linalg.norm(mean) + 1e-6)
        w = w - rate * velocity
        average = w if number == 0 else 0.8 * average + 0.2 * w
        state = tell(state, value)
        rate *= 0.5 if number in (2, 3) else 1.0
        assert optim.learning_rates(state) == {"learning_rate": rate}
        np.testing.assert_allclose(params["w"], w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(optim.averaged_params(state)["w"], average, rtol=1e-5, atol=1e-6)

    def loss_fn(params, model_state, batch, *, key, train):
        return 0.0, (model_state, {"dot": metrics.mean(batch["x"] @ params["w"])})

    state = TrainState(jnp.int32(0), params, {}, state, jax.random.key(0))
    evaluate = train.make_eval(loss_fn, averaged=True)
    seen = train.evaluate(evaluate, state, {"x": np.eye(3, dtype=np.float32)})
    assert seen["dot"] == pytest.approx(average.mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tx: optim.reduce_on_plateau(optim.ema(tx)), r"expected ema\(reduce_on_plateau"),
        (
            lambda tx: optim.reduce_on_plateau(optim.mixed_precision(optim.swa(tx))),
            "would scale updates that ema or swa took to be final",
        ),
        (
            lambda tx: optim.reduce_on_plateau(optim.max_norm(tx, "kernel", 1.0)),
            r"expected max_norm\(reduce_on_plateau\(tx\)\)",
        ),
        (lambda tx: optim.max_norm(optim.ema(tx), "kernel", 1.0), r"expected ema\(max_norm\(tx"),
    ],
)
def test_what_must_be_outside_is_refused_inside(make, message):
    with pytest.raises(ValueError, match=message):
        make(optim.sgd(0.1)).init(PARAMS)


def test_a_plateau_inside_a_largest_norm_leaves_it():
    tx = optim.ema(
        optim.max_norm(optim.reduce_on_plateau(optim.sgd(1.0), patience=0), "w", 1.0), 0.5
    )
    params = {"w": jnp.full((1, 4), 10.0)}
    state = optim.observe(optim.observe(tx.init(params), 1.0), 1.0)  # the rate is 0.1 now
    updates, state = tx.update({"w": jnp.full((1, 4), 1.0)}, state, params)
    np.testing.assert_allclose(params["w"] + updates["w"], 0.5 - 0.1, rtol=1e-5)
    np.testing.assert_allclose(optim.averaged_params(state)["w"], 0.4, rtol=1e-5)
    assert optim.learning_rates(state) == {"learning_rate": 0.1}
