"""Hyperparameters in an optimizer state: learning rates for the log, constants for a resumed run.

The rule of a resumed run: constants come from the optimizer that it is given, as schedules and
everything else outside the state do; counts, moments and averages come from the checkpoint.
"""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdl import tree
from jaxdl.optim.plateau import RULE, PlateauState
from jaxdl.types import Array, PyTree

Injected = optax.InjectStatefulHyperparamsState

WRAPPERS = ("opt_state", "inner_states", "inner_state", "inner_opt_state", "inner")
"""Fields of states that hold another optimizer's state; no label of a group."""


def learning_rates(state: PyTree) -> dict[str, float]:
    """The learning rates in a state, as the last update used them.

    Args:
        state: any pytree that holds the state of optimizers of this package or of
            ``optax.inject_hyperparams``: an ``opt_state``, a ``TrainState``, a state with two
            players.

    Returns:
        ``{"learning_rate": value}`` for one; ``"learning_rate/LABEL"`` for several, with the labels
        of :func:`jaxdl.optim.by_pattern`; {} for none.

    >>> from jaxdl import optim
    >>> learning_rates(optim.adam(3e-4).init({"w": jnp.zeros(2)}))
    {'learning_rate': 0.0003}
    """
    rates = _rates(state, (), np.float32(1))
    if len(rates) == 1:
        return {"learning_rate": next(iter(rates.values()))}
    return {f"learning_rate/{label}": rate for label, rate in rates.items()}


def _rates(state: PyTree, prefix: tuple[object, ...], scale: np.float32) -> dict[str, float]:
    def holds_rate(node: object) -> bool:
        return isinstance(node, PlateauState) or (
            isinstance(node, Injected) and "learning_rate" in node.hyperparams
        )

    rates: dict[str, float] = {}
    for path, node in jax.tree_util.tree_flatten_with_path(state, is_leaf=holds_rate)[0]:
        if isinstance(node, PlateauState):
            rates |= _rates(node.inner, (*prefix, *path), scale * np.float32(node.scale))
        elif holds_rate(node):
            rate = np.float32(node.hyperparams["learning_rate"]) * scale
            rates[_label((*prefix, *path))] = _shortest(rate)
    return rates


def _shortest(number: np.ndarray | np.number | Array) -> float:
    """Converts a number to its shortest decimal: 0.001, not 0.0010000000474974513."""
    return float(str(np.asarray(number)))


def _label(path: tuple[object, ...]) -> str:
    """The path without the wrappers: the label of a group, or the name of a player."""
    named = [
        key  # a label is the key of a dictionary and always counts
        for key in path
        if isinstance(key, jax.tree_util.DictKey)
        or (isinstance(key, jax.tree_util.GetAttrKey) and key.name not in WRAPPERS)
    ]
    return tree.leaf_name(tuple(named))


def constants(state: PyTree) -> dict[str, float]:
    """The hyperparameters that a state holds as constants, by path.

    These are the numbers given to optimizers of this package as a learning rate, to
    ``optax.inject_hyperparams``, and to :func:`jaxdl.optim.reduce_on_plateau`. Schedules are not
    constants.

    >>> from jaxdl import optim
    >>> constants({"opt_state": optim.sgd(0.1).init({"w": jnp.zeros(2)})})
    {'opt_state/learning_rate': 0.1}
    """
    found: dict[str, float] = {}

    def note(name: str, value: Array) -> Array:
        found[name] = _shortest(value)
        return value

    _map_constants(note, state, "")
    return found


def follow_constants(
    saved: PyTree, given: Mapping[str, float], recorded: Mapping[str, float] | None = None
) -> tuple[PyTree, list[str]]:
    """A saved state with the constants of a resumed run, and a line for each that changed.

    Args:
        saved: the state from the checkpoint.
        given: :func:`constants` of the new initial state.
        recorded: ``given`` of the run that saved the state. A constant that is equal in both stays
            as it is in the state, where a step may have changed it. None compares with the state.

    Returns:
        the state, and lines such as "learning_rate 0.1 -> 0.001".

    >>> from jaxdl import optim
    >>> params = {"w": jnp.zeros(2)}
    >>> saved, fresh = optim.sgd(0.1).init(params), optim.sgd(0.001).init(params)
    >>> state, lines = follow_constants(saved, constants(fresh))
    >>> lines, optim.learning_rates(state)
    (['learning_rate 0.1 -> 0.001'], {'learning_rate': 0.001})
    """
    before = constants(saved) if recorded is None else recorded
    changed = {name: new for name, new in given.items() if new != before.get(name)}

    def replace(name: str, value: Array) -> Array:
        return jnp.full_like(value, changed[name]) if name in changed else value

    lines = [f"{_short(n)} {before.get(n, math.nan):g} -> {new:g}" for n, new in changed.items()]
    return _map_constants(replace, saved, ""), lines


def _short(name: str) -> str:
    """``opt_state/inner_states/head/inner_state/learning_rate`` as ``head/learning_rate``."""
    return "/".join(p for p in name.split("/") if p not in WRAPPERS and not p.isdigit())


def _map_constants(function: Callable[[str, Array], Array], state: PyTree, prefix: str) -> PyTree:
    """Replaces every constant of the state by ``function(name, value)``."""

    def holds_constants(node: object) -> bool:
        return isinstance(node, PlateauState | Injected)

    def visit(path: tuple[object, ...], node: PyTree) -> PyTree:
        place = "/".join(part for part in (prefix, tree.leaf_name(path)) if part)
        start = f"{place}/" if place else ""
        if isinstance(node, PlateauState):
            rule = [
                function(f"{start}plateau/{name}", value)
                for name, value in zip(RULE, node.rule, strict=True)
            ]
            inner = _map_constants(function, node.inner, f"{start}inner")
            return node._replace(inner=inner, rule=jnp.stack(rule))
        if isinstance(node, Injected):
            hyperparams = {
                name: value if name in node.hyperparams_states else function(start + name, value)
                for name, value in node.hyperparams.items()
            }
            inner = _map_constants(function, node.inner_state, f"{start}inner_state")
            return node._replace(hyperparams=hyperparams, inner_state=inner)
        return node

    return jax.tree_util.tree_map_with_path(visit, state, is_leaf=holds_constants)
