"""Packages that load when used."""

import importlib
import subprocess
import sys

import pytest

import jaxdl
from jaxdl._lazy import attach_stub


def write_package(folder, stub):
    (folder / "stub.pyi").write_text(stub)
    return attach_stub("jaxdl", str(folder / "stub.py"))


def test_a_stub_gives_names_modules_and_submodules(tmp_path):
    stub = '"""Names."""\nfrom jaxdl import tree as tree\nfrom jaxdl.types import Mean as Average\n'
    get, list_names, names = write_package(
        tmp_path, stub.replace("Mean as Average", "Mean as Mean")
    )
    assert names == list_names() == ["Mean", "tree"]
    assert get("tree") is importlib.import_module("jaxdl.tree")
    assert get("Mean") is jaxdl.types.Mean


@pytest.mark.parametrize("stub", ["import os\n", "from . import tree\n", "X = 1\n"])
def test_another_statement_in_a_stub_is_refused_by_its_line(tmp_path, stub):
    with pytest.raises(
        ValueError, match=r"stub\.pyi:2: expected 'from MODULE import NAME as NAME'"
    ):
        write_package(tmp_path, f'"""Names."""\n{stub}')


def test_importing_jaxdl_loads_neither_jax_nor_a_package():
    code = (
        "import sys, jaxdl; print([m for m in ('jax', 'flax', 'jaxdl.train') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["train", "optim", "losses", "nn", "models", "data", "export"])
def test_completion_offers_the_public_names_only(name):
    package = getattr(jaxdl, name)
    assert dir(package) == sorted(package.__all__)
