"""Properties of a function that its jaxpr shows: what depends on what, and its operations."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from jax.extend import core

from jaxdl.types import Batch, PyTree


def respects_mask(function: Callable[[PyTree, Batch], PyTree], state: PyTree, batch: Batch) -> bool:
    """Returns True if all that a function computes from a batch depends on the batch's mask, too.

    A loss that reads no mask, or a BatchNorm that is not given it, counts padding. The function is
    traced, nothing is computed.

    Args:
        function: ``(state, batch) -> outputs``, e.g. a step.
        state: its first argument, or the form of it.
        batch: its second argument, or the form of it, with a ``"mask"``.

    >>> batch = {"x": jax.numpy.ones(3), "mask": jax.numpy.ones(3)}
    >>> respects_mask(lambda state, batch: (batch["x"] * batch["mask"]).sum(), None, batch)
    True
    >>> respects_mask(lambda state, batch: batch["x"].sum(), None, batch)
    False
    """
    closed = jax.make_jaxpr(function)(state, batch)
    num_state = len(jax.tree.leaves(state))
    names = [name for name in sorted(batch) for _ in jax.tree.leaves(batch[name])]
    of_data = [False] * num_state + [name != "mask" for name in names]
    of_mask = [False] * num_state + [name == "mask" for name in names]
    on_data, on_mask = (dependent_outputs(closed.jaxpr, given) for given in (of_data, of_mask))
    return all(mask or not data for data, mask in zip(on_data, on_mask, strict=True))


def dependent_outputs(jaxpr: core.Jaxpr, inputs: Sequence[bool]) -> list[bool]:
    """Outputs that depend on any of the marked inputs."""
    marked = {var for var, given in zip(jaxpr.invars, inputs, strict=True) if given}

    def is_marked(atom: object) -> bool:
        return not isinstance(atom, core.Literal) and atom in marked

    for equation in jaxpr.eqns:
        given = [is_marked(atom) for atom in equation.invars]
        if any(given):
            marked.update(
                var
                for var, depends in zip(equation.outvars, _through(equation, given), strict=True)
                if depends
            )
    return [is_marked(atom) for atom in jaxpr.outvars]


def _through(equation: core.JaxprEqn, given: list[bool]) -> Iterable[bool]:
    """Outputs of an equation that depend on its marked inputs."""
    name, params = equation.primitive.name, equation.params
    if name == "cond":
        index, *operands = given
        branches = [dependent_outputs(branch.jaxpr, operands) for branch in params["branches"]]
        return [index or any(outputs) for outputs in zip(*branches, strict=True)]
    if name == "scan":
        return _through_scan(params, given)
    inner = [_open(params[key]) for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params]
    if name != "while" and len(inner) == 1 and len(inner[0].invars) == len(given):
        return dependent_outputs(inner[0], given)
    return [True] * len(equation.outvars)


def _through_scan(params: dict, given: list[bool]) -> list[bool]:
    """As :func:`_through`; what a carry depends on grows from one iteration to the next."""
    first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
    while True:
        outputs = dependent_outputs(_open(params["jaxpr"]), given)
        carry = [old or new for old, new in zip(given[first:last], outputs, strict=False)]
        if carry == given[first:last]:
            return outputs
        given = [*given[:first], *carry, *given[last:]]


def _open(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> core.Jaxpr:
    return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def has_convolution(jaxpr: Any) -> bool:
    """Returns True if a jaxpr, or one inside it, has XLA's convolution."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        for value in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns") and has_convolution(inner):
                return True
    return False
