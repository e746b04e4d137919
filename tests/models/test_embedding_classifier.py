"""The embedding classifier: PyTorch's numbers, padding, word dropout, training, wrong input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import losses, metrics, optim, train
from jaxdl.models.sequence import EmbeddingClassifier

TOKENS = jnp.array([[3, 2, 3, 0], [1, 2, 0, 0]])


def params(table, kernel, bias):
    return {"Embed_0": {"embedding": table}, "Dense_0": {"kernel": kernel, "bias": bias}}


def test_values_and_gradients_are_pytorchs():
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


def test_under_vmap_over_seeds_in_bfloat16_and_with_a_batch_of_one():
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
def test_wrong_input_is_refused(options, tokens, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingClassifier(5, **options).init(jax.random.key(0), tokens)
