"""``python -m jaxdl inspect``: what a run, checkpoint, bundle or file of weights holds."""

import argparse
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl._text import align_table, parse_form

Forms = dict[str, tuple[str, tuple[int, ...]]]
"""Dtype and shape by name."""


KEY_BYTES = {"key<fry>": 8, "key<rbg>": 16, "key<urbg>": 16}
"""Of one PRNG key."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    inspect = commands.add_parser(
        "inspect",
        help="show what a run, checkpoint, bundle, export or file of weights holds",
        description="Shows the tree of a run folder, a folder of checkpoints, a bundle, a file of "
        "write_stablehlo, or a file of weights (safetensors, torch.save): names, shapes, dtypes "
        "and sizes, and the step, metrics and configuration where they are known. No array of a "
        "checkpoint is read.",
        allow_abbrev=False,
    )
    inspect.add_argument("path", type=Path, metavar="PATH", help="folder or file")
    inspect.add_argument(
        "--checkpoint", choices=["best", "last"], help="of a run; the best where there is one"
    )
    inspect.add_argument(
        "--depth", type=int, help="sum up what lies deeper in the tree than this; all by default"
    )
    inspect.add_argument("--filter", metavar="PATTERN", help="regular expression that names match")


def run(options: argparse.Namespace) -> int:
    """Prints what is there, and returns the exit status."""
    path: Path = options.path
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}.")
    forms = _inspect_file(path) if path.is_file() else _inspect_folder(path, options.checkpoint)
    if options.filter:
        forms = {name: form for name, form in forms.items() if re.search(options.filter, name)}
        if not forms:
            raise ValueError(f"--filter {options.filter!r} matches no name.")
    if forms:
        print(make_tree(forms, options.depth))
    return 0


def make_tree(forms: Forms, depth: int | None = None) -> str:
    """A table of arrays, and the sums of the parts of the tree.

    Args:
        forms: dtype and shape by name; slashes, or dots where there are none, part the names.
        depth: sum up what lies deeper.

    >>> print(make_tree({"params/fc/kernel": ("float32", (3, 2)), "step": ("int32", ())}))
    name              dtype    shape   numbers  bytes
    params/fc/kernel  float32  (3, 2)        6     24
    step              int32    ()            1      4
    all                                      7     28
    """
    groups: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, form in forms.items():
        mark = "/" if "/" in name else "."
        parts = name.split(mark)
        short = depth is not None and len(parts) > depth
        key = mark.join(parts[:depth]) + f"{mark}…" if short else name
        groups.setdefault(key, []).append(form)
    rows = []
    for name, inside in groups.items():
        dtypes = ", ".join(dict.fromkeys(dtype for dtype, _ in inside))
        shape = str(inside[0][1]) if len(inside) == 1 else f"{len(inside)} arrays"
        rows.append([name, dtypes, shape, *_sums(inside)])
    heads: dict[str, list[tuple[str, tuple[int, ...]]]] = {}
    for name, form in forms.items():
        heads.setdefault(name.split("/")[0], []).append(form)
    parts_of = {name: inside for name, inside in heads.items() if len(inside) > 1}
    if len(parts_of) > 1:
        rows += [[f"all of {name}", "", "", *_sums(inside)] for name, inside in parts_of.items()]
    rows.append(["all", "", "", *_sums(list(forms.values()))])
    return align_table(["name", "dtype", "shape", "numbers", "bytes"], rows, align="<<<>>")


def _sums(forms: list[tuple[str, tuple[int, ...]]]) -> tuple[str, str]:
    numbers = [math.prod(shape) for _, shape in forms]
    sizes = [n * _itemsize(dtype) for n, (dtype, _) in zip(numbers, forms, strict=True)]
    return f"{sum(numbers):,}", f"{sum(sizes):,}"


def _itemsize(dtype: str) -> int:
    import jax.numpy as jnp

    return KEY_BYTES[dtype] if dtype in KEY_BYTES else jnp.dtype(dtype).itemsize


def _inspect_file(path: Path) -> Forms:
    from jaxdl.export.stablehlo import FORMAT, read_header
    from jaxdl.interop import weight_files

    with path.open("rb") as file:
        head = file.read(256)
    if FORMAT.encode() in head:
        print(f"{path}: StableHLO, {path.stat().st_size:,} bytes")
        _print_facts(read_header(path))
        return {}
    arrays = weight_files.read_weights(path)
    print(f"{path}: {len(arrays)} arrays, {path.stat().st_size:,} bytes")
    if head[8:9] == b"{":
        _print_facts(weight_files.read_metadata(path))
    return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}


def _inspect_folder(path: Path, which: str | None) -> Forms:
    from jaxdl import checkpoint
    from jaxdl._files import read_json
    from jaxdl.export import bundle, from_run
    from jaxdl.interop import weight_files

    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    if config.get("format") == bundle.FORMAT:
        print(f"{path}: bundle")
        _print_facts({key: value for key, value in config.items() if key != "by_class"})
        arrays = weight_files.read_weights(path / bundle.WEIGHTS)
        return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
    places = [path / "checkpoints" / name for name in ("best", "last")]
    if not any(place.is_dir() for place in places):
        if any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
            arrays = weight_files.read_weights(path)
            print(f"{path}: {len(arrays)} arrays")
            return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}
        contents = checkpoint.describe(path)
    else:
        print(f"{path}: run")
        _print_facts(config)
        if from_run.is_described(path):
            _print_facts(read_json(path / from_run.MODEL_FILE))
        contents = checkpoint.describe(path if which is None else path / "checkpoints" / which)
    print(f"checkpoint {contents.folder}: step {contents.step:,}")
    _print_facts(from_run.row_of(contents.metadata, contents.step))
    return {name: parse_form(text) for name, text in contents.structure.items()}


def _print_facts(facts: Mapping[str, Any], indent: int = 2) -> None:
    """Names and values, those of objects indented."""
    width = max((len(name) for name, value in facts.items() if not _is_object(value)), default=0)
    for name, value in facts.items():
        if _is_object(value):
            print(f"{' ' * indent}{name}")
            _print_facts(value, indent + 2)
        else:
            shown = _listed(value) if isinstance(value, list) else str(value)
            if isinstance(value, float):
                shown = f"{value:.6g}"
            print(f"{' ' * indent}{name:{width}}  {shown}")


def _listed(values: list[Any], most: int = 40) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown}, … ({len(values):,} in all)"


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)
