"""Names, masks, counts, norms and differences of pytrees."""

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import tree

PARAMS = {
    "Dense_0": {"bias": jnp.zeros(3), "kernel": jnp.full((2, 3), 2.0)},
    "Dense_1": {"bias": jnp.zeros(1), "kernel": jnp.full((3, 1), -1.0)},
}
NAMES = ["Dense_0/bias", "Dense_0/kernel", "Dense_1/bias", "Dense_1/kernel"]


@flax.struct.dataclass
class Pair:
    left: jax.Array
    right: tuple


def test_names_are_paths_joined_by_slashes():
    assert list(tree.named_leaves(PARAMS)) == NAMES
    pair = Pair(jnp.zeros(()), ({"a": jnp.ones(2)}, [jnp.ones(1)]))
    assert list(tree.named_leaves(pair)) == ["left", "right/0/a", "right/1/0"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("kernel$", [False, True, False, True]),
        ("Dense_0", [True, True, False, False]),
        (["^Dense_1/bias$", "0/k"], [False, True, True, False]),
        ([], [False] * 4),
    ],
)
def test_mask_searches_the_names(patterns, expected):
    mask = tree.mask(PARAMS, patterns)
    assert jax.tree.structure(mask) == jax.tree.structure(PARAMS)
    assert jax.tree.leaves(mask) == expected


def test_a_pattern_without_a_match_lists_the_names():
    with pytest.raises(ValueError, match=r"'kernels' matches no parameter.*Dense_0/bias, Dense_0"):
        tree.mask(PARAMS, ["kernel", "kernels"])


def test_counts_and_bytes():
    assert tree.count(PARAMS) == 3 + 6 + 1 + 3
    assert tree.count({"scalar": jnp.zeros(()), "empty": jnp.zeros((0, 5))}) == 1
    mixed = {"a": jnp.zeros(3, jnp.bfloat16), "b": jnp.zeros((2, 2), jnp.int8), "c": jnp.zeros(())}
    assert tree.num_bytes(mixed) == 6 + 4 + 4


def test_norms_of_every_leaf():
    norms = tree.norms({"a": jnp.array([3.0, -4.0]), "b": {"c": jnp.array([[3.0 + 4.0j]])}})
    np.testing.assert_allclose([norms["a"], norms["b/c"]], [5.0, 5.0])


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_all_finite_finds_one_bad_number(bad):
    good = {"x": jnp.ones((2, 3)), "n": jnp.array([1, 2]), "key": jax.random.key(0)}
    broken = {**good, "h": jnp.array([0.0, bad], jnp.bfloat16)}
    assert bool(tree.all_finite(good))
    assert not bool(jax.jit(tree.all_finite)(broken))
    assert bool(tree.all_finite({}))


def test_max_difference_of_every_leaf():
    other = jax.tree.map(lambda leaf: leaf + 0.25, PARAMS)
    assert tree.max_difference(PARAMS, other) == dict.fromkeys(NAMES, 0.25)


def test_max_difference_of_other_kinds():
    a = {"byte": jnp.array([1, 9], jnp.uint8), "flag": jnp.array([True, False])}
    b = {"byte": jnp.array([3, 9], jnp.uint8), "flag": jnp.array([True, True])}
    assert tree.max_difference(a, b) == {"byte": 2.0, "flag": 1.0}
    keys = {"key": jax.random.key(3), "empty": jnp.zeros((0, 2))}
    assert tree.max_difference(keys, keys) == {"key": 0.0, "empty": 0.0}
    assert tree.max_difference(keys, {**keys, "key": jax.random.key(5)})["key"] == 2.0


def test_max_difference_does_not_hide_nan():
    assert np.isnan(tree.max_difference({"a": jnp.array([jnp.nan])}, {"a": jnp.ones(1)})["a"])


def test_max_difference_refuses_other_names_and_shapes():
    with pytest.raises(ValueError, match=r"\['a', 'b'\] are in only one"):
        tree.max_difference({"a": jnp.ones(1)}, {"b": jnp.ones(1)})
    with pytest.raises(ValueError, match=r"a has shape \(1,\) in one tree and \(2,\) in the other"):
        tree.max_difference({"a": jnp.ones(1)}, {"a": jnp.ones(2)})


def test_describe_gives_dtype_and_shape():
    described = tree.describe({"k": jax.random.key(0), "x": jnp.zeros((2, 3), jnp.bfloat16)})
    assert described == {"k": "key<fry>[]", "x": "bfloat16[2, 3]"}


def test_check_same_structure_names_what_differs():
    tree.check_same_structure(PARAMS, jax.eval_shape(lambda: PARAMS), what="never")
    actual = {"Dense_0": {"bias": jnp.zeros(4), "kernel": jnp.zeros((2, 3), jnp.int32)}}
    with pytest.raises(ValueError) as raised:
        tree.check_same_structure(PARAMS, actual, what="They differ:")
    assert str(raised.value).splitlines() == [
        "They differ:",
        "  Dense_0/bias: expected float32[3], got float32[4]",
        "  Dense_0/kernel: expected float32[2, 3], got int32[2, 3]",
        "  Dense_1/bias: expected float32[1], got nothing",
        "  Dense_1/kernel: expected float32[3, 1], got nothing",
    ]


def test_a_copy_outlives_a_donated_state_and_lies_where_it_lay():
    state = {
        "free": jnp.arange(1000.0),
        "placed": jax.device_put(jnp.ones((30, 40)), jax.devices()[0]),
        "key": jax.random.key(3),
        "count": np.int32(7),
    }
    copied = tree.copy(state)
    assert [copied[name].committed for name in ("free", "placed", "key")] == [False, True, False]
    state["count"] = jnp.int32(7)
    moved = jax.jit(lambda s: {**s, "free": s["free"] + 1}, donate_argnums=0)(state)
    assert state["free"].is_deleted()
    assert float(moved["free"][0]) == 1
    np.testing.assert_array_equal(copied["free"], np.arange(1000))
    np.testing.assert_array_equal(copied["placed"], np.ones((30, 40)))
    assert jax.random.key_data(copied["key"]).tolist() == [0, 3]
    assert copied["count"] == 7
