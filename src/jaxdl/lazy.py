"""Importing a package's parts when they are first used."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def attributes(package: str, later: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a package that imports a module when one of its names is asked for.

    Args:
        package: ``__name__`` of the package.
        later: the names that each module gives, by the module's name in the package.

    >>> attributes("jaxdl", {"types": ("Mean",)})("Mean").__name__
    'Mean'
    """
    modules = {name: module for module, names in later.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}.")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get
