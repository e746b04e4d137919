"""Loading of arrays into a target, and the report."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl._loading import fill


def test_fill_replaces_loaded_leaves_and_keeps_the_others():
    target = {"params": {"kernel": jnp.zeros(2), "bias": jnp.ones(1)}, "stats": (jnp.zeros(1),)}
    filled = fill(target, {"params/kernel": jnp.full(2, 5.0), "stats/0": jnp.full(1, 7.0)})
    assert filled["params"]["kernel"].tolist() == [5.0, 5.0]
    assert filled["params"]["bias"] is target["params"]["bias"]
    assert filled["stats"][0].tolist() == [7.0]


def test_fill_refuses_a_leaf_without_a_value():
    target = jax.eval_shape(lambda: {"kernel": jnp.zeros(2), "bias": jnp.zeros(1)})
    with pytest.raises(ValueError, match=r"bias is not loaded and has no initial value"):
        fill(target, {"kernel": jnp.ones(2)})
    filled = fill(target, {"kernel": jnp.ones(2), "bias": jnp.ones(1)})
    assert filled["bias"].tolist() == [1.0]
