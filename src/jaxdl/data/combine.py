"""Sources made of others or of foreign objects: subsets, mapped and joined sources, streams."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.data.source import (
    ArraySource,
    BaseSource,
    Example,
    Gather,
    Indices,
    Source,
    Spec,
    as_example,
    check_index,
    check_indices,
    describe_spec,
    examples_of,
    spec_of,
)
from jaxdl.types import Array


class _Subset(BaseSource):
    _is_stored = True

    def __init__(self, source: Source, indices: np.ndarray) -> None:
        self.source, self.indices, self.class_names = source, indices, source.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[check_index(index, len(self))])]

    def __getitems__(self, indices: Indices) -> Example:
        return self.source.__getitems__(self.indices[check_indices(indices, len(self))])

    def examples(self, indices: Indices) -> list[Example]:
        return examples_of(self.source, self.indices[check_indices(indices, len(self))])

    @property
    def spec(self) -> Spec:
        return self.source.spec

    def resident(self) -> tuple[dict[str, np.ndarray], Gather] | None:
        form = compact_form(self.source)
        if form is None:
            return None
        arrays, gather = form
        return {**arrays, _INDEX: self.indices.astype(np.int32)}, _Indirect(gather)


_INDEX = "subset index"


@dataclasses.dataclass(frozen=True)
class _Indirect:
    gather: Gather

    def __call__(self, arrays: Mapping[str, Array], indices: Array) -> dict[str, Array]:
        """Reads the batch of indices (B,) of the subset."""
        return self.gather(arrays, jnp.asarray(arrays[_INDEX])[indices])


def subset(source: Source, indices: Indices) -> Source:
    """Some examples of a source, in the order of the indices, which may repeat.

    Raises:
        IndexError: an index out of range.

    Source: ``torch.utils.data.Subset``.

    >>> subset(ArraySource({"label": np.arange(5)}), [4, 0]).__getitems__([0, 1])
    {'label': array([4, 0])}
    """
    checked = check_indices(indices, len(source))
    if isinstance(source, _Subset):
        return _Subset(source.source, source.indices[checked])
    return _Subset(source, checked)


class _Mapped(BaseSource):
    def __init__(
        self, source: Source, function: Callable[[Example], Mapping[str, ArrayLike]]
    ) -> None:
        self.source, self.function, self.class_names = source, function, source.class_names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        return as_example(self.function(self.source[index]))

    def examples(self, indices: Indices) -> list[Example]:
        return [as_example(self.function(one)) for one in examples_of(self.source, indices)]


def map_source(source: Source, function: Callable[[Example], Mapping[str, ArrayLike]]) -> Source:
    """A source whose examples are ``function(example)``, computed when they are read.

    Args:
        source: any source.
        function: example → example, on the host; for worker processes it must be picklable (a
            function of a module, or ``functools.partial`` of one). Augmentation on the device
            belongs in the step.

    Source: the ``transform`` argument of PyTorch's data sets.

    >>> doubled = map_source(ArraySource({"x": np.arange(3)}), lambda one: {"x": 2 * one["x"]})
    >>> doubled.__getitems__([1, 2])
    {'x': array([2, 4])}
    """
    return _Mapped(source, function)


class _Concatenated(BaseSource):
    _is_stored = True

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self.ends = np.cumsum([len(source) for source in sources])
        self.class_names = sources[0].class_names

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, index: int) -> Example:
        place = check_index(index, len(self))
        part = int(np.searchsorted(self.ends, place, side="right"))
        return self.sources[part][place - int(self.ends[part]) + len(self.sources[part])]

    def examples(self, indices: Indices) -> list[Example]:
        places = check_indices(indices, len(self))
        parts = np.searchsorted(self.ends, places, side="right")
        found: list[Example] = [{}] * len(places)
        for part in np.unique(parts):
            source, here = self.sources[part], np.flatnonzero(parts == part)
            inside = places[here] - self.ends[part] + len(source)
            for position, example in zip(here, examples_of(source, inside), strict=True):
                found[position] = example
        return found

    @property
    def spec(self) -> Spec:
        return self.sources[0].spec


def concatenate(*sources: Source) -> Source:
    """Sources one after the other.

    Raises:
        ValueError: no sources, or sources that differ in names, shapes, dtypes or class names.

    Source: ``torch.utils.data.ConcatDataset``.

    >>> two = concatenate(ArraySource({"x": np.arange(2)}), ArraySource({"x": np.arange(5, 7)}))
    >>> two.__getitems__([2, 0])
    {'x': array([5, 0])}
    """
    if not sources:
        raise ValueError("concatenate needs at least one source.")
    for number, source in enumerate(sources):
        for field in ("spec", "class_names"):
            first, other = getattr(sources[0], field), getattr(source, field)
            if first != other:
                raise ValueError(
                    f"source {number} has the {field} {other}, source 0 has {first}; concatenated "
                    "sources must agree. map_source can convert one."
                )
    return _Concatenated(sources)


class _Foreign(BaseSource):
    def __init__(
        self, data: Any, names: Sequence[str] | None, class_names: Sequence[str] | None
    ) -> None:
        self.data, self.names = data, names
        self.class_names = None if class_names is None else tuple(class_names)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Example:
        return as_example(self.data[check_index(index, len(self))], self.names)

    def examples(self, indices: Indices) -> list[Example]:
        fetch = getattr(self.data, "__getitems__", None)
        numbers = [int(index) for index in check_indices(indices, len(self))]
        elements = fetch(numbers) if fetch else [self.data[number] for number in numbers]
        return [as_example(element, self.names) for element in elements]


def from_grain(
    data_source: Any,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Source:
    """A source of any object with a length and elements by index.

    E.g. a Grain data source or ``MapDataset``, a TFDS data source, a Hugging Face data set, a list,
    a dictionary with the keys 0 to N − 1, or a PyTorch ``Dataset`` of NumPy arrays.

    Args:
        data_source: the object; its ``__getitems__(indices)``, if it has one, must return a list of
            elements.
        names: of the parts of an element that is not a mapping: ``("image", "label")``.
        class_names: a name for every label.

    >>> from_grain([(0.5, 1), (0.25, 0)], names=("input", "label"))[1]
    {'input': array(0.25, dtype=float32), 'label': array(0, dtype=int32)}
    """
    if isinstance(data_source, BaseSource):
        return data_source
    return _Foreign(data_source, names, class_names)


Elements = Iterable[object] | Callable[[], Iterable[object]]
"""An iterable, or a function that returns one."""


class IterableSource:
    """Examples in their own order, of unknown number: no length, no index.

    Attributes:
        class_names: a name for every label, or None.
    """

    def __init__(
        self, elements: Elements, names: Sequence[str] | None, class_names: Sequence[str] | None
    ) -> None:
        self.elements, self.names = elements, names
        self.class_names = None if class_names is None else tuple(class_names)
        self._spec: Spec | None = None
        self._begun: list[object] = []  # elements taken from an iterator for the spec
        self._used = False

    def __iter__(self) -> Iterator[Example]:
        if isinstance(self.elements, Iterator):
            if self._used:
                raise ValueError(
                    "the iterator is exhausted; pass a function that returns a new one, or a list, "
                    "to read it more than once."
                )
            self._used = True
            begun, self._begun = self._begun, []
            yield from (as_example(element, self.names) for element in begun)
            yield from (as_example(element, self.names) for element in self.elements)
            return
        elements = self.elements() if callable(self.elements) else self.elements
        for element in elements:
            yield as_example(element, self.names)

    @property
    def spec(self) -> Spec:
        """Shape and dtype of the first element's arrays."""
        if self._spec is None:
            if isinstance(self.elements, Iterator):
                self._begun = list(itertools.islice(self.elements, 1))
                first = [as_example(element, self.names) for element in self._begun]
            else:
                first = list(itertools.islice(self, 1))
            if not first:
                raise ValueError("the iterable is empty: it has no first element.")
            self._spec = spec_of(first[0])
        return self._spec

    def __repr__(self) -> str:
        return f"IterableSource: {describe_spec(self)}"


