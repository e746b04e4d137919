"""Weights that tests/parity/cases_gan.py draws, in jaxdl's nets, and the summary of what became."""

import jax
import jax.numpy as jnp
import numpy as np
from cases_models import draw_weight, in_order, summary

from jaxdl import tree
from jaxdl.interop._layouts import torch_name


def axes(name, ndim):
    """The axes of a leaf in PyTorch's order."""
    leaf = name.rsplit("/", 1)[-1]
    if ndim == 4:
        return (2, 3, 0, 1) if leaf == "transposed_kernel" else (3, 2, 0, 1)
    return (1, 0) if leaf == "kernel" else tuple(range(ndim))


def plain(name):
    """PyTorch's name of a leaf without the name of the Sequential."""
    return torch_name(name).removeprefix("model.").removeprefix("main.")


def drawn(params, case, draw=lambda name, shape: draw_weight("gan", name, shape)):
    """Parameters of the same form with the weights that PyTorch had in this case."""

    def value(path, leaf):
        name = tree.leaf_name(path)
        order = axes(name, leaf.ndim)
        array = draw(f"{case}/{plain(name)}", tuple(leaf.shape[axis] for axis in order))
        return jnp.asarray(array.transpose(np.argsort(order)))

    return jax.tree_util.tree_map_with_path(value, params)


def numbers(params):
    """(leaves, 35): the summary of cases_gan.numbers."""
    named = {
        plain(name): np.asarray(leaf).transpose(axes(name, leaf.ndim))
        for name, leaf in tree.named_leaves(params).items()
    }
    return np.stack([summary(*item) for item in in_order(named)])
