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
from jax.typing import DTypeLike

from jaxdl import tree
from jaxdl._files import parse_json, write_bytes
from jaxdl.nn.conv_ops import prefer_implementation
from jaxdl.types import Array, PyTree

FORMAT = "jaxdl stablehlo"

PLATFORMS = ("cpu", "cuda")

HEADER = {"format": str, "version": int, "sha256": str, "input?": {"shape": list, "dtype": str}}
"""Form of the header."""


class Exported(NamedTuple):
    """A function loaded from a file.

    Attributes:
        call: inputs (B, ...) → outputs (B, ...), compiled once per batch size.
        info: the file's header: shapes, dtypes, class names, results of checks.
        module: JAX's own object, which holds the StableHLO.
    """

    call: Callable[..., PyTree]
    info: dict[str, Any]
    module: jax.export.Exported


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Traces functions for any device: XLA convolutions, full float32, no source paths."""
    limit = getattr(jax.config, "jax_traceback_in_locations_limit")  # noqa: B009
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        with prefer_implementation("lax"), jax.default_matmul_precision("highest"):
            yield
    finally:
        jax.config.update("jax_traceback_in_locations_limit", limit)


def batch_of(shape: Sequence[int], dtype: DTypeLike) -> jax.ShapeDtypeStruct:
    """Returns the symbolic shape (B, *shape) for any batch size."""
    (batch,) = jax.export.symbolic_shape("batch")
    return jax.ShapeDtypeStruct((batch, *shape), dtype)


def export(
    function: Callable[..., PyTree],
    *forms: PyTree,
    platforms: Sequence[str] = PLATFORMS,
    gradients: bool = False,
) -> bytes:
    """Serializes a function by ``jax.export``.

    Args:
        function: pure; arrays that it closes over become part of the program.
        *forms: ``jax.ShapeDtypeStruct`` of its arguments; see :func:`batch_of`.
        platforms: on which the program runs; the machine that exports needs none of them.
        gradients: keep the derivative too.

    Raises:
        ValueError: the function needs a batch size that is a number.
    """
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
    """Returns the innermost line of a traceback outside of installed packages."""
    own = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(own):
            line = f" ({frame.line})" if frame.line else ""
            return f"{Path(frame.filename).name}, line {frame.lineno}{line},"
    return "it"


def pack(serialized: bytes, info: Mapping[str, Any]) -> bytes:
    """Packs header and program into the content of a file.

    Args:
        serialized: of :func:`export`.
        info: JSON values for the header.
    """
    checksum = hashlib.sha256(serialized).hexdigest()
    header = {"format": FORMAT, "version": 1, "jax": jax.__version__, "sha256": checksum, **info}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + serialized


def write_program(path: Path | str, serialized: bytes, info: Mapping[str, Any]) -> None:
    """Writes a file of header and program; see :func:`pack`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, pack(serialized, info))


