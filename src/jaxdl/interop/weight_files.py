"""Files of weights: safetensors, sharded safetensors, and files of ``torch.save``.

The content of a file decides its kind, not its name. Nothing here needs torch. Arrays of
safetensors are read-only views of the file on disk: their data is read lazily, and the file must
not be written in place while they are in use; :func:`write_safetensors` never does that.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxdl import tree
from jaxdl._files import parse_json, replacing
from jaxdl.interop._pth import is_legacy, read_pth
from jaxdl.interop._unpickle import Unsupported
from jaxdl.interop.transfer import to_numpy
from jaxdl.types import PyTree

DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "C64": np.complex64,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""NumPy's dtypes by those of safetensors."""


IN_FOLDERS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)


USUAL_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "params")
"""Usual places of the weights in a checkpoint, the more specific names first."""


FOREIGN = {
    b"version https://git-lfs": "it is a Git LFS pointer, not the file; run 'git lfs pull'",
    b"\x89HDF": "it is HDF5 (Keras); read it with h5py",
    b"GGUF": "it is GGUF; read it with the package gguf",
    b"\x93NUMPY": "it is one NumPy array without a name; read it with numpy.load",
    b"\x80": (
        "it is a bare pickle, which can run any code; load it in the program that wrote it and "
        "save its arrays as safetensors"
    ),
    b"<": "it is a web page or XML; a failed download may have saved an error page",
}
"""Other kinds of files by their first bytes."""


EXTRA_STATE = "_extra_state"
"""PyTorch's name of what a module saves beside its arrays."""


def read_weights(path: Path | str, *, key: str | None = None) -> dict[str, np.ndarray]:
    """Reads the arrays of a file of weights by name, without torch.

    Args:
        path: a safetensors file; the index of a sharded one (``model.safetensors.index.json``); a
            file of ``torch.save`` (``.pt``, ``.pth``, ``.bin``); or a folder that holds one of
            these under its usual name.
        key: place of the state_dict in a ``torch.save`` checkpoint, such as ``"ema/model"``. None
            finds it if there is only one, or one under a usual name (``state_dict``, ``model``, …).

    Returns:
        arrays by name, read-only. Entries that are not tensors, such as ``_extra_state``, are left
        out.

    Raises:
        ValueError: a file that is damaged, hostile or of another kind; a missing shard; a tensor
            that NumPy cannot hold (sparse, quantized, …); no state_dict or several. The message
            names file and reason.
        FileNotFoundError: file not found.

    Source: ``safetensors.torch.load_file``, ``torch.load(weights_only=True)``.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_safetensors(path, {"fc.bias": np.array([1.0, 2.0])})
    >>> read_weights(path)["fc.bias"].tolist()
    [1.0, 2.0]
    """
    path = Path(path)
    if path.is_dir():
        path = _find_in(path)
    head = _head(path)
    if key is None and head.lstrip().startswith(b"{") and not _is_safetensors(head):
        return _read_shards(path)
    return _read_file(path, key)


def read_metadata(path: Path | str) -> dict[str, str]:
    """Reads the metadata of a safetensors file.

    Args:
        path: a safetensors file.

    Raises:
        ValueError: another kind of file, or a damaged one.
        FileNotFoundError: file not found.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_safetensors(path, {"fc.bias": np.zeros(2)}, {"format": "pt"})
    >>> read_metadata(path)
    {'format': 'pt'}
    """
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {reason}.") from error


