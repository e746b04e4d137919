"""Workarounds for Orbax: unsupported leaves, special characters in paths, thread tracebacks."""

import contextlib
import functools
import glob
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import jax
import numpy as np

from jaxdl import tree
from jaxdl._text import shorten_lines
from jaxdl.types import PyTree

PLACEHOLDER = np.zeros(1, np.uint8)
"""Saved in place of an array without elements, which Orbax refuses."""


def check_savable(state: PyTree) -> None:
    """Raises ValueError, naming the leaves, unless every leaf can be saved and restored."""
    problems = []
    names: dict[str, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        name = tree.leaf_name(path)
        if reason := _why_not_savable(name, leaf):
            problems.append(f"{name} {reason}")
        place = name.replace(".", "/")  # Orbax joins the parts of a name by dots
        if place in names:
            problems.append(f"{name} would be stored in the same place as {names[place]}")
        names[place] = name
    leaves = set(names.values())
    for name in leaves:
        for parent in itertools.accumulate(name.split("/")[:-1], "{}/{}".format):
            if parent in leaves:
                problems.append(f"{name} would be stored below the leaf {parent}")
    if problems:
        raise ValueError(f"the state cannot be saved:\n  {shorten_lines(problems)}")


def _why_not_savable(name: str, leaf: object) -> str:
    """Returns the reason why a leaf cannot be saved, or an empty string."""
    import tensorstore as ts

    try:
        name.encode()
    except UnicodeEncodeError:
        return "has a name that is not valid Unicode"
    if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
        return f"is of type {type(leaf).__name__}, expected an array (jnp.asarray)"
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return ""
    dtype = np.dtype(leaf.dtype)
    try:
        ts.dtype(dtype.name)
    except (TypeError, ValueError):
        return f"has dtype {dtype}, which Orbax cannot save"
    if not dtype.isnative or jax.dtypes.canonicalize_dtype(dtype) != dtype:
        return f"has dtype {dtype}, which JAX would not keep; convert it (jnp.asarray)"
    return ""


def with_placeholders(state: PyTree) -> PyTree:
    """Replaces every array without elements by :data:`PLACEHOLDER`."""
    return jax.tree.map(lambda leaf: leaf if leaf.size else PLACEHOLDER, state)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppresses Orbax's output, such as tracebacks of its threads; errors are still raised.

    After an error Orbax's logging stays off, since its other threads may fail later.
    """
    _ignore_unraisable()
    loggers, drop = (logging.getLogger("absl"), logging.getLogger("asyncio")), _DropOrbax()
    for logger in loggers:
        logger.addFilter(drop)
    yield
    for logger in loggers:
        logger.removeFilter(drop)


class _DropOrbax(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        trace = record.exc_info[2] if record.exc_info else None
        return not _in_orbax(record.pathname, trace)


@functools.cache
def _ignore_unraisable() -> None:
    """Suppresses tracebacks of Orbax's coroutines and callbacks after a failed call."""
    previous = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        code = getattr(unraisable.object, "cr_code", None)
        closed = str(unraisable.exc_value) == "Event loop is closed"
        if not closed and not _in_orbax(getattr(code, "co_filename", ""), unraisable.exc_traceback):
            previous(unraisable)

    sys.unraisablehook = hook


def _in_orbax(file: str, trace: TracebackType | None) -> bool:
    files = [file, *(frame.filename for frame in traceback.extract_tb(trace))]
    return any(f"{os.sep}orbax{os.sep}" in each for each in files)


def is_plain(path: Path) -> bool:
    """Returns True if Orbax and TensorStore use a path literally."""
    text = str(path)
    special = glob.has_magic(text) or "\\" in text or ":/" in text
    return not special and text.isprintable()


@contextlib.contextmanager
def plain_path(path: Path) -> Iterator[Path]:
    r"""Yields an equivalent path to a folder without characters that Orbax interprets.

    Orbax expands ``[``, ``*`` and ``?`` in the path of a checkpoint, and TensorStore replaces ``\``
    by ``/`` and reads ``:/`` as a scheme. Such folders are opened through a symbolic link.

    Raises:
        ValueError: several processes save together, or the temporary folder also has such a name.
    """
    if is_plain(path):
        yield path
        return
    refusal = f"the path {str(path)!r} has characters that Orbax cannot handle; choose another one."
    if jax.process_count() > 1:
        raise ValueError(refusal)
    with tempfile.TemporaryDirectory(prefix="jaxdl-") as folder:
        link = Path(folder) / "link"
        if not is_plain(link):
            raise ValueError(refusal)
        link.symlink_to(path, target_is_directory=True)
        yield link


def reason_of(error: Exception) -> str:
    """Returns the reason for a failed save on one line, preferably the operating system's."""
    text = " ".join((str(error).strip() or type(error).__name__).split())
    if code := re.search(r"os_error_code='(\d+)'", text):
        return os.strerror(int(code[1]))
    return getattr(error, "strerror", None) or text[:300].rstrip(".")


def remove_unfinished(folder: Path, step: int) -> None:
    """Removes the partial files of a failed save."""
    for path in folder.iterdir():
        if path.name.startswith(f"{step}.orbax-checkpoint-tmp"):
            shutil.rmtree(path, ignore_errors=True)


def check_stored(folder: Path, num_leaves: int) -> None:
    """Checks that a saved tree has all leaves and its files have the right sizes.

    Reads only the index of the arrays, which has a separate checksum.

    Args:
        folder: written by Orbax; see :func:`plain_path`.
        num_leaves: number of arrays.

    Raises:
        ValueError, OSError: a file is missing, damaged or too short.
    """
    import tensorstore as ts

    described = len(json.loads((folder / "_METADATA").read_bytes())["tree_metadata"])
    store = ts.KvStore.open({"driver": "file", "path": f"{folder}{os.sep}"}).result()
    nodes = [ts.ocdbt.dump(store).result()["versions"][-1]["root"]["location"]]
    found = 0
    ends: defaultdict[str, int] = defaultdict(int)
    while nodes:
        for entry in ts.ocdbt.dump(store, nodes.pop()).result()["entries"]:
            if "location" in entry:
                nodes.append(entry["location"])
                continue
            found += entry["key"].endswith(b"/.zarray")
            if "indirect_value" in entry:
                _, base, file, start, size = entry["indirect_value"].split(":")
                ends[base + file] = max(ends[base + file], int(start) + int(size))
    if min(found, described) != num_leaves:
        raise ValueError(f"{min(found, described)} of {num_leaves} arrays were written")
    for file, end in ends.items():
        size = (folder / file).stat().st_size
        if size < end:
            raise ValueError(f"{file} has {size} bytes, expected {end}")
