"""Frozen parameters, groups by pattern, decay masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import optim, tree

PARAMS = {
    "Dense_0": {"bias": jnp.ones(2), "kernel": jnp.ones((3, 2))},
    "Dense_1": {"bias": jnp.ones(1), "kernel": jnp.ones((2, 1))},
}


def updates_of(tx):
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)  # the gradient is 1 everywhere
    return {name: float(leaf.mean()) for name, leaf in tree.named_leaves(updates).items()}


def test_freeze_leaves_what_matches_as_it_is():
    updates = updates_of(optim.freeze(optim.sgd(0.5), ["Dense_0/kernel", "Dense_1/bias"]))
    assert updates == {
        "Dense_0/bias": -0.5,
        "Dense_0/kernel": 0.0,
        "Dense_1/bias": 0.0,
        "Dense_1/kernel": -0.5,
    }


def test_frozen_parameters_do_not_decay():
    updates = updates_of(optim.freeze(optim.adamw(0.5, weight_decay=0.5), "Dense_0"))
    assert updates["Dense_0/kernel"] == updates["Dense_0/bias"] == 0.0
    assert updates["Dense_1/kernel"] < -0.5


def test_by_pattern_gives_each_part_its_own_rate():
    parts = {"head": optim.sgd(1.0), "biases": optim.sgd(0.25), "rest": optim.sgd(0.5)}
    patterns = {"head": ["Dense_1/kernel"], "biases": "bias$"}
    assert updates_of(optim.by_pattern(parts, patterns, "rest")) == {
        "Dense_0/bias": -0.25,
        "Dense_0/kernel": -0.5,
        "Dense_1/bias": -0.25,
        "Dense_1/kernel": -1.0,
    }


def test_by_pattern_refuses_a_label_without_a_transformation():
    with pytest.raises(ValueError, match=r"no transformation for \['body', 'head'\]; .*\['tail'\]"):
        optim.by_pattern({"tail": optim.sgd(0.1)}, {"head": "Dense_1"}, "body")


def test_by_pattern_refuses_a_parameter_with_two_labels():
    parts = {"a": optim.sgd(0.1), "b": optim.sgd(0.1)}
    tx = optim.by_pattern(parts, {"a": "Dense_0", "b": "bias"}, "a")
    with pytest.raises(ValueError, match=r"Dense_0/bias matches the patterns of \['a', 'b'\]"):
        tx.init(PARAMS)


def test_freeze_refuses_a_pattern_without_a_match():
    with pytest.raises(ValueError, match=r"'Conv' matches no parameter; .*Dense_0/bias"):
        optim.freeze(optim.sgd(0.1), "Conv").init(PARAMS)


@pytest.mark.parametrize("make", [optim.sgd, optim.adam, optim.adamw])
def test_only_masked_parameters_decay(make):
    tx = make(0.1, weight_decay=0.5, mask=optim.groups.no_decay_on_vectors)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = tx.update(zeros, tx.init(PARAMS), PARAMS)
    for layer in updates.values():
        np.testing.assert_array_equal(layer["bias"], 0)
        assert (layer["kernel"] < 0).all()


def test_no_decay_on_vectors_by_name():
    expected = {"bias": False, "kernel": True}
    assert optim.groups.no_decay_on_vectors(PARAMS) == {"Dense_0": expected, "Dense_1": expected}
