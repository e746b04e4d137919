"""The folders show the architecture: imports go down one list only."""

import ast
from pathlib import Path

import pytest

import jaxdl

SOURCE = Path(jaxdl.__file__).parent

# A module may import those before it and nothing after; likewise inside a folder.
ORDER = [
    "lazy",
    "files",
    "types",
    "checks",
    "tree",
    "nn",
    "losses",
    "metrics",
    "optim",
    "models",
    "data",
    "checkpoint",
    "quantize",
    "tensorboard",
    "plots",
    "config",
    "train",
    "generators",
    "interop",
    "doctor",
    "commands",
    "__main__",
]
INSIDE = {
    "losses": [
        "shapes",
        "labels",
        "binary",
        "regression",
        "pairs",
        "distributions",
        "around",
        "adversarial",
    ],
    "optim": ["schedules", "optimizers", "averages", "parts", "wrappers", "recipe"],
    "nn": [
        "initializers",
        "dense",
        "pooling",
        "geometry",
        "conv",
        "normalization",
        "embedding",
        "bilinear",
        "recurrent",
        "spectral",
        "intermediates",
    ],
    "data": [
        "transforms",
        "statistics",
        "batches",
        "source",
        "views",
        "samplers",
        "bucketing",
        "stream",
        "fetch",
        "device",
        "loader",
        "splits",
        "summary",
        "generated",
        "text",
        "tokenizers",
        "corpora",
        "image_sets",
        "tables",
        "folders",
        "video",
        "hdf5",
        "parquet",
        "records",
        "tfds_build",
        "tfds",
        "named",
        "find",
    ],
    "data.transforms": [
        "images",
        "basic",
        "pil",
        "crop",
        "resize",
        "geometry",
        "erase",
        "color",
        "levels",
        "filters",
        "policies",
        "mixing",
    ],
    "tensorboard": [
        "writer",
        "grids",
        "media",
        "histograms",
        "text",
        "curves",
        "hparams",
        "embeddings",
        "projections",
        "graph",
    ],
    "plots": ["figure", "curves", "images", "confusion", "plane", "data", "runs"],
    "train": [
        "step",
        "gan",
        "sampling",
        "progress",
        "record",
        "locate",
        "diagnose",
        "feed",
        "streamed",
        "evaluation",
        "watch",
        "statistics",
        "watcher",
        "trace",
        "noted",
        "loop",
        "renew",
        "space",
        "members",
        "blocks",
        "sweep_result",
        "sweep_record",
        "sweep",
        "compare",
    ],
    "generators": ["measures", "judge", "film", "pictures", "report"],
    "checkpoint": ["state", "weights"],
    "interop": [
        "pth",
        "files",
        "copies",
        "layouts",
        "torch",
        "compare",
        "convert",
        "describe",
        "preprocessing",
        "card",
        "runs",
        "bundle",
        "export",
        "onnx",
        "huggingface",
    ],
}


def imports_of(path: Path) -> set[str]:
    """The modules of jaxdl that a file imports at its top level, as dotted names below jaxdl."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "jaxdl":
            names |= {f"jaxdl.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.removeprefix("jaxdl.") for name in names if name.startswith("jaxdl.")}


def modules() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def test_every_module_has_its_place():
    places = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in modules()}
    assert places <= set(ORDER)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_the_list(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    place = ORDER.index(parts[0])
    for name in imports_of(path):
        other = name.split(".")
        assert ORDER.index(other[0]) <= place, f"{'.'.join(parts)} imports {name}"
        depth = next(d for d in range(9) if other[: d + 1] != list(parts[: d + 1]))
        folder = ".".join(parts[:depth])
        if folder in INSIDE and len(other) > depth and parts[depth] != "__init__":
            order = INSIDE[folder]
            here, there = order.index(parts[depth]), order.index(other[depth])
            assert there < here, f"{'.'.join(parts)}: {name}"


def test_torch_is_imported_nowhere_but_in_interop():
    for path in modules():
        if path.relative_to(SOURCE).parts[0] == "interop":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("torch", "tensorflow") for name in names), path


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_assert_in_the_source(path):
    statements = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
    assert not statements
