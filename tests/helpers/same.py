"""Bitwise comparison of the results of two trainings."""

import jax
import numpy as np

from jaxdl import tree

TIMES = ("epoch_seconds", "eval_seconds", "examples_per_second")


def assert_same(a, b):
    """Two trees have leaves of equal names, shapes, dtypes and bits; NaN equals NaN."""
    left, right = tree.named_leaves(a), tree.named_leaves(b)
    assert left.keys() == right.keys()
    for name, x in left.items():
        y = right[name]
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y, err_msg=name, strict=True)


def without_times(history):
    """The rows of a history without what the clock said."""
    return [{name: x for name, x in row.items() if name not in TIMES} for row in history]


def assert_same_run(a, b):
    """Two results of ``train.run``, state and history, are the same."""
    assert_same(a[0], b[0])
    assert without_times(a[1]) == without_times(b[1])


def largest_difference(a, b):
    """Of two trees, over all leaves."""
    return max(tree.max_difference(a, b).values())
