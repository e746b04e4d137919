"""The classifier of image rows: PyTorch's numbers and sizes, masks, training, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import losses, metrics, optim, train
from jaxdl.models.sequence import RecurrentClassifier

CASES = read_cases("recurrent")
CELLS = ["lstm", "gru"]


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def small(cell, **options):
    return RecurrentClassifier(3, cell, 4, 5, **{"dropout_rates": (0.0, 0.0), **options})


def unflatten(vector, like):
    leaves, structure = jax.tree.flatten(like)
    parts = np.split(vector, np.cumsum([leaf.size for leaf in leaves]))
    assert parts.pop().size == 0
    return structure.unflatten(
        [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
    )


def in_pytorchs_order(params, cell):
    """Our parameters under the names of the fixture, whose vectors are sorted by them."""
    return {
        "BatchNorm_0.bias": params["BatchNorm_0"]["bias"],
        "BatchNorm_0.kernel": params["BatchNorm_0"]["scale"],
        "Dense_0.bias": params["Dense_0"]["bias"],
        "Dense_0.kernel": params["Dense_0"]["kernel"],
        "Dense_1.bias": params["Dense_1"]["bias"],
        "Dense_1.kernel": params["Dense_1"]["kernel"],
        **{f"{cell.upper()}.{name}": p for name, p in params[f"{cell.upper()}_0"].items()},
    }


@pytest.mark.parametrize("cell", CELLS)
def test_values_gradients_and_statistics_are_pytorchs(cell):
    arrays, model = CASES[f"row classifier {cell}"], small(cell)
    x = arrays["inputs"]
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    like = in_pytorchs_order(variables["params"], cell)
    flat = unflatten(arrays["params"], like)
    recurrent = f"{cell.upper()}_0"
    params = {
        name: {k: flat[f"{name}.{k}"] for k in ("kernel", "bias")}
        for name in ("Dense_0", "Dense_1")
    }
    params["BatchNorm_0"] = {"scale": flat["BatchNorm_0.kernel"], "bias": flat["BatchNorm_0.bias"]}
    params[recurrent] = {k: flat[f"{cell.upper()}.{k}"] for k in variables["params"][recurrent]}
    statistics = {"BatchNorm_0": {"mean": jnp.zeros(4), "var": jnp.ones(4)}}

    @jax.jit
    def all_of_it(params):
        def apply(params):
            variables = {"params": params, "batch_stats": statistics}
            return model.apply(variables, x, train=True, mutable="batch_stats")

        outputs, pull_back, state = jax.vjp(apply, params, has_aux=True)
        evaluated = model.apply({"params": params, **state}, x)
        return outputs, pull_back(2 * outputs)[0], state["batch_stats"]["BatchNorm_0"], evaluated

    outputs, gradients, state, evaluated = all_of_it(params)
    name = f"row classifier {cell}"
    compare(name, outputs, arrays["outputs"])
    compare(name, evaluated, arrays["evaluated"])
    compare(name, (state["mean"], state["var"]), (arrays["mean"], arrays["var"]))
    expected = unflatten(arrays["params_gradient"], like)
    for key, gradient in in_pytorchs_order(gradients, cell).items():
        compare(f"{name}, gradients", gradient, expected[key])


@pytest.mark.parametrize(("cell", "expected"), [("lstm", 26_602), ("gru", 20_586)])
def test_parameters_are_as_many_as_pytorchs(cell, expected):
    model = RecurrentClassifier(cell=cell)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == expected
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["batch_stats"])) == 128


def test_an_image_is_a_sequence_of_its_rows():
    model, images = small("lstm"), draw(2, 3, 4, 2)
    variables = model.init(jax.random.key(0), images)
    rows = images.reshape(2, 3, 8)
    np.testing.assert_array_equal(model.apply(variables, images), model.apply(variables, rows))
    # the rows' order counts
    assert np.abs(model.apply(variables, images) - model.apply(variables, rows[:, ::-1])).max() > 0


def test_masked_examples_count_neither_in_the_statistics_nor_in_the_other_outputs():
    model, x = small("gru"), draw(5, 3, 4)
    variables = model.init(jax.random.key(0), x)
    mask = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    apply = functools.partial(model.apply, train=True, mutable="batch_stats")
    padded, padded_state = apply(variables, x.at[3:].set(100.0), mask=mask)
    outputs, state = apply(variables, x[:3])
    np.testing.assert_allclose(padded[:3], outputs, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), padded_state, state)


@pytest.mark.parametrize("cell", CELLS)
def test_it_overfits_32_examples_in_one_trace_and_under_vmap_over_seeds(cell):
    model = RecurrentClassifier(4, cell, 16, 16, dropout_rates=(0.0, 0.0))
    tx = optim.adam(2e-2)
    batch = {"image": draw(32, 6, 5), "label": jnp.arange(32) % 4}
    loss_fn = train.supervised(model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy})
    traces = []

    def loss(*arguments, **options):
        traces.append(1)
        return loss_fn(*arguments, **options)

    step = jax.jit(jax.vmap(train.make_step(loss, tx), (0, None)))
    init = functools.partial(train.init_state, model, tx)
    states = jax.jit(jax.vmap(lambda seed: init(jax.random.key(seed), batch["image"])))(
        jnp.arange(2)
    )
    for _ in range(60):
        states, results = step(states, batch)
    np.testing.assert_array_equal(results["accuracy"].total, [32.0, 32.0])
    assert (results["loss"].total / 32 < 0.1).all()
    assert len(traces) == 1


@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_and_a_batch_of_one(cell):
    model, x = small(cell, dtype=jnp.bfloat16), draw(1, 3, 4)
    variables = model.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = model.apply(variables, x)
    exact = small(cell).apply(variables, x)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(outputs, np.float32), exact, atol=0.05)


def test_dropout_is_drawn_in_training_only():
    model, x = small("lstm", dropout_rates=(0.5, 0.5)), draw(6, 3, 4)
    variables = model.init(jax.random.key(0), x)

    @jax.jit
    def train_outputs(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, x, train=True, rngs=rngs, mutable="batch_stats")[0]

    assert (train_outputs(0) != train_outputs(1)).any()
    np.testing.assert_array_equal(train_outputs(0), train_outputs(0))
    np.testing.assert_array_equal(model.apply(variables, x), small("lstm").apply(variables, x))


@pytest.mark.parametrize(
    ("model", "shape", "message"),
    [
        (small("lstm"), (2, 3), r"expected images \(B, H, W, C\) or \(B, T, F\), got shape \(2, 3"),
        (small("rnn"), (2, 3, 4), "cell must be 'lstm' or 'gru', got 'rnn'"),
        (small("gru", dropout_rates=(0.0, 1.5)), (2, 3, 4), "second_dropout_rate must lie in 0 to"),
    ],
)
def test_wrong_input_is_refused(model, shape, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
