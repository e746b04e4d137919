"""Layouts of PyTorch arrays and Linen leaves."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxdl import tree
from jaxdl.types import PyTree

Shape = tuple[int, ...]


class Part(NamedTuple):
    """Leaf of the variables and its layout in PyTorch.

    Attributes:
        leaf: name with the collection.
        name: name in PyTorch if it is not stacked with others.
        shape: shape in Linen.
        merged: shape with heads and features of an attention layer merged into one axis.
        axes: permutation of the axes of ``merged`` to PyTorch's order.
        flip: True if the spatial axes are reversed.
    """

    leaf: str
    name: str
    shape: Shape
    merged: Shape
    axes: Shape
    flip: bool = False


class Entry(NamedTuple):
    """Array of a PyTorch state dict and the leaves it corresponds to.

    Attributes:
        name: name in PyTorch; see :func:`torch_name`.
        parts: the leaves in it, stacked along the first axis.
    """

    name: str
    parts: tuple[Part, ...]

    @property
    def leaves(self) -> tuple[str, ...]:
        """The names of the leaves."""
        return tuple(part.leaf for part in self.parts)

    @property
    def shape(self) -> Shape:
        """The shape in PyTorch."""
        first = self.parts[0]
        shape = tuple(first.merged[axis] for axis in first.axes)
        return (len(self.parts) * shape[0], *shape[1:]) if len(self.parts) > 1 else shape


def entries(variables: PyTree, known: Collection[str] = ()) -> list[Entry]:
    """Returns the PyTorch arrays of all leaves, in the order of the tree.

    Args:
        variables: of a model, or bare parameters; arrays or shapes from ``jax.eval_shape``.
        known: normalized names in the state dict, if there is one; they tell whether the
            projections of an attention layer are stacked.
    """
    leaves = tree.named_leaves(variables)
    names = frozenset(variables) if isinstance(variables, Mapping) else frozenset()
    collections = names if names & {"params", "batch_stats"} else frozenset()
    result, done = [], set()
    for leaf in leaves:
        if leaf in done:
            continue
        module, child, last = ["", "", *leaf.rsplit("/", 2)][-3:]
        if child in ("query", "key", "value") and _is_attention(module, leaves):
            stack = [f"{module}/{each}/{last}" for each in ("query", "key", "value")]
            parts = tuple(_part(each, leaves, collections) for each in stack)
            name = torch_name(_inner(f"{module}/in_proj/{last}", collections))
            apart = normal(parts[0].name) in known and normal(name) not in known
            if not apart and len({part.merged[0] for part in parts}) == 1:
                result.append(Entry(name, parts))
                done.update(stack)
                continue
        part = _part(leaf, leaves, collections)
        name = part.name
        if child == "out" and _is_attention(module, leaves):
            usual = torch_name(_inner(f"{module}/out_proj/{last}", collections))
            if normal(usual) in known or normal(name) not in known:
                name = usual
        result.append(Entry(name, (part,)))
    return result


def to_torch(entry: Entry, arrays: Mapping[str, Any]) -> np.ndarray:
    """Converts leaves, by name, to the PyTorch array of an entry; always a copy."""
    parts = []
    for part in entry.parts:
        array = np.asarray(arrays[part.leaf])
        if part.flip:
            array = np.flip(array, tuple(range(array.ndim - 2)))
        parts.append(array.reshape(part.merged).transpose(part.axes))
    return np.concatenate(parts) if len(parts) > 1 else np.array(parts[0], order="C")


def to_linen(entry: Entry, array: np.ndarray) -> dict[str, np.ndarray]:
    """Converts the PyTorch array of an entry to leaves by name; views of the array."""
    result = {}
    arrays = np.split(array, len(entry.parts)) if len(entry.parts) > 1 else [array]
    for part, piece in zip(entry.parts, arrays, strict=True):
        leaf = piece.transpose(np.argsort(part.axes)).reshape(part.shape)
        result[part.leaf] = np.flip(leaf, tuple(range(leaf.ndim - 2))) if part.flip else leaf
    return result


def torch_name(name: str) -> str:
    """The default PyTorch name of a leaf.

    Slashes become dots. So does an underscore before a trailing number in a module name, as in
    ``torch.nn.Sequential``, unless the name is capitalized like Linen's automatic names. Reading
    treats dots and underscores alike; for writing, ``names=module.state_dict()`` gives the exact
    names, e.g. ``layers.encoder_layer_0`` and ``ln_1`` of torchvision's ViT.

    Args:
        name: name of the leaf without its collection.

    >>> torch_name("layer1_0/conv1/kernel"), torch_name("Dense_0/bias")
    ('layer1.0.conv1.weight', 'Dense_0.bias')
    """
    *path, leaf = name.split("/")
    if leaf in ("kernel", "transposed_kernel", "scale", "embedding"):
        leaf = "weight"
    elif leaf in ("mean", "var"):
        leaf = f"running_{leaf}"
    elif leaf.startswith("kernel_"):
        leaf = leaf.replace("kernel_", "weight_", 1)
    if path[-1:] == ["in_proj"]:
        path, leaf = path[:-1], f"in_proj_{leaf}"
    path = [
        re.sub(r"_(\d+)$", r".\1", part) if part[-1:].isdigit() and not part[:1].isupper() else part
        for part in path
    ]
    return ".".join([*path, leaf])


def normal(name: str) -> str:
    """Normalizes a name for comparison: dots and slashes become underscores."""
    return re.sub(r"[./]", "_", name)


def _part(leaf: str, leaves: Mapping[str, Any], collections: Collection[str]) -> Part:
    shape = tuple(leaves[leaf].shape)
    inner = _inner(leaf, collections)
    module, last = ["", *inner.split("/")][-2:]
    ndim = len(shape)
    name, spatial = torch_name(inner), tuple(range(ndim - 2))
    if _is_attention(leaf.rsplit("/", 2)[0], leaves):
        if last == "kernel" and module == "out":
            return Part(leaf, name, shape, (shape[0] * shape[1], shape[2]), (1, 0))
        if last == "kernel" and module in ("query", "key", "value"):
            return Part(leaf, name, shape, (shape[0], shape[1] * shape[2]), (1, 0))
        if last == "bias" and module in ("query", "key", "value"):
            return Part(leaf, name, shape, (shape[0] * shape[1],), (0,))
    if last == "transposed_kernel":
        return Part(leaf, name, shape, shape, (ndim - 2, ndim - 1, *spatial))
    if last == "kernel" and ndim > 2 and "convtranspose" in module.lower():
        return Part(leaf, name, shape, shape, (ndim - 2, ndim - 1, *spatial), flip=True)
    if last == "kernel" and ndim == 3 and "bilinear" in module.lower():
        return Part(leaf, name, shape, shape, (2, 0, 1))
    if ndim > 1 and (last == "kernel" or last.startswith("kernel_")):
        return Part(leaf, name, shape, shape, (ndim - 1, ndim - 2, *spatial))
    return Part(leaf, name, shape, shape, tuple(range(ndim)))


def _inner(leaf: str, collections: Collection[str]) -> str:
    """Strips the collection from a name."""
    head, _, rest = leaf.partition("/")
    return rest if head in collections else leaf


def _is_attention(module: str, leaves: Mapping[str, Any]) -> bool:
    """Returns True for an attention module: kernels (E, H, D), and (H, D, E) of the output."""
    kernels = [leaves.get(f"{module}/{part}/kernel") for part in ("query", "key", "value", "out")]
    shapes = [tuple(kernel.shape) for kernel in kernels if kernel is not None]
    return (
        len(shapes) == 4
        and all(len(shape) == 3 for shape in shapes)
        and shapes[0][1:] == shapes[1][1:]
        # distinguishes it from 1-D convolutions with the same names
        and shapes[3][:2] == shapes[2][1:]
    )
