"""Reads what ``torch.save`` wrote, without torch, and runs nothing of it.

Such a file is a zip archive: a pickle, ``data.pkl``, in which every tensor names its storage, and
the bytes of the storages. A pickle is a program, and Python's ``pickle`` would run it. Here a
machine of some thirty instructions reads it that knows tensors, numbers, text and plain containers.
Whatever else a file asks for is refused by name; nothing is imported, looked up or called for it.
Memory is bounded by the size of the file.
"""

import dataclasses
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, np.dtype] = {
    name: np.dtype(name)
    for name in (
        "float64", "float32", "float16", "complex128", "complex64", "bool", "int64", "int32",
        "int16", "int8", "uint64", "uint32", "uint16", "uint8",
    )
} | {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz",
        "float8_e8m0fnu",
    )
}  # fmt: skip
"""PyTorch's dtypes by name."""


STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


ALLOWED = {
    *(f"torch.{name}" for name in (*DTYPES, *STORAGES)),
    "torch.storage.UntypedStorage",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.device",
    "collections.OrderedDict",
    "collections.Counter",
    "_codecs.encode",  # how old pickles spell bytes
}
"""The names that a pickle may ask for. None of them is looked up: they are labels."""


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
}  # fmt: skip


PLAIN_KEYS = (str, int, float, bool, type(None))
"""Keys of dictionaries: the hash of nested tuples could take forever."""


@dataclasses.dataclass(frozen=True)
class Label:
    """A name that the pickle asked for; it does nothing."""

    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """Bytes of an archive; several tensors may be views of them. No dtype: the tensor says it."""

    data: np.ndarray
    dtype: np.dtype | None


