"""A missing optional dependency is reported in one sentence with the extra that installs it."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from helpers.lower_bounds import lower_bounds

from jaxdl import data, generative, plots, tensorboard, text, transforms
from jaxdl._extras import EXTRAS
from jaxdl.data.sources import _tfds_build, decode

ROOT = Path(__file__).parents[1]

HIDE = """
import sys

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(name)


import importlib.metadata
import importlib.util
import re
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


def test_the_core_installs_what_jax_export_needs():
    """Every run of a model of one's own writes its program, which takes flatbuffers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("flatbuffers") for line in project["dependencies"])


@pytest.mark.slow
@pytest.mark.parametrize("module", USES)
def test_a_missing_module_is_one_sentence(module):
    code = f"HIDDEN = {{{module!r}}}\n{HIDE}\n{USES[module]}"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"pip install 'jaxdl[{EXTRAS[module]}]'" in last


@pytest.fixture
def hide(monkeypatch):
    """Hides a module from the check, in this process."""
    found = importlib.util.find_spec

    def hide(module):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name == module else found(name)
        )

    return hide


IMAGES = np.zeros((2, 4, 4, 3), np.uint8)
READERS = {
    "images": ("PIL", lambda path: decode.read_image(path / "a.png")),
    "the form of images": ("PIL", lambda path: decode.image_info(path / "a.png")),
    "square images": ("PIL", lambda path: data.sources.square_images(IMAGES, 2)),
    "a grid": ("PIL", lambda path: generative.figures.save_grid(IMAGES, path / "a.png")),
    "an animation": (
        "PIL",
        lambda path: generative.figures.save_animation(IMAGES[None], path / "a.gif"),
    ),
    "TFDS's builder": ("PIL", lambda path: _tfds_build._without_tensorflow(object)),
    "TFDS's resources": (
        "importlib_resources",
        lambda path: _tfds_build._without_tensorflow(object),
    ),
    "Pillow's images": ("PIL", lambda path: transforms.to_pil(IMAGES[0])),
    "array_record": (
        "array_record",
        lambda path: data.sources.ArrayRecordSource(Path(__file__)),
    ),
    "writing array_record": (
        "array_record",
        lambda path: data.sources.write_array_record(
            data.ArraySource({"x": IMAGES}), path / "a.array_record"
        ),
    ),
    "HDF5": ("h5py", lambda path: data.sources.HDF5Source(Path(__file__))),
    "Parquet": ("pyarrow", lambda path: data.sources.ParquetSource(Path(__file__))),
    "tokenizers": ("tokenizers", lambda path: text.train_bpe(["a"])),
    "reading a tokenizer": ("tokenizers", lambda path: text.load_tokenizer(Path(__file__))),
    "Grain": (
        "grain",
        lambda path: list(
            data.Loader(data.ArraySource({"x": IMAGES}), batch_size=1, num_workers=1).epoch(0)
        ),
    ),
    "figures": ("matplotlib", lambda path: plots.image_grid(IMAGES)),
    "embeddings": (
        "tensorboard",
        lambda path: tensorboard.embeddings._add_to_config(path / "config", {}),
    ),
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_name_the_extra_that_they_lack(reader, hide, tmp_path):
    module, use = READERS[reader]
    hide(module)
    message = rf"^.+ needs {module}: pip install 'jaxdl\[{EXTRAS[module]}\]'\.$"
    with pytest.raises(ImportError, match=message):
        use(tmp_path)


def test_every_extra_has_a_reader():
    assert {module for module, _ in READERS.values()} == set(EXTRAS)


def test_every_dependency_has_a_lower_bound():
    bounds = dict(bound.split("==") for bound in lower_bounds())
    assert {"jax", "numpy", "h5py", "matplotlib", "pyarrow", "tokenizers"} <= bounds.keys()
    for name, bound in bounds.items():
        oldest, here = (parts(version) for version in (bound, importlib.metadata.version(name)))
        assert oldest <= here, name


def parts(version):
    return [int(number) for number in re.findall(r"\d+", version)]
