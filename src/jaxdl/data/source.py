"""Sources: examples by index.

A :class:`Source` is PyTorch's map-style ``Dataset`` with two additions: the form of an example is
known before one is read (``spec``), and several examples are read in one call
(``__getitems__``). A subclass of :class:`BaseSource` has both from two methods::

    class Waves(data.BaseSource):
        class_names = ("sine", "square")

        def __init__(self, number, length=64):
            self.number, self.length = number, length

        def __len__(self):
            return self.number

        def __getitem__(self, index):
            index = check_index(index, len(self))  # IndexError ends a loop over the source
            wave = np.sin(np.arange(self.length, dtype=np.float32) * (1 + index % 7))
            label = np.int32(index % 2)
            return {"input": np.sign(wave) if label else wave, "label": label}

    train.run(step, state, data.Loader(Waves(1000), batch_size=32, shuffle=True), ...)

A source that reads files opens them at the first example, once per process
(:class:`FileSource`), so that it can be pickled for a worker. A new file format is one file in
:mod:`jaxdl.data.sources` and one line in :func:`jaxdl.data.open`'s table of suffixes.
"""

import mmap
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxdl._checks import check_data
from jaxdl.types import Array

Example = dict[str, np.ndarray]
"""One example: arrays by name, without a batch axis; ``"image"`` (H, W, C), ``"label"`` (), …"""


Indices = Sequence[int] | np.ndarray
"""Indices (B,) of examples."""


Spec = dict[str, jax.ShapeDtypeStruct]
"""Shape and dtype of every array of an example."""


Gather = Callable[[Mapping[str, Array], Array], dict[str, Array]]
"""``(arrays, indices (B,)) -> batch``: a pure and hashable function that runs on the device."""


