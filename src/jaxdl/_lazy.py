"""Lazy import of a package's public names, read from its type stub."""

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdl._extras import require
from jaxdl._pytorch_names import explain_name


def attach_stub(
    package: str, file: str, *, needs: str | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names load when used.

    The names stand in one place, the stub beside the package's ``__init__.py``, which type checkers
    and editors read too: ``from jaxdl.models.mlp import MLP as MLP``.

    Args:
        package: ``__name__`` of the package.
        file: ``__file__`` of the package; its stub is the same path with the suffix ``.pyi``.
        needs: an optional module without which nothing in the package works; see ``_extras``.

    Returns:
        the three attributes.

    Raises:
        ValueError: a statement in the stub other than ``from MODULE import NAME as NAME``.

    Source: the convention of ``lazy_loader.attach_stub`` (Scientific Python, SPEC 1).

    >>> import jaxdl.models
    >>> get, _, names = attach_stub("jaxdl.models", jaxdl.models.__file__)
    >>> get("MLP").__name__, "MLP" in names
    ('MLP', True)
    """
    modules = _read_stub(Path(file).with_suffix(".pyi"))
    names = sorted(modules)

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(explain_name(package, name, names))
        if needs is not None:
            require(needs, package)
        module = modules[name]
        if module == package:
            return importlib.import_module(f"{package}.{name}")
        return getattr(importlib.import_module(module), name)

    return get, lambda: names, names


def _read_stub(path: Path) -> dict[str, str]:
    """The module of each name in a stub."""
    modules = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if not isinstance(node, ast.ImportFrom) or node.module is None or node.level:
            raise ValueError(f"{path}:{node.lineno}: expected 'from MODULE import NAME as NAME'.")
        for alias in node.names:
            modules[alias.asname or alias.name] = node.module
    return modules
