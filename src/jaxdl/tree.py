"""Names, masks, counts, norms and differences of pytrees of arrays.

A leaf's name is its path joined by slashes: ``Dense_0/kernel``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl._text import format_form, shorten_lines
from jaxdl.types import Array, PyTree

KeyPath = tuple[object, ...]
Leaf = TypeVar("Leaf", jax.Array, np.ndarray)


def leaf_name(path: KeyPath) -> str:
    """The name of a leaf: its ``jax.tree_util`` path joined by slashes.

    >>> leaf_name((jax.tree_util.DictKey("Dense_0"), jax.tree_util.DictKey("kernel")))
    'Dense_0/kernel'
    """
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: PyTree) -> dict[str, Array]:
    """The leaves of a tree by name, in the tree's order.

    >>> list(named_leaves({"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}}))
    ['Dense_0/bias', 'Dense_0/kernel']
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {leaf_name(path): leaf for path, leaf in leaves}


def nested(leaves: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Nested dictionaries of named leaves; the inverse of :func:`named_leaves`.

    Raises:
        ValueError: a name lies below another one, such as ``fc/bias`` below ``fc``.

    >>> nested({"fc/kernel": 1, "fc/bias": 2})
    {'fc': {'kernel': 1, 'bias': 2}}
    """
    result: dict[str, PyTree] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        place = result
        for depth, parent in enumerate(parents, start=1):
            if "/".join(parents[:depth]) in leaves:
                raise ValueError(f"{name!r} lies below {'/'.join(parents[:depth])!r}, a leaf.")
            place = place.setdefault(parent, {})
        place[last] = leaf
    return result


def mask(tree: PyTree, patterns: str | Sequence[str]) -> PyTree:
    """A tree of booleans: True where a leaf's name matches one of the patterns.

    Args:
        tree: pytree of arrays.
        patterns: regular expressions, matched anywhere in the name (``re.search``).

    Raises:
        ValueError: a pattern matches no leaf; the message lists the names.

    >>> mask({"Dense_0": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}, "kernel$")
    {'Dense_0': {'bias': False, 'kernel': True}}
    """
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    names = list(named_leaves(tree))
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ValueError(
                f"pattern {pattern!r} matches no parameter; the names are: {', '.join(names)}."
            )
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(re.search(pattern, leaf_name(path)) for pattern in patterns), tree
    )


def count(tree: PyTree) -> int:
    """The number of scalars in a tree, e.g. of parameters in ``state.params``.

    >>> count({"kernel": jnp.ones((784, 512)), "bias": jnp.ones(512)})
    401920
    """
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def num_bytes(tree: PyTree) -> int:
    """The size in bytes of a tree of arrays or of ``jax.ShapeDtypeStruct``.

    >>> num_bytes({"kernel": jax.ShapeDtypeStruct((784, 512), jnp.float32)})
    1605632
    """
    return sum(int(np.prod(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def norms(tree: PyTree) -> dict[str, Array]:
    """The L2 norm of every leaf by name, shape (), at least float32.

    >>> norms({"kernel": jnp.array([3.0, 4.0])})
    {'kernel': Array(5., dtype=float32)}
    """
    return {
        name: jnp.sqrt(jnp.sum(jnp.square(_at_least_float32(jnp.abs(leaf)))))
        for name, leaf in named_leaves(tree).items()
    }


def _at_least_float32(leaf: Array) -> Array:
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def shorten_rows(rows: Array, max_norm: float, norm_type: float) -> Array:
    """``row * max_norm / (norm + 1e-7)`` where a row (..., F) is longer than ``max_norm``.

    >>> print(shorten_rows(jnp.array([[6.0, 8.0], [0.25, 0.5]]), 5.0, 2.0).round(2))
    [[3.   4.  ]
     [0.25 0.5 ]]
    """
    norm = jnp.linalg.norm(rows, ord=norm_type, axis=-1, keepdims=True)
    scale: Array = jnp.where(norm > max_norm, max_norm / (norm + 1e-7), 1.0)
    return rows * scale


def all_finite(tree: PyTree) -> Array:
    """True, shape (), if no floating-point leaf holds NaN or infinity.

    >>> print(all_finite({"kernel": jnp.array([1.0, jnp.inf])}))
    False
    """
    floating = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in floating]))


def max_difference(a: PyTree, b: PyTree) -> dict[str, float]:
    """The largest absolute difference of every pair of leaves by name.

    Raises:
        ValueError: different names or shapes.

    >>> max_difference({"kernel": jnp.array([1.0, 2.0])}, {"kernel": jnp.array([1.5, 2.0])})
    {'kernel': 0.5}
    """
    left, right = named_leaves(a), named_leaves(b)
    if left.keys() != right.keys():
        raise ValueError(
            "the trees have different leaves: "
            f"{sorted(left.keys() ^ right.keys())} are in only one of them."
        )
    differences = {}
    for name, leaf in left.items():
        if leaf.shape != right[name].shape:
            raise ValueError(
                f"{name} has shape {leaf.shape} in one tree and {right[name].shape} in the other."
            )
        difference = np.abs(_numbers(leaf) - _numbers(right[name]))
        differences[name] = float(np.max(difference, initial=0))
    return differences


def _numbers(leaf: Array) -> np.ndarray:
    """Values that can be subtracted: unsigned integers would wrap, keys are not numbers."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    wide = np.complex128 if jnp.issubdtype(leaf.dtype, jnp.complexfloating) else np.float64
    return np.asarray(leaf).astype(wide)


def check_same_structure(expected: PyTree, actual: PyTree, *, what: str) -> None:
    """Raises ValueError, naming the first differing leaves, unless two trees have the same form.

    Args:
        expected: tree of arrays or ``jax.ShapeDtypeStruct``.
        actual: likewise; compared by leaf path, shape and dtype.
        what: beginning of the message, a sentence.

    >>> check_same_structure({"w": jnp.ones(2)}, {"w": jnp.ones(3)}, what="The weights differ:")
    Traceback (most recent call last):
        ...
    ValueError: The weights differ:
      w: expected float32[2], got float32[3]
    """
    lines = differences(describe(expected), describe(actual))
    if lines:
        raise ValueError(f"{what}\n  {shorten_lines(lines)}")


def describe(tree: PyTree) -> dict[str, str]:
    """Dtype and shape of every leaf by name.

    >>> describe({"kernel": jnp.zeros((2, 3))})
    {'kernel': 'float32[2, 3]'}
    """
    return {name: format_form(leaf.dtype, leaf.shape) for name, leaf in named_leaves(tree).items()}


def differences(expected: Mapping[str, str], actual: Mapping[str, str]) -> list[str]:
    """One line for every name in which two descriptions differ.

    >>> differences({"w": "float32[2]"}, {"w": "float32[3]", "b": "float32[3]"})
    ['b: expected nothing, got float32[3]', 'w: expected float32[2], got float32[3]']
    """
    return [
        f"{path}: expected {expected.get(path, 'nothing')}, got {actual.get(path, 'nothing')}"
        for path in sorted(expected.keys() | actual.keys())
        if expected.get(path) != actual.get(path)
    ]


def copy(tree: PyTree) -> PyTree:
    """Returns a copy on the same devices, whose buffers outlive donation of the original's.

    Asynchronous; a computation that is given the original waits for it. Nothing is compiled, as
    ``jnp.copy`` would be for every shape.

    >>> params = {"w": jnp.ones(2)}
    >>> backup = copy(params)
    >>> params["w"].delete()  # as donation to a compiled function does
    >>> backup["w"].tolist()
    [1.0, 1.0]
    """

    def copy_leaf(leaf: Leaf) -> Leaf:
        if isinstance(leaf, jax.Array):
            device = leaf.sharding if leaf.committed else None
            copied: jax.Array = jax.device_put(leaf, device, may_alias=False)
            return copied
        return np.array(leaf)

    return jax.tree.map(copy_leaf, tree)
