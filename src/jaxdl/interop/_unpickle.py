"""Pickles of ``torch.save`` as data: nothing is imported, looked up or called for them.

A pickle is a program, and Python's ``pickle`` would run it. Here a machine of some forty
instructions reads it that has tensors, numbers, text and plain containers, and refuses anything
else by name. Memory and time are bounded by the size of the file.
"""

import dataclasses
import pickletools
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeVar

import ml_dtypes
import numpy as np

Kind = TypeVar("Kind")

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
"""PyTorch's dtypes by name, as far as NumPy has them."""


OTHER_DTYPES = (
    "complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4", "float4_e2m1fn_x2", "bits8",
    "bits16", "bits1x8", "bits2x4", "bits4x2",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
)  # fmt: skip
"""The others. Their tensors are :class:`Unsupported`."""


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
    # of quantized tensors
    "QInt8Storage": "int8",
    "QInt32Storage": "int32",
    "QUInt8Storage": "uint8",
    "QUInt4x2Storage": "uint8",
    "QUInt2x4Storage": "uint8",
}


UNSUPPORTED = {
    "_rebuild_sparse_tensor": "is a sparse tensor; save x.to_dense()",
    "_rebuild_qtensor": "is a quantized tensor; save x.dequantize()",
    "_rebuild_nested_tensor": "is a nested tensor; save x.to_padded_tensor(0.0)",
    "_rebuild_meta_tensor_no_storage": "is on the meta device, without numbers",
    "_rebuild_wrapper_subclass": "is a tensor subclass; save a plain tensor",
    "_rebuild_device_tensor_from_numpy": "was on another device; save x.cpu()",
    "_rebuild_device_tensor_from_cpu_tensor": "was on another device; save x.cpu()",
}
"""Functions of ``torch._utils`` whose tensors NumPy cannot hold, with the reason."""


ALLOWED = {
    *(f"torch.{name}" for name in (*DTYPES, *OTHER_DTYPES, *STORAGES)),
    *(f"torch.cuda.{name}" for name in STORAGES),
    *(f"torch._utils.{name}" for name in UNSUPPORTED),
    *(
        f"torch.per_{name}"
        for name in (
            "tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric",
            "channel_affine_float_qparams",
        )
    ),
    "torch.storage.UntypedStorage",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._tensor._rebuild_from_type_v2",
    "torch.Tensor",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    "torch.Size",
    "torch.device",
    "collections.OrderedDict",
    "collections.Counter",
    "_codecs.encode",  # how old pickles spell bytes
    "builtins.bytearray",
    "builtins.complex",
    "builtins.set",
}  # fmt: skip
"""The names that a pickle may ask for. None of them is looked up: they are labels."""


CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8",
    "BYTEARRAY8",
}  # fmt: skip


PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


MAX_KEY_LENGTH = 16
"""Entries of a tuple that is a key: hashing longer or nested ones again and again takes forever."""


@dataclasses.dataclass(frozen=True)
class Label:
    """A name referenced by the pickle, without behavior."""

    name: str


@dataclasses.dataclass(frozen=True)
class Storage:
    """Bytes of a file; several tensors may be views of them.

    Attributes:
        data: uint8.
        dtype: of the tensors; None if each tensor has its own.
    """

    data: np.ndarray
    dtype: np.dtype | None


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """A tensor that NumPy cannot hold; its name and ``reason`` make a sentence."""

    reason: str


def storage_dtype(name: str) -> np.dtype | None:
    """The dtype of a class of storages, or None for bytes without a dtype.

    Raises:
        ValueError: another name.
    """
    if name == "torch.storage.UntypedStorage":
        return None
    kind = name.rpartition(".")[2]
    if kind not in STORAGES:
        raise ValueError(f"{name} is not a storage.")
    return DTYPES[STORAGES[kind]]


def unpickle(
    program: bytes | BinaryIO, load: Callable[[object], Storage], num_bytes: int
) -> object:
    """Reads one pickle of tensors and plain containers.

    Args:
        program: the pickle, or a file at its beginning.
        load: gives the storage of a persistent id.
        num_bytes: size of the file; no array may be larger.

    Returns:
        what the pickle holds: arrays, read-only; :class:`Unsupported` tensors; ordered dictionaries
        as plain ones; numbers, text and containers.

    Raises:
        ValueError: a name or an instruction that weights do not need.
        IndexError, KeyError, TypeError: a damaged pickle.
    """
    machine = _Machine(load, num_bytes)
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name == "STOP":
            return machine.stack.pop()
        if not any(
            step(name, argument) for step in (machine.push, machine.remember, machine.build)
        ):
            raise ValueError(f"refused: its pickle has the instruction {name}; nothing was run.")
    raise ValueError("its pickle has no end.")


