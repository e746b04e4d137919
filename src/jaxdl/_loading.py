"""Loading of arrays into a target tree, and the report of what was loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax

from jaxdl.tree import leaf_name, shorten
from jaxdl.types import Array, PyTree

Leaf = TypeVar("Leaf")


def fill(target: PyTree, loaded: Mapping[str, Array]) -> PyTree:
    """The target with loaded leaves in place of its own; the other leaves stay.

    Args:
        target: pytree of arrays or of ``jax.ShapeDtypeStruct``.
        loaded: leaves by name; see :func:`jaxdl.tree.leaf_name`.

    Raises:
        ValueError: a ``jax.ShapeDtypeStruct`` that is not loaded.

    >>> fill({"bias": 1, "kernel": 2}, {"kernel": 3})
    {'bias': 1, 'kernel': 3}
    """

    def choose(path: tuple[object, ...], leaf: Leaf) -> Leaf | Array:
        name = leaf_name(path)
        if name not in loaded and isinstance(leaf, jax.ShapeDtypeStruct):
            raise ValueError(
                f"{name} is not loaded and has no value of its own: give the variables of "
                "model.init, not of jax.eval_shape."
            )
        return loaded.get(name, leaf)

    return jax.tree_util.tree_map_with_path(choose, target)


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of every array that was to be loaded; ``str(report)`` says it in words.

    Attributes:
        loaded: the source's name of every leaf that was loaded, by the leaf's name.
        missing: leaves that the source has no array for, each with an explanation.
        unexpected: arrays that the model has no leaf for, likewise.
        mismatched: leaves whose array has another shape, likewise.
        num_values: how many numbers were loaded.
        left_out: leaves and arrays that were left out as asked.
        prefix: what was taken off PyTorch's names.
        source: what was read.
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
        """Nothing is missing, unexpected or of another shape."""
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
                lines.append(f"{title}, {len(found)}:\n  {shorten(listed, 20)}")
        if self.left_out:
            listed = list(self.left_out)
            lines.append(f"left out as asked, {len(listed)}:\n  {shorten(listed, 20)}")
        return "\n".join(lines)
