"""What :func:`jaxdl.train.fit` is called with, for a sweep that writes its best member's folder.

``fit`` leaves a mark in the function that is traced, dead code for the compiler: unlike a variable
on the side it is still there under a ``jit`` inside, and where that was traced before.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from jaxdl.types import Array

MARK = "jaxdl.train.fit"


class FitCall(NamedTuple):
    """The arguments of ``fit`` that say which example comes when; the key as its numbers."""

    batch_size: int
    num_examples: int
    key_data: np.ndarray


def note_call(batch_size: int, num_examples: int, key: Array) -> None:
    """Called by ``fit``."""
    checkpoint_name(jax.random.key_data(key), f"{MARK} {batch_size} {num_examples}")


def last_call(function: Callable[..., Any], *args: Any) -> FitCall | None:
    """The last call of ``fit`` in a pure function; nothing is computed but its key.

    None where there is none, or where it is one of many: in a ``vmap`` or a loop of the function.
    """
    found = _find(jax.make_jaxpr(function)(*args))
    if found is None:
        return None
    name, key_data = found
    batch_size, num_examples = map(int, name.split()[1:])
    # what the key does not need is dead code here, the training above all
    return FitCall(batch_size, num_examples, np.asarray(jax.jit(key_data)(*jax.tree.leaves(args))))


def _find(closed: Any) -> tuple[str, Callable[..., Any]] | None:
    """The last mark of a jaxpr: its name, and its value as a function of the jaxpr's arguments."""
    for equation in reversed(closed.jaxpr.eqns):
        kind, params = equation.primitive.name, equation.params
        if kind == "name" and params["name"].startswith(MARK):
            one = equation.outvars[0].aval.ndim == 1
            return (params["name"], _of_inputs(closed, equation, lambda x: x)) if one else None
        if kind == "jit" and (found := _find(params["jaxpr"])):
            return found[0], _of_inputs(closed, equation, found[1])
    return None


def _of_inputs(closed: Any, equation: Any, then: Callable[..., Any]) -> Callable[..., Any]:
    """``then`` of what an equation is given, as a function of the jaxpr's arguments."""
    before = jex.ClosedJaxpr(closed.jaxpr.replace(outvars=equation.invars), closed.consts)
    return lambda *args: then(*jex.jaxpr_as_fun(before)(*args))