@runtime_checkable
class Source(Protocol):
    """Examples by index, from 0 to the length.

    An index out of range raises IndexError, so that ``for example in source`` ends; a negative one
    counts from the end.

    Source: ``torch.utils.data.Dataset``.

    Attributes:
        class_names: a name for every label, in order, or None.
    """

    class_names: tuple[str, ...] | None

    @property
    def spec(self) -> Spec:
        """Shape and dtype of one example's arrays."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example:
        """One example."""

    def __getitems__(self, indices: Indices) -> Example:
        """Several examples, stacked: arrays (B, ...)."""


class BaseSource:
    """Base class of sources; a subclass adds ``__len__`` and ``__getitem__``.

    ``spec`` is that of example 0, read once. The examples of a batch are read one by one and
    stacked.

    >>> class Squares(BaseSource):
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, index):
    ...         return {"input": np.float32(check_index(index, len(self)) ** 2)}
    >>> Squares().__getitems__([3, 1])
    {'input': array([9., 1.], dtype=float32)}
    >>> Squares()
    Squares: 4 examples, input () float32
    """

    class_names: tuple[str, ...] | None = None
    _spec: Spec | None = None
    _is_stored = False  # see jaxdl.data.combine.is_stored

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError

    def __getitems__(self, indices: Indices) -> Example:
        checked = check_indices(indices, len(self))
        return stack_examples(self.examples(checked), checked, self.spec)

    def examples(self, indices: Indices) -> list[Example]:
        """Several examples, not stacked: they may differ in shape."""
        return [self[int(index)] for index in indices]

    @property
    def spec(self) -> Spec:
        if self._spec is None:
            if not len(self):
                raise ValueError(f"{type(self).__name__} is empty: it has no first example.")
            self._spec = spec_of(self[0])
        return self._spec

    def __repr__(self) -> str:
        name = type(self).__name__.lstrip("_")
        return f"{name}: {len(self):,} examples, {describe_spec(self)}{_listed(self.class_names)}"


class FileSource(BaseSource):
    """Base class of sources that keep files open, opened at the first use in each process.

    A handle must not cross a fork and cannot be pickled. A subclass has ``_open()``, whose result
    ``_opened()`` returns, ``__len__`` and ``examples``.
    """

    _handle: Any = None
    _process = 0

    def _open(self) -> Any:
        raise NotImplementedError

    def _opened(self) -> Any:
        if self._handle is None or self._process != os.getpid():
            self._handle, self._process = self._open(), os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_handle": None}

    def __getitem__(self, index: int) -> Example:
        return self.examples([check_index(index, len(self))])[0]


class ArraySource(BaseSource):
    """Arrays in memory or mapped from a file, one example per row.

    Args:
        arrays: (N, ...) by name. A memory-mapped array is opened again in a worker, not sent.
        class_names: a name for every label.

    Raises:
        ValueError: no arrays, or arrays of different lengths.

    Source: ``torch.utils.data.TensorDataset``.

    >>> source = ArraySource({"input": np.arange(6).reshape(3, 2), "label": np.array([0, 1, 0])})
    >>> source[-1]
    {'input': array([4, 5]), 'label': array(0)}
    """

    def __init__(
        self, arrays: Mapping[str, ArrayLike], class_names: Sequence[str] | None = None
    ) -> None:
        self.arrays = {
            name: array if isinstance(array, np.ndarray) else np.asarray(array)
            for name, array in arrays.items()
        }
        lengths = {name: len(array) for name, array in self.arrays.items() if array.ndim}
        if not self.arrays or len(lengths) < len(self.arrays) or len(set(lengths.values())) > 1:
            shapes = {name: array.shape for name, array in self.arrays.items()}
            raise ValueError(
                f"arrays must have a leading example axis of one length, got shapes {shapes}."
            )
        self.class_names = None if class_names is None else tuple(class_names)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> Example:
        row = check_index(index, len(self))
        return {name: np.asarray(array[row, ...]) for name, array in self.arrays.items()}

    def __getitems__(self, indices: Indices) -> Example:
        rows = check_indices(indices, len(self))
        return {
            name: np.asarray(np.take(array, rows, axis=0)) for name, array in self.arrays.items()
        }

    def examples(self, indices: Indices) -> list[Example]:
        return unstack(self.__getitems__(indices))

    @property
    def spec(self) -> Spec:
        return {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in self.arrays.items()}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "arrays": {n: _pack(a) for n, a in self.arrays.items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= {**state, "arrays": {n: _unpack(a) for n, a in state["arrays"].items()}}


_Mapped = tuple[str, np.dtype, int, tuple[int, ...], str]
"""Arguments with which a memory-mapped array is opened again."""


def _pack(array: np.ndarray) -> np.ndarray | _Mapped:
    # Pickle would copy a mapped file into the message. A view of one has no offset to reopen at.
    whole = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap)
    if not whole or not isinstance(array, np.memmap) or array.filename is None:
        return np.asarray(array)
    order = "C" if array.flags.c_contiguous else "F"
    return (os.fspath(array.filename), array.dtype, array.offset, array.shape, order)


def _unpack(packed: np.ndarray | _Mapped) -> np.ndarray:
    if isinstance(packed, np.ndarray):
        return packed
    name, dtype, offset, shape, order = packed
    return np.memmap(name, dtype, "r", offset, shape, "C" if order == "C" else "F")


class Dataset(NamedTuple):
    """Both splits of an image classification set, in memory.

    Attributes:
        name: of the set.
        train: ``"image"`` (N, H, W, C) uint8 and ``"label"`` (N,) int32, class indices from 0.
        test: likewise, with its own N.
        class_names: a name for every label, in order.
    """

    name: str
    train: dict[str, np.ndarray]
    test: dict[str, np.ndarray]
    class_names: tuple[str, ...]

    def __repr__(self) -> str:
        lines = [f"Dataset {self.name}{_listed(self.class_names)}"]
        for split in ("train", "test"):
            source = ArraySource(getattr(self, split))
            lines.append(f"  {split:5}  {len(source):,} examples, {describe_spec(source)}")
        return "\n".join(lines)


def check_dataset(dataset: Dataset) -> Dataset:
    """Returns a data set unchanged if it is what :class:`Dataset` says.

    Raises:
        ValueError: images that are not uint8 (N, H, W, C), labels that are not int32 (N,), splits
            of different image shape, and what :func:`jaxdl._checks.check_data` finds. The message
            names the set and the split.
    """
    for split in ("train", "test"):
        data: dict[str, np.ndarray] = getattr(dataset, split)
        missing = [key for key in ("image", "label") if key not in data]
        if missing:
            raise ValueError(
                f"{dataset.name}, {split} split: expected 'image' and 'label', got "
                f"{', '.join(map(repr, data)) or 'nothing'}."
            )
        try:
            check_data(data, num_classes=len(dataset.class_names))
        except ValueError as error:
            raise ValueError(f"{dataset.name}, {split} split: {error}") from error
        for key, dtype, rank in (("image", np.uint8, 4), ("label", np.int32, 1)):
            if data[key].dtype != dtype or data[key].ndim != rank:
                raise ValueError(
                    f"{dataset.name}, {split} split: {key!r} must be {np.dtype(dtype)} of rank "
                    f"{rank}, got {data[key].dtype} {data[key].shape}."
                )
    sizes = [split["image"].shape[1:] for split in (dataset.train, dataset.test)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"{dataset.name}: the images of both splits must have one shape (H, W, C), got "
            f"{sizes[0]} for training and {sizes[1]} for testing. Are the files of one set?"
        )
    return dataset


def _listed(class_names: Sequence[str] | None, limit: int = 5) -> str:
    if class_names is None:
        return ""
    shown = [*class_names[:limit], *(["…"] if len(class_names) > limit else [])]
    return f"; {len(class_names)} classes: {', '.join(shown)}"


def describe_spec(source: object) -> str:
    """The arrays of a source's examples in one line, such as ``image (8, 8, 1) uint8``."""
    try:
        spec: Spec = getattr(source, "spec", {})
    except Exception as error:  # a repr must not raise
        return f"unreadable ({error})"
    return ", ".join(
        f"{name} ({', '.join(map(str, one.shape))}) "
        f"{'text' if one.dtype == object else np.dtype(one.dtype).name}"
        for name, one in spec.items()
    )


