"""The PyTorch code in the notebooks' text runs, and its assertions hold."""

import re
from pathlib import Path

import jupytext
import pytest
import torch

SOURCES = sorted((Path(__file__).resolve().parents[2] / "notebooks" / "src").glob("*.py"))
BLOCK = re.compile(r"^```python\n(# PyTorch\n.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks_of(path):
    cells = jupytext.read(path, fmt="py:percent").cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return BLOCK.findall(text)


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_the_pytorch_beside_the_cells_runs(path):
    namespace = {"torch": torch}
    for block in blocks_of(path):
        exec(block, namespace)


def test_the_first_lesson_has_pytorch_beside_it():
    assert len(blocks_of(SOURCES[0].parent / "01_arrays.py")) >= 4
