"""The classifier of image rows: PyTorch's numbers and sizes, masks, training, wrong input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import losses, metrics, optim, train
from jaxdl.models import EmbeddingClassifier, RecurrentClassifier

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_an_image_is_a_sequence_of_its_rows():
    model, images = small("lstm"), draw(2, 3, 4, 2)
    variables = model.init(jax.random.key(0), images)
    rows = images.reshape(2, 3, 8)
    np.testing.assert_array_equal(model.apply(variables, images), model.apply(variables, rows))
    # the rows' order counts
    assert np.abs(model.apply(variables, images) - model.apply(variables, rows[:, ::-1])).max() > 0


@pytest.mark.slow
def test_masked_examples_count_neither_in_the_statistics_nor_in_the_other_outputs():
    model, x = small("gru"), draw(5, 3, 4)
    variables = model.init(jax.random.key(0), x)
    mask = jnp.array([1.0, 1.0, 1.0, 0.0, 0.0])
    apply = functools.partial(model.apply, train=True, mutable="batch_stats")
    padded, padded_state = apply(variables, x.at[3:].set(100.0), mask=mask)
    outputs, state = apply(variables, x[:3])
    np.testing.assert_allclose(padded[:3], outputs, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), padded_state, state)


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_bfloat16_and_a_batch_of_one(cell):
    model, x = small(cell, dtype=jnp.bfloat16), draw(1, 3, 4)
    variables = model.init(jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    outputs = model.apply(variables, x)
    exact = small(cell).apply(variables, x)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(outputs, np.float32), exact, atol=0.05)


@pytest.mark.slow
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


# EmbeddingClassifier

TOKENS = jnp.array([[3, 2, 3, 0], [1, 2, 0, 0]])


def params(table, kernel, bias):
    return {"Embed_0": {"embedding": table}, "Dense_0": {"kernel": kernel, "bias": bias}}


def test_embedding_classifiers_values_and_gradients_are_pytorchs():
    arrays = read_cases("embedding")["bag of embeddings"]
    model = EmbeddingClassifier(7, features=3)

    def apply(params):
        return model.apply({"params": params}, arrays["tokens"])

    names = ("table", "kernel", "bias")
    outputs, pull_back = jax.vjp(apply, params(*(arrays[name] for name in names)))
    compare("bag of embeddings", outputs, arrays["outputs"])
    expected = params(*(arrays[f"{name}_gradient"] for name in names))
    compare("bag of embeddings", pull_back(2 * outputs)[0], expected)


def test_logits_by_hand():
    table = jnp.array([[9.0], [1.0], [2.0], [4.0]])  # row 0 is padding and must not count
    variables = {"params": params(table, jnp.array([[1.0, -3.0]]), jnp.array([0.0, 5.0]))}
    logits = EmbeddingClassifier(4, features=1).apply(variables, TOKENS)
    # means (4 + 2 + 4) / 3 and (1 + 2) / 2
    np.testing.assert_allclose(logits, [[10 / 3, -5.0], [1.5, 0.5]], rtol=1e-6)


def test_parameters_are_those_of_the_table_and_the_dense_layers():
    model = EmbeddingClassifier(100, 3, features=8, hidden=(5,))
    shapes = jax.eval_shape(model.init, jax.random.key(0), TOKENS)
    expected = 100 * 8 + (8 + 1) * 5 + (5 + 1) * 3
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


@pytest.mark.slow
def test_more_padding_changes_nothing_and_a_text_of_padding_has_the_mean_zero():
    model = EmbeddingClassifier(5, features=3)
    variables = model.init(jax.random.key(0), TOKENS)
    logits = model.apply(variables, TOKENS)
    longer = jnp.pad(TOKENS, ((0, 1), (0, 3)))
    again = model.apply(variables, longer)
    np.testing.assert_allclose(again[:2], logits, rtol=1e-6)
    np.testing.assert_array_equal(again[2], variables["params"]["Dense_0"]["bias"])


def test_embedding_scale_is_the_deviation_at_the_start_and_padding_is_zero():
    model = EmbeddingClassifier(1000, features=20, embedding_scale=0.1)
    table = model.init(jax.random.key(0), TOKENS)["params"]["Embed_0"]["embedding"]
    np.testing.assert_allclose(table[1:].std(), 0.1, rtol=0.03)
    np.testing.assert_array_equal(table[0], 0)


def test_word_dropout_leaves_words_out_of_the_mean_in_training_only():
    model = EmbeddingClassifier(1001, 1, features=1, word_dropout_rate=0.3)
    tokens = jnp.arange(1, 1001).reshape(1, -1)
    # 1 for 500 words and 0 for the others: the mean is the kept share of the first
    table = (jnp.arange(1001) <= 500).astype(jnp.float32).reshape(-1, 1)
    variables = {"params": params(table, jnp.ones((1, 1)), jnp.zeros(1))}

    @jax.jit
    def train_mean(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply(variables, tokens, train=True, rngs=rngs)[0, 0]

    means = np.array([train_mean(seed) for seed in range(5)])
    assert len(set(means)) == 5
    # a mean of about 700 of 1000 words: within 4 deviations of 1/2, and no factor 0.7 left in it
    assert (np.abs(means - 0.5) < 4 * 0.5 * np.sqrt(0.3 / 700)).all()
    assert model.apply(variables, tokens)[0, 0] == 0.5


@pytest.mark.slow
def test_it_overfits_32_texts_in_one_trace_and_leaves_the_padding_row_at_zero():
    generator = np.random.default_rng(0)
    tokens = generator.integers(0, 50, (32, 6)).astype(np.int32)
    batch = {"tokens": jnp.asarray(tokens), "label": jnp.arange(32) % 2}
    model = EmbeddingClassifier(50, features=16, hidden=(16,))
    tx = optim.adamw(3e-2)
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, inputs="tokens"
    )
    traces = []

    def loss(*arguments, **options):
        traces.append(1)
        return loss_fn(*arguments, **options)

    step = jax.jit(train.make_step(loss, tx))
    state = train.init_state(model, tx, jax.random.key(0), batch["tokens"])
    for _ in range(50):
        state, results = step(state, batch)
    assert float(results["accuracy"].total) == 32
    assert len(traces) == 1
    np.testing.assert_array_equal(state.params["Embed_0"]["embedding"][0], 0)


@pytest.mark.slow
def test_embedding_classifier_under_vmap_in_bfloat16_and_with_a_batch_of_one():
    model = EmbeddingClassifier(5, features=3, hidden=(4,), dtype=jnp.bfloat16)
    exact = EmbeddingClassifier(5, features=3, hidden=(4,))
    stacked = jax.vmap(lambda seed: model.init(jax.random.key(seed), TOKENS))(jnp.arange(2))
    together = jax.vmap(model.apply, (0, None))(stacked, TOKENS[:1])
    assert together.dtype == jnp.bfloat16
    for member in range(2):
        variables = jax.tree.map(lambda leaf, i=member: leaf[i], stacked)
        alone = exact.apply(variables, TOKENS[:1])
        np.testing.assert_allclose(np.asarray(together[member], np.float32), alone, atol=0.05)


@pytest.mark.parametrize(
    ("options", "tokens", "message"),
    [
        ({}, jnp.zeros(3, jnp.int32), r"tokens must have shape \(B, T\), got \(3,\)"),
        ({}, jnp.zeros((2, 3)), "indices must be integers, got dtype float32"),
        ({"word_dropout_rate": -0.1}, TOKENS, "word_dropout_rate must lie in 0 to 1, got -0.1"),
        ({"dropout_rate": 2.0}, TOKENS, "dropout_rate must lie in 0 to 1, got 2.0"),
    ],
)
def test_embedding_classifier_refuses_wrong_input(options, tokens, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingClassifier(5, **options).init(jax.random.key(0), tokens)