def load_exported(path: Path | str) -> Exported:
    """Loads a function written by :func:`jaxdl.export.write_stablehlo`, without the model's code.

    Args:
        path: file to read.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, or a damaged one. ``call`` raises it too, if the damage
            lies inside the StableHLO.

    >>> import tempfile
    >>> from jaxdl.export import write_stablehlo
    >>> path = Path(tempfile.mkdtemp()) / "double.stablehlo"
    >>> _ = write_stablehlo(path, lambda x: 2.0 * x, (3,), "float32")
    >>> load_exported(path).call(np.ones((2, 3), np.float32)).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    read_header(path)  # a large file of another kind is not read
    return unpack(Path(path).read_bytes(), path)


def unpack(content: bytes, where: object) -> Exported:
    """Unpacks the function from the content of a file; see :func:`pack`.

    Args:
        content: of :func:`pack`.
        where: its name in error messages.
    """
    length = int.from_bytes(content[:8], "little")
    info, serialized = _parse_header(content[8 : 8 + length], length, where), content[8 + length :]
    if hashlib.sha256(serialized).hexdigest() != info["sha256"]:
        raise ValueError(f"{where} is damaged: the checksum (sha256) of its content differs.")
    try:
        module = jax.export.deserialize(bytearray(serialized))
        num_devices = module.nr_devices
    except Exception as error:  # flatbuffers reads offsets unchecked
        raise ValueError(f"{where} is not a program of jax.export: {_reason(error)}.") from error
    if num_devices != 1:
        raise ValueError(f"{where} is a program for {num_devices} devices, expected 1.")
    compiled = jax.jit(module.call)

    def call(*arguments: PyTree) -> PyTree:
        try:
            return compiled(*arguments)
        except jax.errors.JaxRuntimeError as error:
            raise ValueError(f"{where} cannot be run: {_reason(error)}.") from error

    return Exported(call, info, module)


def _reason(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def read_header(path: Path | str) -> dict[str, Any]:
    """Reads the header of an exported file.

    Raises:
        ValueError: another kind of file.
    """
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < 2**24 else b""
    return _parse_header(text, length, path)


def _parse_header(text: bytes, length: int, where: object) -> dict[str, Any]:
    try:
        info: dict[str, Any] = parse_json(text, HEADER, "its header")
        known = info["format"] == FORMAT and len(text) == length
    except ValueError:
        known = False
    if not known:
        raise ValueError(f"{where} is not a StableHLO file of jaxdl, or it is truncated.")
    return info


class Forward(NamedTuple):
    """The forward pass of a model as a program; the weights are an argument.

    Attributes:
        exported: ``(leaves by name, raw inputs (B, ...)) -> outputs``.
        leaves: forms of the weights by name.
        shape: of one raw input.
        dtype: of raw inputs.
        outputs: forms of the outputs, whose batch size is symbolic.
        content: of the file.
    """

    exported: Exported
    leaves: dict[str, jax.ShapeDtypeStruct]
    shape: tuple[int, ...]
    dtype: str
    outputs: PyTree
    content: bytes

    def __call__(self, variables: PyTree, inputs: Array) -> PyTree:
        """Outputs for raw inputs (B, *shape); pure, for ``jit``."""
        found = tree.named_leaves(variables)
        leaves = {name: found[name].astype(form.dtype) for name, form in self.leaves.items()}
        return self.exported.module.call(leaves, inputs)


def export_forward(
    apply: Callable[[PyTree, Array], PyTree],
    variables: PyTree,
    shape: Sequence[int],
    dtype: DTypeLike,
) -> bytes:
    """Serializes the forward pass of a model with its preprocessing.

    Args:
        apply: ``(variables, raw inputs (B, *shape)) -> outputs``; outputs other than one array
            become nested dictionaries.
        variables: of the model; only names, shapes and dtypes count.
        shape: of one raw input.
        dtype: of raw inputs.

    Returns:
        bytes for :func:`load_forward`.

    Raises:
        ValueError: the function needs the batch size as a number.
    """
    leaves = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        for name, leaf in tree.named_leaves(variables).items()
    }
    structure = jax.tree.structure(variables)

    def forward(leaves: dict[str, Array], inputs: Array) -> PyTree:
        outputs = apply(jax.tree.unflatten(structure, leaves.values()), inputs)
        named = tree.named_leaves(outputs)
        return named[""] if list(named) == [""] else tree.nested(named)

    serialized = export(forward, leaves, batch_of(shape, dtype))
    form = {"shape": ["batch", *shape], "dtype": np.dtype(dtype).name}
    info = {"input": form, "arguments": ["variables", "inputs"], "platforms": list(PLATFORMS)}
    return pack(serialized, info)


def load_forward(content: bytes, where: object) -> Forward:
    """Loads the forward pass from the content of a file.

    Args:
        content: of :func:`export_forward`.
        where: its name in error messages.

    Raises:
        ValueError: other content.
    """
    exported = unpack(content, where)
    module = exported.module
    try:
        (leaves, inputs), _ = jax.tree.unflatten(module.in_tree, module.in_avals)
        forms = {n: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for n, leaf in leaves.items()}
        outputs = jax.tree.unflatten(module.out_tree, module.out_avals)
        shape, dtype = tuple(map(int, inputs.shape[1:])), np.dtype(inputs.dtype).name
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not the forward pass of a model with its weights.") from error
    return Forward(exported, forms, shape, dtype, outputs, content)
