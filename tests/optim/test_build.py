"""recipe: an optimizer with parts, frozen parameters, decay, clipping and averages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.optimizers import CASES, GRADIENTS, START, path_of
from helpers.oracle import compare

from jaxdl import metrics, optim, train
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
        optim.sgd,
        1.0,
        parts={"head": ("^head", 0.5)},
        frozen="^stem",
        weight_decay=0.25,
        decay_vectors=False,
    )
    moved, state = update(tx)
    assert moved == {
        "backbone": {"kernel": [-1.5], "bias": [-1.0]},  # 1 · (1 + 0.25 · 2), no decay on the bias
        "head": {"kernel": [-0.75], "bias": [-0.5]},
        "stem": {"kernel": [0.0]},
    }
    assert optim.learning_rates(state) == {"learning_rate/head": 0.5, "learning_rate/rest": 1.0}


@pytest.mark.slow
def test_the_rate_of_every_part_is_read_as_it_changes():
    halving = optim.exponential(1.0, 0.5)
    tx = optim.recipe(optim.adam, halving, parts={"head": ("^head", 1e-2)}, ema=0.9, accumulate=2)
    _, state = update(tx, number=6)  # three updates
    assert optim.learning_rates(state) == {"learning_rate/head": 0.01, "learning_rate/rest": 0.25}


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [optim.sgd, optim.adam, optim.adamw, optim.rmsprop, optim.lamb, optim.lion, optim.muon]
)
def test_a_recipe_without_options_is_its_optimizer(make):
    ours, own = optim.recipe(make, 0.1), make(0.1)
    state, own_state = ours.init(PARAMS), own.init(PARAMS)
    assert jax.tree.structure(state) == jax.tree.structure(own_state)
    for _ in range(3):
        updates, state = ours.update(ONES, state, PARAMS)
        expected, own_state = own.update(ONES, own_state, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)


def test_vectors_decay_unless_exempted():
    moved, _ = update(optim.recipe(optim.sgd, 1.0, weight_decay=0.25))
    assert moved["backbone"]["bias"] == [-1.5]
    moved, _ = update(optim.recipe(optim.sgd, 1.0, weight_decay=0.25, decay_vectors=False))
    assert moved["backbone"] == {"kernel": [-1.5], "bias": [-1.0]}


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


@pytest.mark.parametrize(
    ("name", "options"), [("norm", {"clip_norm": 1.5}), ("value", {"clip_value": 0.5})]
)
def test_clipping(name, options):
    tx = optim.recipe(optim.sgd, 0.1, momentum=0.9, **options)
    weights = {"bias": START[0], "weight": START}
    gradients = {"bias": GRADIENTS[:, 1], "weight": GRADIENTS}
    last = jax.tree.map(lambda leaf: leaf[-1], path_of(tx, weights, gradients))
    compare(f"clip {name}", last, CASES[f"clip {name}"])


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
        ({"parts": {"rest": ("^head", 0.1)}}, "label 'rest' is reserved"),
        ({"clip_norm": 0.0}, "clip_norm must be greater than 0, got 0.0"),
        ({"clip_norm": float("nan")}, "clip_norm must be greater than 0, got nan"),
        ({"clip_value": -1.0}, "clip_value must be greater than 0, got -1.0"),
        ({"accumulate": 2.5}, "accumulate must be an integer, got 2.5"),
        ({"ema": 1.5}, "decay must lie in 0 to 1, got 1.5"),
        ({"weight_decay": -1e-4}, "weight_decay must be at least 0, got -0.0001"),
        ({"parts": {"a": ("^head", -0.1)}}, "learning_rate must be at least 0, got -0.1"),
        ({"plateau": {"factor": 1.0}}, "factor must be at least 0 and less than 1, got 1.0"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"precision": "float8"}, "dtype must be 'bfloat16' or 'float16'"),
    ],
)
def test_a_wrong_recipe_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        optim.recipe(optim.sgd, 0.1, **options).init(PARAMS)


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
    state, update, tell = tx.init(params), jax.jit(tx.update), jax.jit(optim.plateau.observe)
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


@pytest.mark.parametrize("optimizer", ["adamw", optim.adamw(1e-3)])
def test_an_optimizer_that_is_not_a_function_is_refused(optimizer):
    with pytest.raises(ValueError, match=r"must be a function that makes one, e\.g\. optim\.adamw"):
        optim.recipe(optimizer, 1e-3)
