"""A missing optional dependency is reported in one sentence with the extra that installs it."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jaxdl._extras import EXTRAS

ROOT = Path(__file__).parents[1]

HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name)


import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: (
    None if name.partition(".")[0] in HIDDEN else found(name, package)
)
sys.meta_path.insert(0, Hide())
"""

USES = {
    "matplotlib": "from jaxdl import plots; plots.learning_curves([{'loss': 1.0}])",
    "PIL": "import numpy as np; from jaxdl import transforms; transforms.to_pil(np.zeros((2, 2)))",
}


def test_every_extra_exists_and_installs_the_module():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    names = {"PIL": "pillow", "array_record": "array-record"}
    for module, extra in EXTRAS.items():
        assert any(line.startswith(names.get(module, module)) for line in extras[extra]), module


@pytest.mark.slow
@pytest.mark.parametrize("module", USES)
def test_a_missing_module_is_one_sentence(module):
    code = f"HIDDEN = {{{module!r}}}\n{HIDE}\n{USES[module]}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"pip install 'jaxdl[{EXTRAS[module]}]'" in last
