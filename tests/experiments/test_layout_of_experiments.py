"""Experiments read from top to bottom: short, self-contained, with a pure ``train``."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "experiments"
SCRIPTS = sorted([*ROOT.glob("*.py"), *(ROOT / "tutorials").glob("*.py")])
NAMES = {path.stem for path in SCRIPTS}
MAIN_FUNCTION = {"compress": "compress"}  # nothing is trained
MAX_LINES = {"classify": 130, "mnist": 80, "custom_step": 85}
"""110 for all others."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_experiment_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES.get(path.stem, 110)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_experiment_imports_another_or_anything_private(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(alias.name for alias in node.names)]
            assert node.module not in NAMES, node.module
        for name in names:
            parts = name.split(".")
            assert not any(part.startswith("_") for part in parts), name
            assert name not in NAMES or isinstance(node, ast.ImportFrom), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_an_experiment_has_a_configuration_a_train_and_a_main(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert "main" in functions
    assert "Config" in classes
    assert functions[MAIN_FUNCTION.get(path.stem, "train")].args.args[0].arg == "cfg"
    doc = ast.get_docstring(tree) or ""
    folder = path.parent.relative_to(ROOT.parent).as_posix()
    assert f"python {folder}/{path.name}" in doc
    assert "Source: " in doc
