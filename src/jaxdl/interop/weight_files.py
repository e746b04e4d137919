"""Files of weights: safetensors, sharded safetensors, and what ``torch.save`` wrote.

Content decides what a file is, not its name. Nothing here needs torch. Arrays of safetensors are
read-only views of the file on disk: what nobody looks at is not read, and the file must not be
written to in place while they are in use; :func:`write_safetensors` never does that.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxdl import tree
from jaxdl._files import replacing
from jaxdl.interop._pth import read_pth
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
"""Where checkpoints keep their weights, the more telling names first."""


FOREIGN = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": (
        "it is in PyTorch's format from before 1.6; convert it once in PyTorch: "
        "torch.save(torch.load(old, weights_only=True), new)"
    ),
    b"version https://git-lfs": "it is a Git LFS pointer, not the file; run 'git lfs pull'",
    b"\x89HDF": "it is HDF5 (Keras); read it with h5py",
    b"GGUF": "it is GGUF; read it with the package gguf",
    b"\x93NUMPY": "it is one NumPy array without a name; read it with numpy.load",
    b"\x80": (
        "it is a bare pickle, which may run anything; load it where it came from and save "
        "its arrays as safetensors"
    ),
    b"<": "it is a web page or XML, perhaps the message of a download that failed",
}
"""What else a file may begin with."""


def read_weights(path: Path | str, *, key: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of a file of weights by name, read without torch.

    Args:
        path: a safetensors file; the index of a sharded one (``model.safetensors.index.json``); a
            zip file of ``torch.save`` (``.pt``, ``.pth``, ``.bin``); or a folder that holds one of
            these under its usual name.
        key: where in a ``torch.save`` checkpoint the state_dict is, ``"ema/model"`` say; None
            finds it where there is one only, or one under a usual name (``state_dict``,
            ``model``, …).

    Returns:
        arrays by name, read-only.

    Raises:
        ValueError: a file that is damaged, hostile or of another kind, a missing shard, no
            state_dict in it or several; the message names file and reason.
        FileNotFoundError: there is no such file.

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
    """The text that a safetensors file keeps beside its arrays.

    Args:
        path: a safetensors file.

    Raises:
        ValueError: another kind of file, or a damaged one.

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
        raise ValueError(f"{path} is no safetensors file, or a damaged one: {error}.") from error


def write_safetensors(
    path: Path | str, arrays: Mapping[str, Any], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays to a safetensors file: all of it, or nothing.

    The file is written under another name beside it and then renamed, so that a reader sees the old
    one or the new one.

    Args:
        path: where to.
        arrays: by name, of NumPy or JAX; in C order whatever their own.
        metadata: text by name; transformers wants ``{"format": "pt"}`` in a PyTorch state_dict.

    Raises:
        ValueError: a dtype that safetensors does not have, or names and metadata that are no text.

    Source: ``safetensors.torch.save_file``, which reads what this wrote and the other way round.
    """
    path, contiguous = Path(path), {}
    for name, array in arrays.items():
        array = np.asarray(array)
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
        path: where to.
        variables: nested dictionaries of arrays; a leaf's name is its path, ``params/fc/kernel``.
        metadata: text by name.
    """
    write_safetensors(path, tree.named_leaves(variables), metadata)


def read_variables(path: Path | str) -> PyTree:
    """The Linen variables that :func:`write_variables` wrote.

    Args:
        path: a safetensors file.

    Returns:
        nested dictionaries of arrays, read-only views of the file;
        :func:`~jaxdl.interop._transfer.transfer` copies them.

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
    """The length of a JSON header, and the header; as a length, text would be enormous."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40


def _read_file(path: Path, key: str | None = None) -> dict[str, np.ndarray]:
    head = _head(path)
    if head.startswith(b"PK"):
        return _find_state_dict(read_pth(path), key, path)
    if key is not None:
        raise ValueError(f"{path} is no file of torch.save, so there is no key {key!r} in it.")
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
        raise ValueError(f"{path} is a damaged safetensors file: {error}.") from error
    arrays = {}
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    data = np.asarray(np.memmap(path, np.uint8, "r"))
    for name, (kind, shape) in described.items():
        if kind not in DTYPES:
            raise ValueError(f"{path}: {name} has the dtype {kind}; known are {list(DTYPES)}.")
        dtype = np.dtype(DTYPES[kind])
        end = start + math.prod(shape) * dtype.itemsize
        arrays[name] = data[start:end].view(dtype).reshape(shape)
        start = end
    return arrays


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        files = sorted(set(places.values()))
        # a plain name: an index must not lead out of its folder
        climbing = [name for name in files if name in ("", ".", "..") or Path(name).name != name]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{index} is no index of shards, which has a 'weight_map' from names to files: "
            f"{type(error).__name__}: {error}."
        ) from error
    if climbing:
        raise ValueError(f"{index} names files outside its folder: {climbing[:5]}.")
    arrays: dict[str, np.ndarray] = {}
    for file in files:
        if not (index.parent / file).is_file():
            raise ValueError(f"{index}: the shard {file} is missing.")
        for name, array in _read_file(index.parent / file).items():
            if places.get(name) != file:
                raise ValueError(f"{index}: {name} is in {file} and not where the index says.")
            arrays[name] = array
    missing = [name for name in places if name not in arrays]
    if missing:
        raise ValueError(f"{index}: {missing[0]} is not in {places[missing[0]]}.")
    return arrays


def _find_state_dict(content: Any, key: str | None, path: Path) -> dict[str, np.ndarray]:
    """The dictionary of arrays in a checkpoint."""
    found = _state_dicts(content)
    listed = ", ".join(f"{name!r} ({len(arrays)} arrays)" for name, arrays in found.items())
    if not found:
        kind = type(content).__name__
        if isinstance(content, dict):
            kind = f"{[str(name)[:60] for name in list(content)[:20]]}"
        raise ValueError(f"{path} holds no dictionary of arrays by name; it holds {kind}.")
    if key is not None:
        if key not in found:
            raise ValueError(f"{path} has no state_dict under {key!r}; there is {listed}.")
        return found[key]
    usual = [name for name in ("", *USUAL_KEYS) if name in found]
    if usual or len(found) == 1:
        return found[usual[0] if usual else next(iter(found))]
    raise ValueError(f"{path} holds several state_dicts: {listed}. Choose one by key=.")


def _state_dicts(content: Any) -> dict[str, dict[str, np.ndarray]]:
    """Dictionaries in which all values are arrays, by their path, each once."""
    found: dict[str, dict[str, np.ndarray]] = {}
    seen, waiting = set(), [("", content)]
    while waiting and len(found) < 100:
        name, inner = waiting.pop(0)
        if not isinstance(inner, dict) or id(inner) in seen or name.count("/") > 3:
            continue
        seen.add(id(inner))
        if inner and all(
            isinstance(key, str) and isinstance(value, np.ndarray) for key, value in inner.items()
        ):
            found[name] = inner
            continue
        for key, value in inner.items():
            if isinstance(value, dict) and isinstance(key, str) and len(key) < 100:
                waiting.append((f"{name}/{key}".lstrip("/"), value))
    return found
