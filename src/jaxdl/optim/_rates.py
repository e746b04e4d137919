"""Learning rates in an optimizer state."""

from typing import Any

import jax
import numpy as np

from jaxdl import tree
from jaxdl.optim.plateau import PlateauState
from jaxdl.types import PyTree


def learning_rates(state: PyTree) -> dict[str, float]:
    """The learning rates in a state, as the last update used them.

    Args:
        state: any pytree that holds the state of optimizers from this module: an ``opt_state``, a
            ``TrainState``, a state with two players.

    Returns:
        ``{"learning_rate": value}`` where there is one, ``"learning_rate/PART"`` where there are
        several (the label of :func:`jaxdl.optim.by_pattern`), {} where there is none.
    """
    rates = _rates(state, (), np.float32(1))
    if len(rates) == 1:
        return {"learning_rate": next(iter(rates.values()))}
    return {f"learning_rate/{part}": rate for part, rate in rates.items()}


def _rates(state: PyTree, prefix: tuple, scale: Any) -> dict[str, float]:
    def holds_rate(node: Any) -> bool:
        return isinstance(node, PlateauState) or "learning_rate" in (
            getattr(node, "hyperparams", None) or {}
        )

    rates: dict[str, float] = {}
    for path, node in jax.tree_util.tree_flatten_with_path(state, is_leaf=holds_rate)[0]:
        if isinstance(node, PlateauState):
            rates |= _rates(node.inner, (*prefix, *path), scale * np.float32(node.scale))
        elif holds_rate(node):
            rate = np.float32(node.hyperparams["learning_rate"]) * scale
            # the shortest decimal of the float32: 0.001, not 0.0010000000474974513
            rates[_part((*prefix, *path))] = float(str(rate))
    return rates


_WRAPPERS = ("opt_state", "inner_states", "inner_state", "inner_opt_state", "inner")


def _part(path: tuple) -> str:
    """What a person calls the optimizer at this path: the path without the wrappers."""
    named = [
        key  # a label is the key of a dictionary and always counts
        for key in path
        if isinstance(key, jax.tree_util.DictKey)
        or (isinstance(key, jax.tree_util.GetAttrKey) and key.name not in _WRAPPERS)
    ]
    return tree.leaf_name(tuple(named))
