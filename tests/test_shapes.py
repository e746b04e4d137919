"""The shapes in signatures are checked while the doctests run."""

import subprocess
import sys

import pytest

CHECK = """
import doctest, importlib, pkgutil, sys
from jaxtyping import install_import_hook

root = sys.argv[1]
with install_import_hook(root, "beartype.beartype"):
    package = importlib.import_module(root)
    path = getattr(package, "__path__", [])
    names = [root, *(module.name for module in pkgutil.walk_packages(path, root + "."))]
    modules = [importlib.import_module(name) for name in names]
results = [doctest.testmod(module) for module in modules]
print(sum(result.attempted for result in results), "examples")
sys.exit(any(result.failed for result in results))
"""


def run(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "root",
    [
        "jaxdl.losses",
        "jaxdl.metrics",
        "jaxdl.models",
        "jaxdl.nn",
        "jaxdl.optim",
        "jaxdl.transforms",
    ],
)
def test_doctests_hold_with_checked_shapes(root):
    pytest.importorskip("beartype")
    result = run(CHECK, root)
    assert result.returncode == 0, result.stdout + result.stderr
    assert int(result.stdout.split()[-2]) > 0


@pytest.mark.slow
def test_a_wrong_shape_is_found():
    pytest.importorskip("beartype")
    code = """
from jaxtyping import install_import_hook
with install_import_hook("jaxdl.nn", "beartype.beartype"):
    from jaxdl import nn
import jax.numpy as jnp
nn.flatten(jnp.zeros(()))
"""
    assert "TypeCheckError" in run(code).stderr