def from_iterable(
    elements: Elements,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> IterableSource:
    """A stream of examples from any Python iterable.

    Args:
        elements: a function that returns a new iterator for every epoch, an iterable that can be
            read again, or an iterator, which serves for one epoch.
        names: of the parts of an element that is not a mapping.
        class_names: a name for every label.

    Source: ``torch.utils.data.IterableDataset``.

    >>> counted = from_iterable(lambda: range(1, 100), names=["number"])
    >>> counted.spec["number"].shape, len(list(counted))
    ((), 99)
    """
    return IterableSource(elements, names, class_names)


def size_in_bytes(source: Source) -> int:
    """Memory of a source as arrays: its length times the size of an example.

    >>> size_in_bytes(ArraySource({"x": np.zeros((10, 3), np.float32)}))
    120
    """
    sizes = (math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in source.spec.values())
    return len(source) * sum(sizes)


def is_stored(source: object) -> bool:
    """Returns True if a source, and those that it is made of, give the same data every time.

    A class of this library says so itself; a subclass may do anything.

    >>> is_stored(subset(ArraySource({"x": np.zeros(3)}), [0, 2]))
    True
    >>> is_stored(map_source(ArraySource({"x": np.zeros(3)}), dict))
    False
    """
    if isinstance(source, ArraySource):
        return True
    inner = getattr(source, "sources", (getattr(source, "source", None),))
    return vars(type(source)).get("_is_stored", False) and all(
        one is None or is_stored(one) for one in inner
    )


def compact_form(source: object) -> tuple[dict[str, np.ndarray], Gather] | None:
    """A source's ``resident()``: arrays, and the function that cuts batches from them on a device.

    A source whose examples overlap, such as :class:`~jaxdl.data.sources.Windows`, has such a
    method, and so do its subsets; None for all others, whose rows are gathered.

    >>> compact_form(ArraySource({"x": np.arange(3)})) is None
    True
    """
    resident = getattr(source, "resident", None)
    return None if resident is None else resident()


def source_to_arrays(
    source: Source, *, max_bytes: int = 4 * 2**30, block: int = 256
) -> dict[str, np.ndarray]:
    """Reads a whole source into arrays (N, ...), with a progress bar if it takes long.

    Args:
        source: examples of one shape.
        max_bytes: limit of their memory.
        block: number of examples read at a time.

    Raises:
        ValueError: the arrays exceed ``max_bytes``; examples of different shapes; no examples.

    >>> source_to_arrays(subset(ArraySource({"x": np.arange(5)}), [4, 2]))
    {'x': array([4, 2])}
    """
    if isinstance(source, ArraySource):
        return dict(source.arrays)
    if len(source) == 0:
        raise ValueError("the source has no examples.")
    if size_in_bytes(source) > max_bytes:
        raise ValueError(
            f"the source takes {size_in_bytes(source):,} bytes as arrays, more than max_bytes "
            f"{max_bytes:,}. Stream it with a loader, or pass a greater max_bytes."
        )
    from tqdm import tqdm

    arrays = {n: np.empty((len(source), *s.shape), s.dtype) for n, s in source.spec.items()}
    for start in tqdm(range(0, len(source), block), desc="reading", leave=False, delay=2):
        rows = np.arange(start, min(start + block, len(source)))
        batch = source.__getitems__(rows)
        for name, array in arrays.items():
            if batch[name].shape[1:] != array.shape[1:]:
                raise ValueError(
                    f"{name!r} has shape {batch[name].shape[1:]} in examples {rows[0]} to "
                    f"{rows[-1]} and {array.shape[1:]} in example 0; resize or pad with map_source."
                )
            array[rows] = batch[name]
    return arrays


def labels_of(source: Source, name: str = "label") -> np.ndarray:
    """One array of every example, such as the labels, without decoding images if possible.

    Args:
        source: every example is read if it has neither arrays nor a ``labels`` attribute.
        name: of the array.

    Returns:
        (N, ...), in the order of the source.

    Raises:
        ValueError: no such array.

    >>> labels_of(subset(ArraySource({"label": np.arange(5)}), [4, 0]))
    array([4, 0])
    """
    if isinstance(source, _Subset):
        return labels_of(source.source, name)[source.indices]
    if isinstance(source, _Concatenated):
        return np.concatenate([labels_of(part, name) for part in source.sources])
    if name not in source.spec:
        raise ValueError(f"the source has no {name!r}; it has {', '.join(map(repr, source.spec))}.")
    if isinstance(source, ArraySource):
        return np.asarray(source.arrays[name])
    labels = getattr(source, "labels", None)
    if name == "label" and labels is not None:
        return np.asarray(labels)
    from tqdm import tqdm

    blocks = [np.arange(i, min(i + 256, len(source))) for i in range(0, len(source), 256)]
    return np.stack(
        [
            example[name]
            for rows in tqdm(blocks, desc=f"reading every {name}", leave=False, delay=2)
            for example in examples_of(source, rows)
        ]
    )