def check_index(index: int, length: int) -> int:
    """An index counted from 0; a negative one counts from the end.

    Raises:
        IndexError: the index is not in [-length, length); it is never clamped.
        TypeError: not an integer.

    >>> check_index(-1, 10)
    9
    """
    number = operator.index(index)
    if not -length <= number < length:
        raise IndexError(f"index {number} is out of range for a source of {length} examples.")
    return number + length if number < 0 else number


def check_indices(indices: Indices | range, length: int) -> np.ndarray:
    """Several indices counted from 0, see :func:`check_index`: (B,) int64 in [0, length).

    Raises:
        IndexError: an index out of range; the message has the first one.
        TypeError: not integers of rank 1 (a mask becomes indices with ``np.flatnonzero``).

    >>> check_indices([0, -1], 10)
    array([0, 9])
    """
    array = np.asarray(indices)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(
            f"indices must be integers of shape (B,), got {array.dtype} {array.shape}. "
            "A mask becomes indices with np.flatnonzero(mask)."
        )
    low, high = array.min(), array.max()
    if low < -length or high >= length:
        first = int(((array < -length) | (array >= length)).argmax())
        raise IndexError(
            f"index {array[first]} (at position {first}) is out of range for a source of "
            f"{length} examples."
        )
    array = array.astype(np.int64, copy=False)
    return array if low >= 0 else np.where(array < 0, array + length, array)


def spec_of(example: Mapping[str, ArrayLike]) -> Spec:
    """Shape and dtype of an example's arrays.

    >>> spec_of({"input": np.zeros((2, 3), np.float32)})["input"].shape
    (2, 3)
    """
    arrays = {name: np.asarray(value) for name, value in example.items()}
    return {name: jax.ShapeDtypeStruct(one.shape, one.dtype) for name, one in arrays.items()}