def read_pth(path: Path) -> Any:
    """The content of a file of ``torch.save``: tensors are arrays, ordered dictionaries plain ones.

    Args:
        path: a zip archive, as PyTorch writes since 1.6.

    Returns:
        containers, numbers and text as they were saved; arrays are read-only, and those that were
        views of one storage still are.

    Raises:
        ValueError: a damaged or hostile file; the message names file and reason.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path.stat().st_size)
    except Exception as error:  # zipfile and pickletools raise many kinds for a damaged file
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be read: {reason}") from error


def _read(archive: zipfile.ZipFile, num_bytes: int) -> Any:
    records = {info.filename: info for info in archive.infolist()}
    if len(records) < len(archive.infolist()):
        raise ValueError("the archive holds two records of one name.")
    roots = [name.removesuffix("/data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("it is a zip archive without data.pkl, not a file of torch.save.")
    root = roots[0]
    if f"{root}/constants.pkl" in records:
        raise ValueError(
            "it is TorchScript, a program and not weights; in PyTorch, save "
            "torch.jit.load(file).state_dict() instead."
        )
    if sum(info.file_size for info in records.values()) > num_bytes:
        raise ValueError("the records of the archive are larger than the file.")
    for info in records.values():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(f"record {info.filename} is compressed or encrypted, PyTorch's never.")
    order = archive.read(f"{root}/byteorder") if f"{root}/byteorder" in records else b"little"
    if order != b"little":
        raise ValueError(f"its byte order is {order[:20]!r}, expected b'little'.")
    storages: dict[str, bytes] = {}

    def load(identity: Any) -> Storage:
        """The storage that a persistent id, ("storage", type, key, device, size), names."""
        match identity:
            case ("storage", Label(name), str(key), _, int(size)):
                pass
            case _:
                raise ValueError("a persistent id names no storage.")
        kind = STORAGES.get(name.removeprefix("torch."))
        if kind is None and name != "torch.storage.UntypedStorage":
            raise ValueError(f"{name} is no storage.")
        dtype = DTYPES[kind] if kind else None
        record = f"{root}/data/{key}"
        if record not in records:
            raise ValueError(f"the storage {record[:200]!r} is not in the archive.")
        if size * (dtype.itemsize if dtype else 1) != records[record].file_size:
            raise ValueError(f"the storage {record!r} has not the size that the pickle says.")
        if key not in storages:
            storages[key] = archive.read(record)  # compares the checksum
        return Storage(np.frombuffer(storages[key], np.uint8), dtype)

    return unpickle(archive.read(f"{root}/data.pkl"), load, num_bytes)


def unpickle(data: bytes, load: Callable[[Any], Storage], num_bytes: int) -> Any:
    """Reads a pickle of tensors and plain containers.

    Args:
        data: the pickle.
        load: gives the storage of a persistent id.
        num_bytes: no array may be larger.

    Returns:
        what the pickle holds.

    Raises:
        ValueError: a name or an instruction that has no business here.
        IndexError, KeyError, TypeError: a damaged pickle.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(data):
        name = opcode.name
        if name in ("PROTO", "FRAME"):
            continue
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in LITERALS:
            stack.append(argument)
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [stack.pop() for _ in range(int(name[-1]))]
            stack.append(tuple(reversed(items)))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            if name == "SETITEM":
                marks.append(len(stack) - 2)
            items = pop_to_mark()
            target = _expect(stack[-1], dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                if not isinstance(key, PLAIN_KEYS):
                    raise ValueError(f"a key of a dictionary is a {type(key).__name__}.")
                target[key] = value
        elif name == "GLOBAL":
            stack.append(_label(str(argument).replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = _expect(stack.pop(), str), _expect(stack.pop(), str)
            stack.append(_label(f"{module}.{attribute}"))
        elif name == "BINPERSID":
            stack.append(load(stack.pop()))
        elif name == "REDUCE":
            arguments, function = _expect(stack.pop(), tuple), _expect(stack.pop(), Label)
            stack.append(_call(function.name, arguments, num_bytes))
        elif name == "BUILD":
            stack.pop()  # attributes of an ordered dictionary: a state_dict's versions
            _expect(stack[-1], dict)
        elif name == "STOP":
            return stack.pop()
        else:
            raise ValueError(f"refused: its pickle has the instruction {name}; nothing was run.")
    raise ValueError("its pickle has no end.")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle has a {type(value).__name__} in place of a {kind.__name__}.")
    return value


def _label(name: str) -> Label:
    if name in ALLOWED:
        return Label(name)
    raise ValueError(
        f"refused: its pickle asks for {name[:200]!r}, which is no part of a tensor or of a plain "
        "container; nothing was run. If you trust the file, save its weights alone in PyTorch: "
        "torch.save(model.state_dict(), file)."
    )


def _call(name: str, arguments: tuple, num_bytes: int) -> Any:
    """What PyTorch would build by calling the function of that name."""
    match name, arguments:
        case "torch._utils._rebuild_tensor_v3", (
            Storage(data, _), int(offset), tuple(size), tuple(stride), _, _, Label(dtype), *rest,
        ):  # fmt: skip
            _check_plain(rest)
            storage = Storage(data, DTYPES[dtype.removeprefix("torch.")])
            return _view(storage, offset, size, stride, num_bytes)
        case ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2"), (
            Storage() as storage, int(offset), tuple(size), tuple(stride), *rest,
        ):  # fmt: skip
            _check_plain(rest[2:])
            return _view(storage, offset, size, stride, num_bytes)
        case "torch._utils._rebuild_parameter", (np.ndarray() as array, *_):
            return array
        case (("collections.OrderedDict" | "collections.Counter"), ()):
            return {}
        case "collections.Counter", (dict(counts),):
            return counts
        case ("torch.Size", (tuple(value),)) | ("torch.device", (str(value), *_)):
            return value
        case "_codecs.encode", (str(value), "latin1"):
            return value  # text in place of bytes
    raise ValueError(f"refused: its pickle calls {name} with unknown arguments; nothing was run.")


def _check_plain(metadata: list) -> None:
    if any(metadata):
        raise ValueError("a tensor is a lazy conjugate or negative; save x.resolve_conj().")


def _view(storage: Storage, offset: int, size: tuple, stride: tuple, num_bytes: int) -> np.ndarray:
    """A view of a storage, like ``torch.as_strided``: all in units of elements."""
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError("a tensor's size, strides and offset must be numbers, not negative.")
    if storage.dtype is None:
        raise ValueError("a tensor has no dtype.")
    if 0 in size:
        return np.broadcast_to(np.zeros((), storage.dtype), size)  # read-only as the others
    last, count = offset, 1
    for length, step in zip(size, stride, strict=True):
        last += (length - 1) * step
        count *= length
    itemsize = storage.dtype.itemsize
    if (last + 1) * itemsize > storage.data.size:
        raise ValueError(
            f"a tensor reaches to element {last} of a storage of {storage.data.size // itemsize}."
        )
    if count * itemsize > num_bytes:
        raise ValueError(
            f"a tensor repeats few numbers {count} times, more than the file is long; save "
            "x.contiguous()."
        )
    return np.ndarray(
        size, storage.dtype, storage.data, offset * itemsize, [step * itemsize for step in stride]
    )