def write_safetensors(
    path: Path | str, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays to a safetensors file: all of it, or nothing.

    A reader sees the old file or the new one.

    Args:
        path: file to write.
        arrays: NumPy or JAX arrays by name.
        metadata: text by name; transformers requires ``{"format": "pt"}`` for a PyTorch state_dict.

    Raises:
        ValueError: a dtype that safetensors does not have, or names and metadata that are not text.
        OSError: it cannot be written.

    Source: ``safetensors.torch.save_file``; each reads the other's files.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "model.safetensors"
    >>> write_safetensors(path, {"fc.bias": np.zeros(2)}, {"format": "pt"})
    """
    path, contiguous = Path(path), {}
    for name, array in arrays.items():
        array = to_numpy(array, name)
        # not ascontiguousarray: it gives a scalar an axis
        contiguous[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        if not isinstance(name, str) or contiguous[name].dtype not in DTYPES.values():
            raise ValueError(
                f"safetensors holds arrays by name, got {name!r} of dtype {contiguous[name].dtype}."
            )
    text = dict(metadata or {})
    if not all(isinstance(each, str) for pair in text.items() for each in pair):
        raise ValueError("metadata must be text by name; use json.dumps for other values.")
    with replacing(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(contiguous, temporary, text or None)
        temporary.chmod(mode)  # the library lets only the owner read it


def write_variables(
    path: Path | str, variables: PyTree, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes Linen variables to a safetensors file, under their own names.

    Args:
        path: file to write.
        variables: nested dictionaries of arrays; a leaf's name is its path, ``params/fc/kernel``.
        metadata: text by name.

    Raises:
        ValueError: variables that :func:`read_variables` would not give back: leaves that are not
            in dictionaries, names with a slash, dtypes that safetensors does not have.
        OSError: it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "variables.safetensors"
    >>> write_variables(path, {"params": {"fc": {"bias": np.array([1.0, 2.0])}}})
    """
    for keys, _ in jax.tree_util.tree_flatten_with_path(variables)[0]:
        if not all(
            isinstance(getattr(key, "key", None), str) and "/" not in key.key for key in keys
        ):
            raise ValueError(
                "variables must be nested dictionaries whose keys are text without a slash, got "
                f"{jax.tree_util.keystr(keys)}."
            )
    write_safetensors(path, tree.named_leaves(variables), metadata)


def read_variables(path: Path | str) -> PyTree:
    """Reads the Linen variables that :func:`write_variables` wrote.

    Args:
        path: a safetensors file.

    Returns:
        nested dictionaries of arrays, read-only views of the file.

    Raises:
        ValueError: another kind of file, a damaged one, or names that are not those of variables.
        FileNotFoundError: file not found.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "variables.safetensors"
    >>> write_variables(path, {"params": {"fc": {"bias": np.array([1.0, 2.0])}}})
    >>> read_variables(path)["params"]["fc"]["bias"].tolist()
    [1.0, 2.0]
    """
    return tree.nested(read_weights(path))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _is_safetensors(head: bytes) -> bool:
    """Returns True if a file begins with the length of a JSON header and the header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def _read_file(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
    head = _head(path)
    if head.startswith(b"PK") or is_legacy(head):
        return _find_state_dict(read_pth(path), key, path)
    if key is not None:
        raise ValueError(f"{path} is not a file of torch.save, so it has no key {key!r}.")
    if _is_safetensors(head):
        return _read_safetensors(path)
    for start, reason in FOREIGN.items():
        if head.startswith(start):
            raise ValueError(f"{path} cannot be read: {reason}.")
    begin = f"it begins with {head[:16]!r}" if head else "it is empty"
    raise ValueError(
        f"{path} cannot be read: {begin}. Expected safetensors, a safetensors index or "
        "a file of torch.save; if it should be one of these, it is damaged."
    )


def _find_in(folder: Path) -> Path:
    for name in IN_FOLDERS:
        if (folder / name).exists():
            return folder / name
    names = sorted(path.name for path in folder.iterdir())
    raise ValueError(f"{folder} holds none of {', '.join(IN_FOLDERS)}; it holds {names[:20]}.")


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        # the library checks that the arrays fill the file without gaps, in the order of its keys
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            described = {
                name: (piece.get_dtype(), tuple(piece.get_shape()))
                for name, piece in slices.items()
            }
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is a damaged safetensors file: {reason}.") from error
    arrays = {}
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    for name, (kind, shape) in described.items():
        if kind not in DTYPES:
            raise ValueError(
                f"{path}: {name!r} has the dtype {kind}, expected one of {list(DTYPES)}."
            )
        dtype = np.dtype(DTYPES[kind])
        end = start + math.prod(shape) * dtype.itemsize
        arrays[name] = data[start:end].view(dtype).reshape(shape)
        start = end
    return arrays


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    try:
        content = parse_json(index.read_bytes(), {"weight_map": {"*": str}}, "its content")
    except ValueError as error:
        raise ValueError(f"{index} is not an index of shards: {error}") from error
    places = content["weight_map"]
    files = sorted(set(places.values()))
    # a plain name: an index must not lead out of its folder
    climbing = [name for name in files if name in ("", ".", "..") or Path(name).name != name]
    if climbing:
        raise ValueError(f"{index} names files outside its folder: {climbing[:5]}.")
    arrays: dict[str, np.ndarray] = {}
    for file in files:
        if not (index.parent / file).is_file():
            raise ValueError(f"{index}: shard not found: {file!r}.")
        for name, array in _read_file(index.parent / file).items():
            if places.get(name) != file:
                raise ValueError(f"{index}: {name!r} is in {file!r}, not where the index says.")
            arrays[name] = array
    missing = [name for name in places if name not in arrays]
    if missing:
        raise ValueError(f"{index}: {missing[0]!r} is not in {places[missing[0]]!r}.")
    return arrays


def _find_state_dict(content: object, key: str | None, path: Path) -> dict[str, np.ndarray]:
    """Finds the dictionary of arrays in a checkpoint."""
    found = _state_dicts(content)
    listed = ", ".join(f"{name!r} ({len(arrays)} arrays)" for name, arrays in found.items())
    if not found:
        kind = type(content).__name__
        if isinstance(content, dict):
            kind = f"{[str(name)[:60] for name in list(content)[:20]]}"
        raise ValueError(f"{path} holds no dictionary of arrays by name; it holds {kind}.")
    if key is None:
        usual = [name for name in ("", *USUAL_KEYS) if name in found]
        if not usual and len(found) > 1:
            raise ValueError(
                f"{path} holds several state_dicts: {listed}. Choose one by key= (--key)."
            )
        key = usual[0] if usual else next(iter(found))
    if key not in found:
        raise ValueError(f"{path} has no state_dict under {key!r}; it has {listed}.")
    arrays = {}
    for name, value in found[key].items():
        if isinstance(value, Unsupported):
            raise ValueError(f"{path} cannot be read: {name!r} {value.reason}.")
        arrays[name] = value
    return arrays


def _state_dicts(content: object) -> dict[str, dict[str, np.ndarray | Unsupported]]:
    """Finds all dictionaries of arrays by name, with their paths."""
    found: dict[str, dict[str, np.ndarray | Unsupported]] = {}
    seen: set[int] = set()
    waiting = [("", content)]
    while waiting and len(found) < 100:
        name, inner = waiting.pop(0)
        if not isinstance(inner, dict) or id(inner) in seen or name.count("/") > 3:
            continue
        seen.add(id(inner))
        arrays = _arrays_of(inner)
        if arrays:
            found[name] = arrays
            continue
        for key, value in inner.items():
            if isinstance(value, dict) and isinstance(key, str) and len(key) < 100:
                waiting.append((f"{name}/{key}".lstrip("/"), value))
    return found


def _arrays_of(content: dict[object, object]) -> dict[str, np.ndarray | Unsupported]:
    """Returns the arrays of a state_dict; none if it contains containers, like a checkpoint."""
    arrays = {}
    for name, value in content.items():
        if not isinstance(name, str):
            return {}
        if isinstance(value, np.ndarray | Unsupported):
            arrays[name] = value
        elif isinstance(value, dict | list | tuple | set) and not name.endswith(EXTRA_STATE):
            return {}
    return arrays
