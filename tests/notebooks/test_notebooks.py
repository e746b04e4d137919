"""Notebooks agree with their sources and say what they must; ``notebooks/build.py`` runs them."""

import ast
import functools
import json
import re
import sys
from pathlib import Path

import pytest

import jaxdl

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted((FOLDER / "src").glob("*.py"))

sys.path.insert(0, str(FOLDER))
import build  # noqa: E402

sys.path.remove(str(FOLDER))

every_notebook = pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])


read_source = functools.cache(build.read_source)


def cells_of(path, kind):
    return [cell.source for cell in read_source(path).cells if cell.cell_type == kind]


@functools.cache
def code_of(path):
    return ast.parse("\n".join(cells_of(path, "code")))


@functools.cache
def committed(path):
    return json.loads((FOLDER / path.with_suffix(".ipynb").name).read_text())


def source_of(cell):
    return "".join(cell["source"])


@every_notebook
def test_the_notebook_is_built_from_its_source_and_this_version(path):
    ours, theirs = read_source(path), committed(path)
    assert theirs["metadata"]["jaxdl"] == ours.metadata.jaxdl, "run notebooks/build.py"
    assert theirs["metadata"]["jaxdl"]["version"] == jaxdl.__version__
    expected = [(cell.cell_type, cell.source) for cell in ours.cells]
    assert [(c["cell_type"], source_of(c)) for c in theirs["cells"]] == expected, (
        "run notebooks/build.py"
    )


@every_notebook
def test_every_cell_was_run_in_order_and_none_failed(path):
    cells = [cell for cell in committed(path)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"stream", "display_data", "execute_result"}


@every_notebook
def test_outputs_are_small_and_name_no_folder_of_the_machine(path):
    text = (FOLDER / path.with_suffix(".ipynb").name).read_text()
    assert len(text) < build.MAX_BYTES
    outputs = [cell.get("outputs", []) for cell in committed(path)["cells"]]
    assert not build.ABSOLUTE_PATH.search(json.dumps(outputs))
    assert "application/vnd.jupyter.widget-view+json" not in text


@every_notebook
def test_it_opens_with_a_question_and_the_install_cell(path):
    first = cells_of(path, "markdown")[0]
    assert re.match(r"# \d\d · .*\?$", first.splitlines()[0]), "the title is a question"
    assert "*You need*" in first
    assert "*Time*" in first
    assert "*What comes out*" in first
    install = cells_of(path, "code")[0]
    assert f"github.com/jaxdl/jaxdl@v{jaxdl.__version__}" in install
    assert '"jaxdl", "doctor"' in install


@every_notebook
def test_it_asserts_its_numbers_and_says_what_comes_next(path):
    tree = code_of(path)
    asserts = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    calls = sum(
        isinstance(node, ast.Attribute) and node.attr.startswith("assert_")
        for node in ast.walk(tree)
    )
    assert asserts + calls >= 5
    assert "**Next**" in cells_of(path, "markdown")[-1]


@every_notebook
def test_cells_are_short_and_nothing_of_the_library_is_written_again(path):
    longest = max(len(cell.splitlines()) for cell in cells_of(path, "code"))
    assert longest <= 30
    public = {
        name
        for package in ("nn", "losses", "metrics", "optim", "models", "transforms", "data", "train")
        for name in dir(getattr(jaxdl, package))
    }
    defined = {
        node.name
        for node in ast.walk(code_of(path))
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assert not defined & public - set(committed(path)["metadata"]["jaxdl"].get("rewrites", ()))


def test_every_notebook_has_a_source():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == {path.stem for path in SOURCES}


def test_a_broken_cell_is_named(tmp_path, monkeypatch):
    source = tmp_path / "99_broken.py"
    source.write_text(
        "# ---\n# jupyter:\n#   jaxdl: {covers: []}\n#   kernelspec:\n#     display_name: P\n"
        "#     language: python\n#     name: python3\n# ---\n\n# %%\n1 + 1\n\n# %%\n1 / 0\n"
    )
    monkeypatch.setattr(build, "FOLDER", tmp_path)
    seconds, failure = build.build(source, small=False, timeout=60)
    assert seconds > 0
    assert failure.startswith("cell 1: ZeroDivisionError: division by zero")
    assert not list(tmp_path.glob("*.ipynb"))


def test_an_output_with_a_path_is_not_written(tmp_path):
    notebook = build.nbformat.v4.new_notebook()
    output = build.nbformat.v4.new_output("stream", text="saved in /home/ada/run")
    notebook.cells = [build.nbformat.v4.new_code_cell("1", outputs=[output])]
    with pytest.raises(ValueError, match="cell 0 has the path /home/ada/run"):
        build.write(notebook, tmp_path / "x.ipynb")
    assert not (tmp_path / "x.ipynb").exists()


def test_names_that_no_notebook_has_are_refused():
    with pytest.raises(ValueError, match="no notebook begins with '77'; there are: "):
        build.find_sources(["77"])
