"""BatchNorm beyond PyTorch's fixtures: shards, padding, half precision, a single value."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import nn

X = np.random.default_rng(0).normal(2.0, 3.0, (8, 3, 2)).astype(np.float32)
NORM = nn.BatchNorm()
VARIABLES = NORM.init(jax.random.key(0), X)


def train(norm, x, **options):
    return norm.apply(VARIABLES, x, train=True, mutable=["batch_stats"], **options)


def test_statistics_of_shards_are_those_of_the_whole_batch():
    whole, new = train(NORM, X)
    sharded = nn.BatchNorm(axis_name="shards")
    parts, news = jax.vmap(lambda x: train(sharded, x), axis_name="shards")(X.reshape(2, 4, 3, 2))
    np.testing.assert_allclose(parts.reshape(8, 3, 2), whole, rtol=1e-5, atol=1e-6)
    for leaf in ("mean", "var"):
        np.testing.assert_allclose(
            news["batch_stats"][leaf][0], new["batch_stats"][leaf], rtol=1e-5
        )
    alone, _ = train(NORM, X[:4])
    assert np.abs(np.asarray(alone) - np.asarray(whole)[:4]).max() > 0.01


def test_padding_is_not_counted_whatever_it_holds():
    padded = np.concatenate([X, np.full((3, 3, 2), np.inf, np.float32)])
    mask = np.array([1.0] * 8 + [0.0] * 3, np.float32)
    whole, new = train(NORM, X)
    masked, masked_new = train(NORM, padded, mask=mask)
    np.testing.assert_allclose(masked[:8], whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), masked_new, new)


def test_one_value_a_channel_gives_the_bias_and_leaves_the_statistics():
    outputs, new = train(NORM, X[:1, 0])
    assert outputs.tolist() == [[0.0, 0.0]]
    assert new["batch_stats"]["mean"].tolist() == [0.0, 0.0]
    assert new["batch_stats"]["var"].tolist() == [1.0, 1.0]


def test_statistics_of_half_precision_are_float32():
    outputs, new = train(NORM, X.astype(jnp.bfloat16))
    assert outputs.dtype == jnp.bfloat16
    assert new["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(outputs, np.float32), train(NORM, X)[0], atol=0.03)


def test_integers_are_normalised_in_float32():
    pixels = np.arange(48, dtype=np.uint8).reshape(8, 3, 2)
    outputs, _ = train(NORM, pixels)
    assert outputs.dtype == jnp.float32
    np.testing.assert_array_equal(outputs, train(NORM, pixels.astype(np.float32))[0])
