"""The embedding: PyTorch's numbers, padding, largest norm, frequency, indices out of range."""

import cases_embedding
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import optim
from jaxdl.nn.embedding import Embed

CASES = read_cases("embedding")
INDICES = jnp.array(cases_embedding.INDICES)
TABLE = jnp.array([[0.0, 0.0], [3.0, 4.0], [1.0, 0.0]])


def gradient(embed, indices, table=TABLE):
    """Of the sum of everything that is looked up."""
    return jax.grad(lambda t: embed.apply({"params": {"embedding": t}}, indices).sum())(table)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases_embedding.OPTIONS)
def test_values_and_gradients_are_pytorchs(name):
    arrays = CASES[f"embedding {name}"]
    options = dict(cases_embedding.OPTIONS[name])
    options["padding_index"] = options.pop("padding_idx", None)
    embed = Embed(7, 3, **options)

    def rows(table):
        return embed.apply({"params": {"embedding": table}}, INDICES)

    outputs, pull_back = jax.vjp(rows, arrays["table"])
    compare(f"embedding {name}", outputs, arrays["outputs"])
    compare(f"embedding {name}", pull_back(arrays["weight"])[0], arrays["gradient"])


@pytest.mark.parametrize("name", ["max_norm", "max_norm p1"])
def test_a_table_with_a_largest_norm_learns_as_pytorchs(name):
    arrays, options = CASES[f"training with {name}"], cases_embedding.OPTIONS[name]
    embed = Embed(7, 3, **options)
    tx = optim.max_norm(
        optim.sgd(0.3), "embedding", options["max_norm"], norm_type=options.get("norm_type", 2.0)
    )
    params = {"embedding": jnp.asarray(arrays["table"])}
    state, outputs = tx.init(params), []

    @jax.jit
    def step(params, state, indices):
        def loss(params):
            rows = embed.apply({"params": params}, indices)
            return jnp.square(rows - arrays["target"]).sum(), rows

        gradients, rows = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, rows

    for number in range(10):
        params, state, rows = step(params, state, INDICES[number % 2])
        outputs.append(rows)
    compare(f"training with {name}", jnp.stack(outputs), arrays["outputs"])


def test_a_largest_norm_of_what_is_no_table_is_refused():
    params = {"embedding": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    with pytest.raises(ValueError, match=r"tables \(rows, features\), but bias has shape \(3,\)"):
        optim.max_norm(optim.sgd(0.1), "bias", 1.0).init(params)
    with pytest.raises(ValueError, match="matches no parameter"):
        optim.max_norm(optim.sgd(0.1), "table", 1.0).init(params)
    with pytest.raises(ValueError, match="limit"):
        optim.max_norm(optim.sgd(0.1), "embedding", 0.0)


def test_lookup_of_a_small_table():
    table = jnp.arange(30.0).reshape(10, 3)
    indices = jnp.array([[1, 2, 4, 5], [4, 3, 2, 9]])
    rows = Embed(10, 3).apply({"params": {"embedding": table}}, indices)
    np.testing.assert_array_equal(rows, np.asarray(table)[np.asarray(indices)])


def test_start_is_standard_normal_with_a_padding_row_of_zeros():
    table = Embed(200, 50, padding_index=7).init(jax.random.key(0), INDICES)["params"]["embedding"]
    np.testing.assert_array_equal(table[7], 0)
    others = np.delete(np.asarray(table), 7, axis=0)
    assert abs(others.mean()) < 4 / np.sqrt(others.size)
    np.testing.assert_allclose(others.std(), 1, rtol=0.03)


def test_a_padding_row_stays_what_somebody_wrote_into_it():
    embed = Embed(3, 2, padding_index=0)
    table = TABLE.at[0].set(1.0)
    rows = embed.apply({"params": {"embedding": table}}, jnp.array([0, 1]))
    np.testing.assert_array_equal(rows, [[1, 1], [3, 4]])
    np.testing.assert_array_equal(
        gradient(embed, jnp.array([0, 0, 1]), table), [[0], [1], [0]] * np.ones((1, 2))
    )


def test_gradient_by_frequency_is_the_mean_over_a_rows_occurrences():
    indices = jnp.array([1, 1, 1, 2])
    plain, scaled = (gradient(Embed(3, 2, scale_grad_by_freq=s), indices) for s in (False, True))
    np.testing.assert_array_equal(plain, [[0, 0], [3, 3], [1, 1]])
    np.testing.assert_allclose(scaled, [[0, 0], [1, 1], [1, 1]], rtol=1e-6)


def test_max_norm_shortens_long_rows_only_and_leaves_gradient_and_table():
    embed = Embed(3, 2, max_norm=2.5)
    indices = jnp.array([1, 2, 0])
    rows = embed.apply({"params": {"embedding": TABLE}}, indices)
    np.testing.assert_allclose(rows, [[1.5, 2.0], [1.0, 0.0], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(gradient(embed, indices), np.ones((3, 2)))


@pytest.mark.parametrize("index", [-1, 3, 2**31 - 1])
@pytest.mark.parametrize("options", [{}, {"padding_index": 0, "scale_grad_by_freq": True}])
def test_an_index_outside_the_table_gives_nan_and_disturbs_no_other(index, options):
    embed = Embed(3, 2, **options)
    rows = jax.jit(embed.apply)({"params": {"embedding": TABLE}}, jnp.array([1, index]))
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[0], [3, 4])


def test_dtype_of_the_result_leaves_the_table_in_float32():
    embed = Embed(3, 2, max_norm=1.0, padding_index=0, dtype=jnp.bfloat16)
    rows, variables = embed.init_with_output(jax.random.key(0), INDICES % 3)
    assert rows.dtype == jnp.bfloat16
    assert variables["params"]["embedding"].dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "indices", "message"),
    [
        ({}, jnp.array([1.0]), "indices must be integers, got dtype float32"),
        ({"padding_index": 3}, INDICES, r"padding_index must lie in 0 to 2 .* got 3"),
        ({"padding_index": -1}, INDICES, r"padding_index must lie in 0 to 2 .* got -1"),
        ({"max_norm": 0.0}, INDICES, "max_norm must be greater than 0, got 0.0"),
        ({"norm_type": -1.0}, INDICES, "norm_type must be greater than 0, got -1.0"),
    ],
)
def test_wrong_input_is_refused(options, indices, message):
    with pytest.raises(ValueError, match=message):
        Embed(3, 2, **options).init(jax.random.key(0), indices)
