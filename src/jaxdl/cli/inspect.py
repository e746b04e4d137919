"""``python -m jaxdl inspect``: contents of a run, checkpoint, bundle or file of weights."""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxdl._text import align_table, parse_form
from jaxdl.cli._arguments import add_checkpoint, count, pattern

Form = tuple[str, tuple[int, ...]]
"""Dtype and shape of an array."""

KEY_BYTES = {"key<fry>": 8, "key<rbg>": 16, "key<urbg>": 16}
"""Size of one PRNG key."""

CONFIG = {"format?": str, "by_class?": list}
"""Form of ``config.json`` of a run or a bundle."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "inspect",
        help="show the contents of a run, checkpoint, bundle, export or file of weights",
        description="Shows the tree of a run folder, a folder of checkpoints, a bundle, a file of "
        "write_stablehlo, or a file of weights (safetensors, torch.save): names, shapes, dtypes "
        "and sizes, with step, metrics and configuration if they are known. No array of a "
        "checkpoint is read.",
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="folder or file")
    add_checkpoint(parser)
    parser.add_argument("--key", help="state_dict in a PyTorch file of several: model, ema/model")
    parser.add_argument(
        "--depth", type=count(), help="levels of the tree to show; deeper ones are summed up"
    )
    parser.add_argument(
        "--filter", metavar="PATTERN", type=pattern, help="regular expression for the names"
    )


def run(options: argparse.Namespace) -> int:
    """Prints the contents, and returns the exit status."""
    path: Path = options.path
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}.")
    if path.is_file():
        forms = _inspect_file(path, options.key)
    else:
        forms = _inspect_folder(path, options.checkpoint, options.key)
    if options.filter:
        forms = {name: form for name, form in forms.items() if re.search(options.filter, name)}
        if not forms:
            raise ValueError(f"--filter {options.filter!r} matches no name.")
    if forms:
        print(make_tree(forms, options.depth))
    return 0


def make_tree(forms: Mapping[str, Form], depth: int | None = None) -> str:
    """A table of arrays, and the sums of the parts of the tree.

    Args:
        forms: dtype and shape by name; names are split at slashes, or else at dots.
        depth: number of levels to show; deeper ones are summed up.

    >>> print(make_tree({"params/fc/kernel": ("float32", (3, 2)), "step": ("int32", ())}))
    name              dtype    shape   numbers  bytes
    params/fc/kernel  float32  (3, 2)        6     24
    step              int32    ()            1      4
    all                                      7     28
    """
    groups: dict[str, list[Form]] = {}
    for name, form in forms.items():
        mark = "/" if "/" in name else "."
        parts = name.split(mark)
        short = depth is not None and len(parts) > depth
        key = mark.join(parts[:depth]) + f"{mark}…" if short else name
        groups.setdefault(key, []).append(form)
    rows: list[Sequence[object]] = []
    for name, inside in groups.items():
        dtypes = ", ".join(dict.fromkeys(dtype for dtype, _ in inside))
        shape = str(inside[0][1]) if len(inside) == 1 else f"{len(inside)} arrays"
        rows.append([name, dtypes, shape, *_sums(inside)])
    heads: dict[str, list[Form]] = {}
    for name, form in forms.items():
        heads.setdefault(name.split("/")[0], []).append(form)
    parts_of = {name: inside for name, inside in heads.items() if len(inside) > 1}
    if len(parts_of) > 1:
        rows += [[f"all of {name}", "", "", *_sums(inside)] for name, inside in parts_of.items()]
    rows.append(["all", "", "", *_sums(list(forms.values()))])
    return align_table(["name", "dtype", "shape", "numbers", "bytes"], rows, align="<<<>>")


def _sums(forms: Sequence[Form]) -> tuple[int, int]:
    numbers = [math.prod(shape) for _, shape in forms]
    sizes = [n * _itemsize(dtype) for n, (dtype, _) in zip(numbers, forms, strict=True)]
    return sum(numbers), sum(sizes)


def _itemsize(dtype: str) -> int:
    import jax.numpy as jnp

    return KEY_BYTES[dtype] if dtype in KEY_BYTES else jnp.dtype(dtype).itemsize


def _inspect_file(path: Path, key: str | None) -> dict[str, Form]:
    from jaxdl._program import FORMAT, read_header
    from jaxdl.interop import weight_files

    with path.open("rb") as file:
        head = file.read(256)
    if FORMAT.encode() in head:
        print(f"{path}: StableHLO, {path.stat().st_size:,} bytes")
        _print_facts(read_header(path))
        return {}
    forms = _read_forms(path, key)
    print(f"{path}: {len(forms)} arrays, {path.stat().st_size:,} bytes")
    if head[8:9] == b"{":
        _print_facts(weight_files.read_metadata(path))
    return forms


def _inspect_folder(path: Path, which: str | None, key: str | None) -> dict[str, Form]:
    from jaxdl._files import read_json
    from jaxdl.export import bundle

    file = path / "config.json"
    config = read_json(file, CONFIG) if file.is_file() else {}
    if config.get("format") == bundle.FORMAT:
        print(f"{path}: bundle")
        _print_facts({name: value for name, value in config.items() if name != "by_class"})
        return _read_forms(path / bundle.WEIGHTS, key)
    is_run = any((path / "checkpoints" / name).is_dir() for name in ("best", "last"))
    if is_run:
        return _inspect_run(path, config, which)
    if any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
        forms = _read_forms(path, key)
        print(f"{path}: {len(forms)} arrays")
        return forms
    return _inspect_checkpoint(path)


def _inspect_run(path: Path, config: Mapping[str, object], which: str | None) -> dict[str, Form]:
    from jaxdl._files import read_json
    from jaxdl.export import from_run

    print(f"{path}: run")
    _print_facts(config)
    if from_run.is_described(path):
        _print_facts(read_json(path / from_run.MODEL_FILE))
    return _inspect_checkpoint(path if which is None else path / "checkpoints" / which)


def _inspect_checkpoint(path: Path) -> dict[str, Form]:
    from jaxdl import checkpoint
    from jaxdl.export import from_run

    contents = checkpoint.describe(path)
    print(f"checkpoint {contents.folder}: step {contents.step:,}")
    _print_facts(from_run.row_of(contents.metadata, contents.step))
    return {name: parse_form(text) for name, text in contents.structure.items()}


def _read_forms(path: Path, key: str | None) -> dict[str, Form]:
    from jaxdl.interop import weight_files

    arrays = weight_files.read_weights(path, key=key)
    return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}


def _print_facts(facts: Mapping[str, object], indent: int = 2) -> None:
    """Names and values, those of objects indented."""
    width = max((len(name) for name, value in facts.items() if not _is_object(value)), default=0)
    for name, value in facts.items():
        if isinstance(value, Mapping) and value:
            print(f"{' ' * indent}{name}")
            _print_facts(value, indent + 2)
        else:
            shown = _listed(value) if isinstance(value, list) else str(value)
            if isinstance(value, float):
                shown = f"{value:.6g}"
            print(f"{' ' * indent}{name:{width}}  {shown}")


def _listed(values: Sequence[object], limit: int = 40) -> str:
    shown = ", ".join(map(str, values[:limit]))
    return shown if len(values) <= limit else f"{shown}, … ({len(values):,} in all)"


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value)