class _Machine:
    """Stack, marks and memo of a pickle. Each method returns False for others' instructions."""

    def __init__(self, load: Callable[[object], Storage], num_bytes: int):
        self.load, self.num_bytes = load, num_bytes
        self.num_spare_bytes = 8 * num_bytes
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[object, object] = {}

    def push(self, name: str, argument: object) -> bool:
        """Constants, numbers, text, marks and empty containers."""
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in LITERALS:
            if isinstance(argument, int) and argument.bit_length() > 2048:
                raise ValueError("its pickle has an integer of more than 2048 bits.")
            self.stack.append(argument)
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "EMPTY_DICT":
            self.stack.append({})
        elif name == "EMPTY_LIST":
            self.stack.append([])
        elif name == "EMPTY_TUPLE":
            self.stack.append(())
        elif name == "EMPTY_SET":
            self.stack.append(set())
        elif name not in ("PROTO", "FRAME"):
            return False
        return True

    def remember(self, name: str, argument: object) -> bool:
        """The memo, and the names and storages that the pickle refers to."""
        if name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(_label(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute, module = self._pop(str), self._pop(str)
            self.stack.append(_label(module, attribute))
        elif name == "BINPERSID":
            self.stack.append(self.load(self.stack.pop()))
        else:
            return False
        return True

    def build(self, name: str, argument: object) -> bool:
        """Containers and calls."""
        if name == "TUPLE":
            self.stack.append(tuple(self._pop_to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [self.stack.pop() for _ in range(int(name[-1]))]
            self.stack.append(tuple(reversed(items)))
        elif name in ("APPEND", "APPENDS"):
            items = [self.stack.pop()] if name == "APPEND" else self._pop_to_mark()
            _expect(self.stack[-1], list).extend(items)
        elif name == "ADDITEMS":
            items = self._pop_to_mark()
            _expect(self.stack[-1], set).update(map(_key, items))
        elif name in ("SETITEM", "SETITEMS"):
            if name == "SETITEM":
                self.marks.append(len(self.stack) - 2)
            items = self._pop_to_mark()
            target = _expect(self.stack[-1], dict)
            for key, value in zip(items[::2], items[1::2], strict=True):
                target[_key(key)] = value
        elif name == "REDUCE":
            arguments, function = self._pop(tuple), self._pop(Label)
            self.stack.append(self._call(function.name, arguments))
        elif name == "BUILD":
            self.stack.pop()  # attributes of an ordered dictionary: a state_dict's versions
            _expect(self.stack[-1], dict)
        else:
            return False
        return True

    def _pop(self, kind: type[Kind]) -> Kind:
        return _expect(self.stack.pop(), kind)

    def _pop_to_mark(self) -> list[object]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _call(self, name: str, arguments: tuple[object, ...]) -> object:
        """Builds the value that the named function of PyTorch would return."""
        module, _, function = name.rpartition(".")
        if module == "torch._utils":
            return self._rebuild(function, arguments)
        match name, arguments:
            case "torch._tensor._rebuild_from_type_v2", (
                Label(inner), Label("torch.Tensor" | "torch.nn.parameter.Parameter"),
                tuple(inner_arguments), _,
            ) if inner.startswith("torch._utils."):  # fmt: skip
                return self._rebuild(inner.rpartition(".")[2], inner_arguments)
            case (("collections.OrderedDict" | "collections.Counter"), ()):
                return {}
            case "collections.Counter", (dict(counts),):
                return counts
            case ("torch.Size", (tuple(value),)) | ("torch.device", (str(value), *_)):
                return value
            case "torch.serialization._get_layout", (str(value),):
                return value
            case "builtins.complex", (float(real), float(imaginary)):
                return complex(real, imaginary)
            case "builtins.set", (list(items),):
                self._spend(64 * len(items))
                return set(map(_key, items))
            case "_codecs.encode", (str(text), "latin1"):
                self._spend(len(text))
                return text.encode("latin1")
            case "builtins.bytearray", (bytes(value),):
                self._spend(len(value))
                return bytearray(value)
            case "builtins.bytearray", ():
                return bytearray()
        raise _unknown(name)

    def _rebuild(self, function: str, arguments: tuple[object, ...]) -> object:
        """Rebuilds a tensor as an array."""
        if function in UNSUPPORTED:
            return Unsupported(UNSUPPORTED[function])
        match function, arguments:
            case "_rebuild_tensor_v3", (
                Storage(data, _), offset, tuple(size), tuple(stride), _, _, Label(dtype), *rest,
            ):  # fmt: skip
                kind = dtype.removeprefix("torch.")
                if kind not in DTYPES:
                    return Unsupported(f"has the dtype {kind}, which NumPy does not have")
                storage = Storage(data, DTYPES[kind])
                return _view(storage, offset, size, stride, rest, self.num_bytes)
            case ("_rebuild_tensor" | "_rebuild_tensor_v2"), (
                Storage() as storage, offset, tuple(size), tuple(stride), *rest,
            ):  # fmt: skip
                return _view(storage, offset, size, stride, rest[2:], self.num_bytes)
            case ("_rebuild_parameter" | "_rebuild_parameter_with_state"), (
                (np.ndarray() | Unsupported()) as array, *_,
            ):  # fmt: skip
                return array
        raise _unknown(f"torch._utils.{function}")

    def _spend(self, num_bytes: int) -> None:
        """Limits the number of copies, which a short pickle could make large."""
        self.num_spare_bytes -= num_bytes
        if self.num_spare_bytes < 0:
            raise ValueError("its pickle copies its contents too often.")


def _expect(value: object, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        raise ValueError(f"its pickle has a {type(value).__name__} in place of a {kind.__name__}.")
    return value


def _key(value: object) -> object:
    """Checks that a dictionary key or set element is cheap to hash and compare."""
    parts = value if isinstance(value, tuple) and len(value) <= MAX_KEY_LENGTH else (value,)
    for part in parts:
        if not isinstance(part, PLAIN_KEYS):
            raise ValueError(f"a key of a dictionary is a {type(part).__name__}.")
        if isinstance(part, int) and part.bit_length() > 64:
            raise ValueError("a key of a dictionary is an integer of more than 64 bits.")
    return value


def _label(module: str, attribute: str = "") -> Label:
    name = f"{module.replace('__builtin__', 'builtins')}.{attribute}"
    if name in ALLOWED:
        return Label(name)
    raise ValueError(
        f"refused: its pickle asks for {name[:200]!r}, which is not part of a tensor or of a plain "
        "container; nothing was run. If you trust the file, save its weights alone in PyTorch: "
        "torch.save(model.state_dict(), file)."
    )


def _unknown(name: str) -> ValueError:
    return ValueError(
        f"refused: its pickle calls {name!r} with unknown arguments; nothing was run."
    )


def _view(
    storage: Storage,
    offset: object,
    size: tuple[object, ...],
    stride: tuple[object, ...],
    metadata: Sequence[object],
    num_bytes: int,
) -> np.ndarray | Unsupported:
    """Creates a view of a storage as ``torch.as_strided`` does, in units of elements."""
    sizes = [n for n in size if type(n) is int and n >= 0]
    steps = [n for n in stride if type(n) is int and n >= 0]
    whole = len(sizes) == len(size) == len(steps) == len(stride)
    if not whole or type(offset) is not int or offset < 0:
        raise ValueError("a tensor's size, strides and offset must be numbers, not negative.")
    if storage.dtype is None:
        raise ValueError("a tensor has no dtype.")
    if any(metadata):
        return Unsupported("is a lazy conjugate or negative; save x.resolve_conj().resolve_neg()")
    if 0 in sizes:
        return np.broadcast_to(np.zeros((), storage.dtype), sizes)  # read-only as the others
    last, count, itemsize = offset, 1, storage.dtype.itemsize
    for length, step in zip(sizes, steps, strict=True):
        last += (length - 1) * step
        count *= length
    if (last + 1) * itemsize > storage.data.size:
        raise ValueError(
            f"a tensor reaches to element {last} of a storage of {storage.data.size // itemsize}."
        )
    if count * itemsize > num_bytes:
        return Unsupported(
            f"repeats few numbers {count} times, more than the file is long; save x.contiguous()"
        )
    strides = [step * itemsize for step in steps]
    view = np.ndarray(sizes, storage.dtype, storage.data, offset * itemsize, strides)
    view.flags.writeable = False
    return view
