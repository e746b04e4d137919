"""Pure functions as portable StableHLO: files that run without the code that made them.

A file is 8 bytes with the length of a header (little-endian), the header (JSON), and the bytes of
``jax.export``, so JAX alone can read it too::

    content = open("model.stablehlo", "rb").read()
    start = 8 + int.from_bytes(content[:8], "little")
    exported = jax.export.deserialize(bytearray(content[start:]))
    logits = exported.call(images)  # uint8 (B, H, W, C)

``exported.mlir_module_serialized`` is the StableHLO for other runtimes. A checksum in the header
detects damage, not intent: as with any program, load only files from sources that you trust.
"""

import contextlib
import hashlib
import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np

from jaxdl._extras import require
from jaxdl._files import parse_json, write_bytes
from jaxdl.nn._conv_ops import prefer_implementation
from jaxdl.types import PyTree

FORMAT = "jaxdl stablehlo"

PLATFORMS = ("cpu", "cuda")

HEADER = {"format": str, "version": int, "sha256": str, "input?": {"shape": list, "dtype": str}}
"""Form of the header."""


class Exported(NamedTuple):
    """A function from a file.

    Attributes:
        call: inputs (B, ...) → outputs (B, ...), compiled once per batch size.
        info: the file's header: shapes, dtypes, class names, results of checks.
        module: JAX's own object, which holds the StableHLO.
    """

    call: Callable[..., Any]
    info: dict[str, Any]
    module: jax.export.Exported


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Traces functions for any device: XLA's convolutions, full float32, no paths of sources."""
    limit = jax.config.jax_traceback_in_locations_limit
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        with prefer_implementation("lax"), jax.default_matmul_precision("highest"):
            yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def batch_of(shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    """The form (B, *shape) of arrays with any batch size."""
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, *shape), dtype)


def export(
    function: Callable[..., PyTree],
    *forms: PyTree,
    platforms: Sequence[str] = PLATFORMS,
    gradients: bool = False,
) -> bytes:
    """A function as the bytes of ``jax.export``.

    Args:
        function: pure; arrays that it closes over become part of the program.
        *forms: ``jax.ShapeDtypeStruct`` of its arguments; see :func:`batch_of`.
        platforms: on which the program runs; the machine that exports needs none of them.
        gradients: keep the derivative too.

    Raises:
        ValueError: the function needs a batch size that is a number.
        ImportError: flatbuffers is not installed.
    """
    require("flatbuffers", "exporting to StableHLO")
    with portable():
        # a new function: JAX's cache of the caller's own keeps its traces for this machine
        jitted = jax.jit(lambda *arguments: function(*arguments))
        try:
            exported = jax.export.export(jitted, platforms=tuple(platforms))(*forms)
            return bytes(exported.serialize(vjp_order=1 if gradients else 0))
        except Exception as error:
            if not _needs_batch_size(error):
                raise
            raise ValueError(
                f"the model cannot be exported for every batch size: {_blame(error)} needs it as a "
                "number. Write x.shape[0] for len(x) and int(x.shape[0]), and no loop or condition "
                "over the batch."
            ) from error


def _needs_batch_size(error: Exception) -> bool:
    # Python's own error for len(x) and range(x.shape[0]) names the class of JAX's symbolic sizes
    return isinstance(error, jax.errors.InconclusiveDimensionOperation) or (
        isinstance(error, TypeError) and "_DimExpr" in str(error)
    )


def _blame(error: Exception) -> str:
    """The innermost line outside of installed packages."""
    own = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(own):
            line = f" ({frame.line})" if frame.line else ""
            return f"{Path(frame.filename).name}, line {frame.lineno}{line},"
    return "it"


def pack(serialized: bytes, info: Mapping[str, Any]) -> bytes:
    """The content of a file: header and program.

    Args:
        serialized: of :func:`export`.
        info: JSON values for the header.
    """
    checksum = hashlib.sha256(serialized).hexdigest()
    header = {"format": FORMAT, "version": 1, "jax": jax.__version__, "sha256": checksum, **info}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + serialized


def write_program(path: Path | str, serialized: bytes, info: Mapping[str, Any]) -> None:
    """Writes header and program; see :func:`pack`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, pack(serialized, info))


def load_exported(path: Path | str) -> Exported:
    """Reads a function that :func:`jaxdl.export.write_stablehlo` wrote; needs no code of the model.

    Args:
        path: file to read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, or a damaged one. ``call`` raises it too, if the damage
            lies inside the StableHLO.
    """
    require("flatbuffers", "reading StableHLO")
    content, info = Path(path).read_bytes(), read_header(path)
    serialized = content[8 + int.from_bytes(content[:8], "little") :]
    if hashlib.sha256(serialized).hexdigest() != info["sha256"]:
        raise ValueError(f"{path} is damaged: the checksum (sha256) of its content differs.")
    try:
        module = jax.export.deserialize(bytearray(serialized))
        num_devices = module.nr_devices
    except Exception as error:  # flatbuffers reads offsets unchecked
        raise ValueError(f"{path} is not a program of jax.export: {_reason(error)}.") from error
    if num_devices != 1:
        raise ValueError(f"{path} is a program for {num_devices} devices, expected 1.")
    compiled = jax.jit(module.call)

    def call(*arguments: PyTree) -> PyTree:
        try:
            return compiled(*arguments)
        except jax.errors.JaxRuntimeError as error:
            raise ValueError(f"{path} cannot be run: {_reason(error)}.") from error

    return Exported(call, info, module)


def _reason(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of an exported file.

    Raises:
        ValueError: another kind of file.
    """
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < 2**24 else b""
    try:
        info: dict[str, Any] = parse_json(text, HEADER, "its header")
        known = info["format"] == FORMAT and len(text) == length
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"{path} is not a StableHLO file of jaxdl, or it is truncated.")
    return info


def input_form(exported: Exported) -> tuple[PyTree, str, tuple[int, ...]]:
    """Forms of the variables, dtype and shape (without the batch) of a program's inputs.

    The program is a function of variables and one array.

    Raises:
        ValueError: a program with other arguments.
    """
    module = exported.module
    arguments, _ = jax.tree.unflatten(module.in_tree, module.in_avals)
    if len(arguments) != 2 or not hasattr(arguments[1], "shape"):
        raise ValueError("expected a program of variables and one array of inputs.")
    variables = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), arguments[0])
    return variables, np.dtype(arguments[1].dtype).name, tuple(arguments[1].shape[1:])
