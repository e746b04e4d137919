"""array_record files as sources: records of bytes by number, as Grain and TFDS write them.

:func:`write_array_record` and :class:`ArrayRecordSource` store an example as MessagePack, by
``flax.serialization``. Sets that TFDS has prepared have an encoding of their own:
:func:`jaxdl.data.sources.tfds_source` reads them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl._files import replacing
from jaxdl.data.source import Example, FileSource, Source, as_example, check_indices


def decode_msgpack(record: bytes) -> Mapping[str, Any]:
    """A record of :func:`write_array_record` as an example."""
    from flax import serialization

    return serialization.msgpack_restore(record)


class ArrayRecordSource(FileSource):
    """The records of array_record files, decoded when they are asked for.

    Args:
        paths: a file or several, one after the other.
        decode: a record's bytes → example; picklable, for workers.
        class_names: a name for every label.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no array_record file. When read: a record that cannot be decoded.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        decode: Callable[[bytes], Mapping[str, Any]] = decode_msgpack,
        class_names: Sequence[str] | None = None,
    ) -> None:
        listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self.paths = [os.fspath(Path(path).expanduser().absolute()) for path in listed]
        for path in self.paths:
            if not os.path.isfile(path):
                raise FileNotFoundError(f"there is no file {path!r}; expected array_record.")
        self.decode = decode
        self.class_names = None if class_names is None else tuple(class_names)
        self._length = len(self._opened())

    def _open(self) -> Any:
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        try:
            reader = ArrayRecordDataSource(self.paths)
            len(reader)
        except Exception as error:  # of C++, with no class of its own
            raise ValueError(
                f"{', '.join(self.paths)} cannot be read as array_record: {error}"
            ) from error
        return reader

    def __len__(self) -> int:
        return self._length

    def examples(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
        rows = [int(row) for row in check_indices(indices, len(self))]
        found = []
        for row, record in zip(rows, self._opened().__getitems__(rows), strict=True):
            try:
                found.append(as_example(self.decode(record)))
            except Exception as error:
                raise ValueError(
                    f"record {row} of {', '.join(self.paths)} cannot be decoded by "
                    f"{getattr(self.decode, '__name__', self.decode)}: {error}. A set that TFDS "
                    "has prepared is read with tfds_source; other encodings need decode=."
                ) from error
        return found


def write_array_record(source: Source, path: str | os.PathLike[str]) -> Path:
    """Writes a source as one array_record file, with a progress bar.

    Args:
        source: examples of any shapes, also different ones.
        path: the file to write; it appears when it is whole.

    Returns:
        the path.
    """
    from array_record.python import array_record_module
    from flax import serialization
    from tqdm import tqdm

    path = Path(path).expanduser()
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
