"""array_record files as sources: records of bytes by number, as Grain and TFDS write them.

:func:`write_array_record` and :class:`ArrayRecordSource` store an example as MessagePack, by
``flax.serialization``. Sets prepared by TFDS have another encoding, which
:func:`jaxdl.data.sources.tfds_source` reads.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from jax.typing import ArrayLike

from jaxdl._extras import require
from jaxdl._files import expand, replacing
from jaxdl.data.source import Example, FileSource, Indices, Source, as_example, check_indices
from jaxdl.data.sources._arrays import tidy_example


class _Reader(Protocol):
    def __len__(self) -> int: ...

    def __getitems__(self, indices: Sequence[int]) -> Sequence[bytes]: ...


def decode_msgpack(record: bytes) -> Mapping[str, ArrayLike]:
    """Decodes a record of :func:`write_array_record`."""
    from flax import serialization

    return serialization.msgpack_restore(record)


class ArrayRecordSource(FileSource):
    """The records of array_record files, decoded when they are read.

    Args:
        path: a file, or several, one after the other.
        decode: a record's bytes → example; picklable, for workers.
        class_names: a name for every label.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an array_record file. When read: a record that cannot be read or decoded;
            the message has file and number.
    """

    _is_stored = True

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        decode: Callable[[bytes], Mapping[str, ArrayLike]] = decode_msgpack,
        class_names: Sequence[str] | None = None,
    ) -> None:
        listed = [path] if isinstance(path, str | os.PathLike) else list(path)
        self.paths = [os.fspath(expand(each).absolute()) for each in listed]
        for each in self.paths:
            if not os.path.isfile(each):
                raise FileNotFoundError(f"file not found: {each} (expected array_record).")
        self.decode = decode
        self.class_names = None if class_names is None else tuple(class_names)
        self._length = len(self._opened())

    def _open(self) -> _Reader:
        require("array_record", "reading array_record files")
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            reader: _Reader = ArrayRecordDataSource(self.paths)
            len(reader)
        except Exception as error:  # of C++, without a class
            raise ValueError(
                f"{', '.join(self.paths)} cannot be read as array_record: {error}"
            ) from error
        return reader

    def __len__(self) -> int:
        return self._length

    def examples(self, indices: Indices) -> list[Example]:
        rows = [int(row) for row in check_indices(indices, len(self))]
        try:
            records = self._opened().__getitems__(rows)
        except Exception:  # find the record that is damaged
            records = [self._record(row) for row in rows]
        return [self._decode(row, record) for row, record in zip(rows, records, strict=True)]

    def _record(self, row: int) -> bytes:
        try:
            (record,) = self._opened().__getitems__([row])
        except Exception as error:
            raise ValueError(
                f"{', '.join(self.paths)}, record {row} cannot be read: {error}."
            ) from error
        return bytes(record)

    def _decode(self, row: int, record: bytes) -> Example:
        place = f"{', '.join(self.paths)}, record {row}"
        try:
            example = as_example(self.decode(record))
        except Exception as error:
            raise ValueError(
                f"{place} cannot be decoded by {getattr(self.decode, '__name__', self.decode)}: "
                f"{error}. A set prepared by TFDS is read with tfds_source; other encodings need "
                "decode=."
            ) from error
        return {name: tidy_example(name, value, place) for name, value in example.items()}


def write_array_record(source: Source, path: str | os.PathLike[str]) -> Path:
    """Writes a source as one array_record file, with a progress bar.

    Args:
        source: examples, which may differ in shape.
        path: of the file; it appears when it is complete.

    Returns:
        the path.

    >>> import tempfile
    >>> from jaxdl.data.source import ArraySource
    >>> examples = {"image": np.zeros((3, 8, 8, 1), np.uint8), "label": np.arange(3)}
    >>> folder = tempfile.mkdtemp()
    >>> path = write_array_record(ArraySource(examples), folder + "/digits.array_record")
    >>> source = ArrayRecordSource(path)
    >>> len(source), int(source[2]["label"])
    (3, 2)
    """
    require("array_record", "writing array_record files")
    from array_record.python import array_record_module
    from flax import serialization
    from tqdm import tqdm

    path = expand(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        writer = array_record_module.ArrayRecordWriter(os.fspath(temporary), "group_size:1")
        try:
            for index in tqdm(range(len(source)), desc=f"writing {path.name}", delay=1):
                example = {
                    name: str(value) if value.dtype == object else np.asarray(value)
                    for name, value in source[index].items()
                }
                writer.write(serialization.msgpack_serialize(example))
        finally:
            writer.close()
    return path
