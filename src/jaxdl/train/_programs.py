"""Compiled programs that live as long as the function that they are made of."""

import weakref
from collections.abc import Callable
from typing import Any

import jax

Function = Callable[..., Any]

_programs: weakref.WeakKeyDictionary[Function, dict[Function, Any]] = weakref.WeakKeyDictionary()


def program(make: Callable[[Function], Function], function: Function, **options: Any) -> Any:
    """Returns ``jax.jit(make(function), **options)``, cached while the function is alive.

    ``jax.jit(..., static_argnums=0)`` of a global function would keep every step that it is called
    with, and its executable, until the process ends. This keeps neither alive.

    Args:
        make: a global function; for one ``make`` the options are always the same.
        function: e.g. a step; the caller holds it while it calls the program.
        **options: of ``jax.jit``.
    """
    try:
        programs = _programs.setdefault(function, {})
        reference = weakref.ref(function)
    except TypeError:  # neither hashable nor weakly referenced
        return jax.jit(make(function), **options)

    def call(*args: Any) -> Any:
        alive = reference()
        if alive is None:
            raise ReferenceError("the function of this program has been deleted.")
        return alive(*args)

    if make not in programs:
        programs[make] = jax.jit(make(call), **options)
    return programs[make]