def as_example(element: object, names: Sequence[str] | None = None) -> Example:
    """An element of another library's data set as an example.

    Args:
        element: a mapping of arrays or numbers; or, with ``names``, one of them or a tuple or list.
        names: of the parts of an element that is not a mapping.

    Returns:
        NumPy arrays by name. Python integers become int32 (int64 beyond its range), floats float32,
        strings arrays of dtype object and shape (); arrays keep their dtype.

    Raises:
        ValueError: the element is not a mapping, and ``names`` is missing or of another length.

    >>> as_example((2.0, 1), ("input", "label"))
    {'input': array(2., dtype=float32), 'label': array(1, dtype=int32)}
    """
    if isinstance(element, Mapping):
        return {str(name): _as_array(value) for name, value in element.items()}
    parts = tuple(element) if isinstance(element, tuple | list) else (element,)
    if names is None:
        raise ValueError(
            "an element must be a mapping of arrays such as {'image': …, 'label': …}, got "
            f"{type(element).__name__}; pass names=('image', 'label') to name its parts."
        )
    if len(parts) != len(names):
        raise ValueError(f"an element has {len(parts)} parts, names has {len(names)}: {names}.")
    return {name: _as_array(part) for name, part in zip(names, parts, strict=True)}


def _as_array(value: ArrayLike) -> np.ndarray:
    if isinstance(value, str | bytes):
        return np.array(value, object)
    if isinstance(value, bool | np.generic | np.ndarray):
        return np.asarray(value)
    if isinstance(value, int):
        return np.asarray(value, np.int32 if -(2**31) <= value < 2**31 else np.int64)
    return np.asarray(value, np.float32 if isinstance(value, float) else None)


def stack_examples(
    examples: Sequence[Mapping[str, ArrayLike]],
    indices: Indices | range | None = None,
    spec: Spec | None = None,
) -> Example:
    """Examples as one batch: arrays (B, ...).

    Args:
        examples: of equal names and shapes.
        indices: their indices, for the message.
        spec: form of the result if there are no examples: arrays (0, ...).

    Raises:
        ValueError: names or shapes differ; the message has the two examples.

    Source: ``torch.utils.data.default_collate``.

    >>> stack_examples([{"label": np.int32(3)}, {"label": np.int32(4)}])
    {'label': array([3, 4], dtype=int32)}
    """
    if not examples:
        return {n: np.zeros((0, *s.shape), s.dtype) for n, s in (spec or {}).items()}
    numbers = range(len(examples)) if indices is None else indices
    names = examples[0].keys()
    for number, example in zip(numbers, examples, strict=True):
        if example.keys() != names:
            raise ValueError(
                f"example {number} has the arrays {sorted(example)}, example {numbers[0]} has "
                f"{sorted(names)}; the examples of a batch must have the same."
            )
        for name in names:
            shape, first = np.shape(example[name]), np.shape(examples[0][name])
            if shape != first:
                raise ValueError(
                    f"{name!r} has shape {shape} in example {number} and {first} in example "
                    f"{numbers[0]}: they cannot be stacked. Resize or pad them with map_source, "
                    "or give the loader a collate_fn that pads."
                )
    return {name: np.stack([np.asarray(one[name]) for one in examples]) for name in names}


def unstack(batch: Mapping[str, np.ndarray]) -> list[Example]:
    """A batch as a list of examples; the reverse of :func:`stack_examples`.

    >>> unstack({"label": np.array([3, 4])})
    [{'label': array(3)}, {'label': array(4)}]
    """
    length = len(next(iter(batch.values()))) if batch else 0
    return [
        {name: np.asarray(array[row, ...]) for name, array in batch.items()}
        for row in range(length)
    ]


def examples_of(source: Source, indices: Indices) -> list[Example]:
    """Several examples, not stacked, fetched together if the source can; for ``collate_fn``."""
    checked = check_indices(indices, len(source))
    fetch = getattr(source, "examples", None)
    return fetch(checked) if fetch else [source[int(index)] for index in checked]
