"""Loading of arrays into a target tree, and the report of what was loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl._text import shorten_lines
from jaxdl.tree import KeyPath, leaf_name
from jaxdl.types import Array, PyTree

Leaf = TypeVar("Leaf")


def fill(target: PyTree, loaded: Mapping[str, Array | np.ndarray]) -> PyTree:
    """Replaces leaves of the target by loaded ones and keeps the others.

    Args:
        target: pytree of arrays or of ``jax.ShapeDtypeStruct``.
        loaded: leaves by name; see :func:`jaxdl.tree.leaf_name`.

    Raises:
        ValueError: a ``jax.ShapeDtypeStruct`` that is not loaded.

    >>> fill({"bias": 1, "kernel": 2}, {"kernel": 3})
    {'bias': 1, 'kernel': 3}
    """

    def choose(path: KeyPath, leaf: Leaf) -> Leaf | Array | np.ndarray:
        name = leaf_name(path)
        if name not in loaded and isinstance(leaf, jax.ShapeDtypeStruct):
            raise ValueError(
                f"{name} is not loaded and has no initial value: give the variables of "
                "model.init, not of jax.eval_shape."
            )
        return loaded.get(name, leaf)

    return jax.tree_util.tree_map_with_path(choose, target)


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The result of loading, leaf by leaf; ``str(report)`` prints it.

    Attributes:
        loaded: the source's name of every loaded leaf, by the leaf's name.
        missing: leaves without an array in the source, each with an explanation.
        unexpected: arrays without a leaf in the model, likewise.
        mismatched: leaves whose array has another shape, likewise.
        num_values: number of loaded scalars.
        left_out: leaves and arrays that were excluded on request.
        prefix: prefix removed from PyTorch's names.
        source: name of the source, for messages.
    """

    loaded: Mapping[str, str]
    missing: Mapping[str, str]
    unexpected: Mapping[str, str]
    mismatched: Mapping[str, str]
    num_values: int
    left_out: Sequence[str] = ()
    prefix: str = ""
    source: str = "state_dict"

    @property
    def fits(self) -> bool:
        """True if nothing is missing, unexpected or of another shape."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing) + len(self.mismatched)
        lines = [f"loaded {len(self.loaded)} of {total} leaves ({self.num_values:,} numbers)"]
        if self.prefix:
            lines.append(f"prefix {self.prefix!r} taken off PyTorch's names")
        for title, found in (
            (f"missing in the {self.source}", self.missing),
            (f"unexpected in the {self.source}", self.unexpected),
            ("of another shape", self.mismatched),
        ):
            if found:
                listed = [f"{name}: {words}" for name, words in found.items()]
                lines.append(f"{title}, {len(found)}:\n  {shorten_lines(listed, 20)}")
        if self.left_out:
            listed = list(self.left_out)
            lines.append(f"left out as asked, {len(listed)}:\n  {shorten_lines(listed, 20)}")
        return "\n".join(lines)


def float_dtype(dtype: DTypeLike) -> np.dtype:
    """Checks that weights can be converted to a dtype, and returns it.

    Raises:
        ValueError: it is not a floating-point dtype, or JAX does not have it.

    >>> float_dtype("bfloat16")
    dtype(bfloat16)
    """
    result = jnp.dtype(dtype)
    if not jnp.issubdtype(result, jnp.floating):
        raise ValueError(f"dtype must be a floating-point dtype, got {result}.")
    if jax.dtypes.canonicalize_dtype(result) != result:
        raise ValueError(f"JAX does not have {result} unless jax_enable_x64 is on.")
    return result
