"""PyTorch's state_dict and Linen's variables: one mapping of names and layouts.

Names agree where they are spelt alike with every dot, slash and underscore taken for the same:
``layer1.0.conv1.weight`` is ``layer1_0/conv1/kernel``. The last part says what the array is:

===================================== ==================================== =====================
Linen                                 PyTorch                              layout
===================================== ==================================== =====================
``kernel`` (in, out)                  ``weight`` (out, in)                 transposed
``kernel`` (h, w, in, out)            ``weight`` (out, in, h, w)           HWIO ↔ OIHW
``transposed_kernel`` (h, w, in, out) ``weight`` (in, out, h, w)           HWIO ↔ IOHW
``kernel_ih_l0`` … (in, gates)        ``weight_ih_l0`` … (gates, in)       transposed
``scale``, ``embedding``              ``weight``                           as it is
``mean``, ``var`` of ``batch_stats``  ``running_mean``, ``running_var``    as it is
anything else                         the same name                        as it is
===================================== ==================================== =====================
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl.types import PyTree


def from_state_dict(state_dict: Mapping[str, Any], like: PyTree) -> PyTree:
    """Linen variables with the weights of a PyTorch state_dict.

    Args:
        state_dict: arrays or tensors by PyTorch's names.
        like: variables of the model, concrete or from ``jax.eval_shape(model.init, ...)``: says
            names, shapes and dtypes.

    Returns:
        a tree like ``like``.

    Raises:
        ValueError: a name that is missing, one that is left over, or a shape that differs; all of
            them are listed. ``num_batches_tracked`` is left out silently.
    """
    arrays = {
        _normal(name): name for name in state_dict if not name.endswith("num_batches_tracked")
    }
    problems = []

    def convert(path: tuple, leaf: Any) -> Any:
        name = tree.leaf_name(path)
        collection, _, inner = name.partition("/")
        wanted = torch_name(inner if collection in ("params", "batch_stats") else name)
        source = arrays.pop(_normal(wanted), None)
        if source is None:
            problems.append(f"missing: {wanted} (for {name} {tuple(leaf.shape)})")
            return leaf
        array = to_linen_layout(inner, np.asarray(state_dict[source]))
        if array.shape != tuple(leaf.shape):
            problems.append(
                f"shape: {source} gives {array.shape}, {name} expects {tuple(leaf.shape)}"
            )
            return leaf
        return jnp.asarray(array, leaf.dtype)

    variables = jax.tree_util.tree_map_with_path(convert, like)
    problems += [f"unexpected: {source}" for source in arrays.values()]
    if problems:
        raise ValueError("the state_dict does not fit the model:\n  " + "\n  ".join(problems))
    return variables


def torch_name(name: str) -> str:
    """PyTorch's name of a leaf, up to the choice between dots and underscores.

    >>> torch_name("layer1_0/conv1/kernel")
    'layer1_0.conv1.weight'
    """
    *path, leaf = name.split("/")
    if leaf in ("kernel", "transposed_kernel", "scale", "embedding"):
        leaf = "weight"
    elif leaf in ("mean", "var"):
        leaf = f"running_{leaf}"
    elif leaf.startswith("kernel_"):
        leaf = leaf.replace("kernel_", "weight_", 1)
    return ".".join([*path, leaf])


def to_linen_layout(name: str, array: np.ndarray) -> np.ndarray:
    """A PyTorch array in the layout of the Linen leaf ``name``.

    >>> to_linen_layout("conv1/kernel", np.zeros((8, 3, 5, 5))).shape
    (5, 5, 3, 8)
    """
    leaf = name.rsplit("/", 1)[-1]
    if leaf == "transposed_kernel":
        return array.transpose(2, 3, 0, 1)
    if leaf == "kernel" and array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if leaf == "kernel" or leaf.startswith("kernel_"):
        return array.T
    return array


def _normal(name: str) -> str:
    return re.sub(r"[./]", "_", name)
