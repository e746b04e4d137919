"""Linear, logistic and polynomial regression, by hand and against the fixtures from PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.oracle import compare, read_cases
from helpers.small_models import draw
from jax.test_util import check_grads

from jaxdl import losses, metrics, models, optim, train, tree
from jaxdl.data import synthetic
from jaxdl.models import tutorial
from jaxdl.types import TrainState

CASES = read_cases("linear")
LINE = {"w": jnp.array(2.0), "b": jnp.array(5.0)}
PLANE = {"kernel": jnp.array([[1.0], [-2.0]]), "bias": jnp.array([0.5])}


# By hand


def test_the_line_is_straight_and_has_no_sigmoid():
    x = jnp.array([[-1e6, 0.0], [1.0, 1e6]])
    np.testing.assert_allclose(
        tutorial.linear_regression(LINE, x), [[5 - 2e6, 5], [7, 5 + 2e6]], rtol=1e-6
    )


def test_a_line_of_another_form_is_refused():
    with pytest.raises(ValueError, match=r"params\['w'\] must have shape \(\), got \(1,?\)"):
        tutorial.linear_regression({"w": jnp.ones(1), "b": jnp.zeros(())}, jnp.ones(3))


def test_log_odds_are_signed_distances_from_the_boundary():
    x = jnp.array([[1.0, 1.0], [3.0, 0.0], [1.5, 1.0]])
    logits = tutorial.logistic_regression(PLANE, x)
    np.testing.assert_allclose(logits, [-0.5, 3.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(
        losses.binary_cross_entropy(logits, jnp.array([0, 0, 1])),
        [np.log1p(np.exp(-0.5)), np.log1p(np.exp(3.5)), np.log(2)],
        rtol=1e-6,
    )


def test_another_number_of_inputs_is_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(B, 2\), got \(4, 3\)"):
        tutorial.logistic_regression(PLANE, jnp.ones((4, 3)))
    with pytest.raises(ValueError, match="num_inputs must be at least 1, got 0"):
        tutorial.init_logistic_regression(jax.random.key(0), 0)


def test_labels_in_a_column_are_refused_and_never_broadcast():
    logits = tutorial.logistic_regression(PLANE, jnp.ones((100, 2)))
    with pytest.raises(ValueError, match=r"targets must have shape \(100,?\), got \(100, 1\)"):
        losses.binary_cross_entropy(logits, jnp.ones((100, 1)))


def test_gradients_are_those_of_the_numbers():
    x = jnp.linspace(-1.0, 1.0, 6).reshape(3, 2)
    check_grads(lambda p: tutorial.linear_regression(p, x), (LINE,), 1)
    check_grads(lambda p: tutorial.logistic_regression(p, x), (PLANE,), 1)


def test_the_polynomial_has_the_coefficients_of_the_dense_layer_lowest_first():
    model = tutorial.PolynomialRegressor(degree=2)
    kernel = jnp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    params = {"Dense_0": {"kernel": kernel, "bias": jnp.array([0.0, 0.0, 3.0])}}
    x = np.array([[0.5, 1.0, 2.0], [0.0, -1.0, 3.0]], np.float32)
    outputs, variables = model.apply({"params": params}, x, mutable="intermediates")
    coefficients = np.stack([np.tanh(x[:, 0]), 2 * np.tanh(x[:, 1]), [3.0, 3.0]], axis=1)
    np.testing.assert_allclose(
        variables["intermediates"]["coefficients"][0], coefficients, rtol=1e-6
    )
    expected = [np.polyval(c[::-1], points) for c, points in zip(coefficients, x, strict=True)]
    np.testing.assert_allclose(outputs, expected, rtol=1e-5)


@pytest.mark.slow
def test_the_polynomial_of_a_batch_of_one_and_in_bfloat16():
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(10, 5)), rng.normal(size=5)
    params = {"Dense_0": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)}}
    x = np.linspace(-1, 1, 30, dtype=np.float32).reshape(3, 10)
    together = tutorial.PolynomialRegressor().apply({"params": params}, x)
    alone = tutorial.PolynomialRegressor().apply({"params": params}, x[1:2])
    np.testing.assert_allclose(alone, together[1:2], rtol=1e-5, atol=1e-6)
    half = tutorial.PolynomialRegressor(dtype=jnp.bfloat16).apply({"params": params}, x)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(half), together, atol=0.02 * np.abs(together).max())


# Initial values


def test_numbers_of_parameters():
    key = jax.random.key(0)
    assert tree.count(jax.eval_shape(tutorial.init_linear_regression, key)) == 2
    assert tree.count(jax.eval_shape(tutorial.init_logistic_regression, key)) == 3
    x = jnp.zeros((1, 100))
    assert tree.count(jax.eval_shape(tutorial.PolynomialRegressor().init, key, x)) == 505
    toy = jax.eval_shape(models.MLP((30, 20, 2)).init, key, jnp.zeros((1, 2)))
    assert tree.count(toy) == 752


def test_initial_distributions_are_pytorchs():
    keys = jax.random.split(jax.random.key(0), 2000)
    line = jax.jit(jax.vmap(tutorial.init_linear_regression))(jax.random.clone(keys))
    plane = jax.jit(jax.vmap(lambda key: tutorial.init_logistic_regression(key, 4)))(keys)
    line, plane = jax.tree.map(np.asarray, (line, plane))
    assert not line["b"].any()
    assert abs(line["w"].mean()) < 4 / np.sqrt(2000)
    assert abs(line["w"].std() - 1) < 4 / np.sqrt(4000)
    for values in (plane["kernel"], plane["bias"]):
        assert 0.49 < np.abs(values).max() <= 0.5  # 1/√4
        assert abs(values.std() - 0.5 / np.sqrt(3)) < 0.01
    assert abs(np.corrcoef(plane["kernel"][:, 0, 0], plane["bias"][:, 0])[0, 1]) < 0.1


# Training


def regression_loss(apply, loss):
    def loss_fn(params, model_state, batch, *, key, train):
        outputs = apply(params, batch["input"])
        value = metrics.mean(loss(outputs, batch["target"]), batch.get("mask"))
        return value.total / value.count, (model_state, {"loss": value})

    return loss_fn


QUARTIC = tutorial.PolynomialRegressor()
LOSSES = {
    "line": regression_loss(tutorial.linear_regression, optax.losses.l2_loss),
    "clouds": regression_loss(tutorial.logistic_regression, losses.binary_cross_entropy),
    "sine": train.supervised(QUARTIC, losses.squared_error, inputs="input", targets="target"),
}
INITS = {
    "line": tutorial.init_linear_regression,
    "clouds": tutorial.init_logistic_regression,
    "sine": lambda key: QUARTIC.init(key, jnp.zeros((1, 100)))["params"],
}


def data_of(name):
    case = CASES[name]
    data = {"input": case["x"], "target": case["labels"] if name == "clouds" else case["y"]}
    return {key: array[None] for key, array in data.items()} if name == "sine" else data


def start(params, tx):
    return TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_a_member_of_a_sweep_over_seeds_trains_as_alone(name):
    data, tx = data_of(name), optim.sgd(0.01, momentum=0.9)

    def fit(key):
        init_key, order_key = jax.random.split(key)
        state, history = train.fit(
            train.make_step(LOSSES[name], tx),
            start(INITS[name](init_key), tx),
            data,
            num_epochs=5,
            batch_size=len(data["input"]),
            key=order_key,
        )
        return state.params, history["train/loss"]

    keys = jax.random.split(jax.random.key(1), 3)
    params, loss = jax.jit(jax.vmap(fit))(jax.random.clone(keys))
    solo_params, solo_loss = jax.jit(fit)(keys[1])
    np.testing.assert_allclose(loss[1], solo_loss, rtol=1e-5)
    jax.tree.map(
        lambda all_, one: np.testing.assert_allclose(all_[1], one, rtol=1e-4, atol=1e-5),
        params,
        solo_params,
    )
    assert (loss[:, -1] < loss[:, 0]).all()
    assert len(np.unique(loss[:, 0])) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_three_steps_are_traced_once_and_a_batch_of_one_works(name):
    data, tx, traces = data_of(name), optim.sgd(0.01), 0

    def counted(*args, **options):
        nonlocal traces
        traces += 1
        return LOSSES[name](*args, **options)

    step, state = jax.jit(train.make_step(counted, tx)), start(INITS[name](jax.random.key(0)), tx)
    one = {key: array[:1] for key, array in data.items()}
    values = []
    for _ in range(3):
        state, results = step(state, one)
        values.append(float(results["loss"].total))
    assert traces == 1
    assert values[0] > values[1] > values[2]


# Against PyTorch


def assert_like_torch(name, loss_fn, apply, tx, params, batches, gradient):
    """Outputs, gradients, losses and weights of ten steps."""
    case = CASES[name]
    step = train.make_step(loss_fn, tx)

    @jax.jit
    def all_steps(params, batches):
        first = jax.tree.map(lambda leaf: leaf[0], batches)
        gradients = step.gradients(start(params, tx), first)
        state, stacked = jax.lax.scan(step, start(params, tx), batches)
        return apply(params, first["input"]), gradients, state.params, stacked["loss"]

    outputs, gradients, last, loss = all_steps(params, batches)
    compare(f"{name}: outputs", outputs.reshape(case["outputs"].shape), case["outputs"])
    compare(f"{name}: gradients", gradients, gradient("gradient"))
    compare(f"{name}: losses of ten steps", loss.total / loss.count, case["losses"])
    compare(f"{name}: weights after ten steps", last, gradient("last"))


def repeated(name):
    """All data as one batch, ten times."""
    return {key: jnp.broadcast_to(x, (10, *x.shape)) for key, x in data_of(name).items()}


def test_linear_regression_equals_torch():
    case = CASES["line"]

    def params(prefix):
        return {name: jnp.array(case[f"{prefix} {name}"]) for name in ("w", "b")}

    assert_like_torch(
        "line",
        LOSSES["line"],
        tutorial.linear_regression,
        optim.sgd(0.05),
        params("first"),
        repeated("line"),
        params,
    )


def test_logistic_regression_equals_torch():
    case = CASES["clouds"]

    def params(prefix):
        return {
            "kernel": jnp.array(case[f"{prefix} weight"]),
            "bias": jnp.array(case[f"{prefix} bias"]),
        }

    def probabilities(params, x):
        return jax.nn.sigmoid(tutorial.logistic_regression(params, x))

    assert_like_torch(
        "clouds",
        LOSSES["clouds"],
        probabilities,
        optim.sgd(0.01, momentum=0.9),
        params("first"),
        repeated("clouds"),
        params,
    )


def test_the_quartic_equals_torch():
    case = CASES["sine"]

    def params(prefix):
        kernel, bias = (jnp.array(case[f"{prefix} {name}"]) for name in ("weight", "bias"))
        return {"Dense_0": {"kernel": kernel, "bias": bias}}

    assert_like_torch(
        "sine",
        LOSSES["sine"],
        lambda params, x: QUARTIC.apply({"params": params}, x),
        optim.sgd(1e-3, momentum=0.9),
        params("first"),
        repeated("sine"),
        params,
    )


def test_the_toy_network_equals_torch_on_ragged_batches_too():
    case, model = CASES["toy"], models.MLP((30, 20, 2))
    points, _ = synthetic.toy_points()

    def params(prefix):
        return {
            f"Dense_{i}": {
                "kernel": jnp.array(case[f"{prefix} {2 * i}.weight"]),
                "bias": jnp.array(case[f"{prefix} {2 * i}.bias"]),
            }
            for i in range(3)
        }

    batches = {name: array[case["order"]] for name, array in points.items()}
    batches["mask"] = jnp.array(case["mask"])
    assert_like_torch(
        "toy",
        train.supervised(model, losses.cross_entropy, inputs="input"),
        lambda params, x: model.apply({"params": params}, x),
        optim.sgd(0.5),
        params("first"),
        batches,
        params,
    )


def test_fixed_weight_mlp_halves_until_its_sum_of_absolutes_is_at_most_one():
    model = tutorial.FixedWeightMLP(2)
    params = {"Dense_0": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)}}
    constants = {"weight": jnp.zeros((2, 2))}
    # every unit is relu(0 + 1) = 1: 2 in one example are halved once, 6 in three thrice
    for examples, expected in ((1, 1.0), (3, 0.75)):
        x = draw(examples, 2)
        assert model.apply({"params": params, "constants": constants}, x) == expected
    # 1 + 0.5·1 in the first unit, 1 in the second, of which the dense layer keeps a tenth
    params = {"Dense_0": {"kernel": jnp.eye(2) / 10, "bias": jnp.zeros(2)}}
    constants = {"weight": jnp.array([[0.5, 0.0], [0.0, 0.0]])}
    outputs = model.apply({"params": params, "constants": constants}, jnp.array([[10.0, 0.0]]))
    np.testing.assert_allclose(outputs, 0.25, rtol=1e-6)


def test_fixed_weight_mlps_constant_is_drawn_once_and_is_no_parameter():
    model, x = tutorial.FixedWeightMLP(), jnp.zeros((1, 20))
    first, second = (jax.jit(model.init)(jax.random.key(seed), x) for seed in (0, 1))
    constant = first["constants"]["weight"]
    assert constant.shape == (20, 20)
    assert 0 <= constant.min() < 0.1 < 0.9 < constant.max() < 1
    assert (constant != second["constants"]["weight"]).any()
    assert list(first["params"]) == ["Dense_0"]
