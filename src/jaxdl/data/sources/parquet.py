"""Parquet files as sources, read by row group; pyarrow comes with the extra ``parquet``."""

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from jaxdl._extras import require
from jaxdl._files import expand
from jaxdl.data.source import (
    Example,
    FileSource,
    Indices,
    check_index,
    check_indices,
    stack_examples,
)
from jaxdl.data.sources._arrays import MAX_BYTES, tidy, tidy_example
from jaxdl.data.sources.decode import MAX_PIXELS, Mode, read_image
from jaxdl.data.sources.listing import entries, shortlist

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

Columns = dict[str, Sequence[object] | np.ndarray]
"""The values of a row group by column."""


_KEPT = 4  # row groups held in memory, per process


_LOCK = threading.Lock()  # a file serves one thread at a time


class ParquetSource(FileSource):
    """Rows of Parquet files, read by row group.

    A row group is read as a whole, and the last four are kept: an order that stays within a group
    is fast, one that jumps among all groups is not. ``row_groups`` has their bounds for a sampler.
    Small files become arrays by ``source_to_arrays``.

    Args:
        path: a file, several, or a folder of ``*.parquet`` files, in the order of their names.
        names: column → name in an example; None takes every column under its own name.
        class_names: a name for every label.
        mode: ``"RGB"``, ``"L"`` (gray) or ``"RGBA"``, to which images are converted; None for gray
            or RGB as each image has.
        max_pixels: limit of an image's height · width, checked before it is decoded.

    Returns:
        numbers as arrays (), lists of numbers as arrays (L,), strings as arrays () of dtype object,
        images as Hugging Face's data sets store them (a struct of ``bytes`` and ``path``) decoded,
        uint8 (H, W, C). An integer column called ``"label"`` becomes int32.

    Raises:
        FileNotFoundError: no such file, or no Parquet file in the folder.
        ValueError: not a Parquet file, files of different columns, or a missing column. When read:
            a missing integer, or an image that cannot be decoded; the message has file and row.
        ImportError: pyarrow is not installed.
    """

    _is_stored = True

    def __init__(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        names: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
        *,
        mode: Mode | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        listed = [path] if isinstance(path, str | os.PathLike) else list(path)
        self.paths = [os.fspath(path) for given in listed for path in _files(Path(given))]
        self.mode, self.max_pixels = mode, max_pixels
        columns: list[str] | None = None
        starts, places = [0], []
        self._starts: list[int] = []  # of the files, in rows
        for number, file_path in enumerate(self.paths):
            file = self._file(number)
            found = list(file.schema_arrow.names)
            if columns is not None and found != columns:
                raise ValueError(f"{file_path} has the columns {found}, {self.paths[0]} {columns}.")
            columns = found
            self._starts.append(starts[-1])
            for group in range(file.num_row_groups):
                starts.append(starts[-1] + _num_rows(file_path, file, group))
                places.append((number, group))
        self.names = {name: name for name in columns or []} if names is None else dict(names)
        missing = [name for name in self.names if name not in (columns or [])]
        if missing or not self.names:
            raise ValueError(
                f"{self.paths[0]} has no column {shortlist(map(repr, missing)) or 'at all'}; it "
                f"has {shortlist(columns or []) or 'none'}."
            )
        self.row_groups = np.array(starts)
        """(G + 1,) int64: row group g holds the examples from ``row_groups[g]`` to the next."""
        self._places = places
        self.class_names = None if class_names is None else tuple(class_names)

    def _open(self) -> "tuple[dict[int, pyarrow.parquet.ParquetFile], dict[int, Columns]]":
        """The open files and the row groups in memory, by number."""
        return {}, {}

    def _file(self, number: int) -> "pyarrow.parquet.ParquetFile":
        files, _ = self._opened()
        if number not in files:
            parquet = import_parquet()
            try:
                files[number] = parquet.ParquetFile(self.paths[number])
            except Exception as error:  # pyarrow has its own
                raise ValueError(
                    f"{self.paths[number]} cannot be read as Parquet: {error}"
                ) from error
        return files[number]

    def __len__(self) -> int:
        return int(self.row_groups[-1])

    def __getitem__(self, index: int) -> Example:
        row = check_index(index, len(self))
        group = int(np.searchsorted(self.row_groups, row, side="right")) - 1
        columns = self._group(group)
        number = self._places[group][0]
        place = f"{self.paths[number]}, row {row - self._starts[number]}"
        inside = row - int(self.row_groups[group])
        return {
            name: self._value(name, columns[column][inside], f"{place}, column {column!r}")
            for column, name in self.names.items()
        }

    def _value(self, name: str, value: object, place: str) -> np.ndarray:
        if isinstance(value, Mapping) and isinstance(value.get("bytes"), bytes):
            return read_image(
                value["bytes"], mode=self.mode, max_pixels=self.max_pixels, name=place
            )
        if isinstance(value, str | bytes | Mapping):
            return np.array(value, object)
        return tidy_example(name, np.asarray(value), place)

    def __getitems__(self, indices: Indices) -> Example:
        rows = check_indices(indices, len(self))
        return stack_examples(self.examples(rows), rows, None if len(rows) else self.spec)

    def examples(self, indices: Indices) -> list[Example]:
        rows = check_indices(indices, len(self))
        found: list[Example] = [{}] * len(rows)
        for place in np.argsort(rows, kind="stable"):  # each row group once
            found[place] = self[int(rows[place])]
        return found

    @property
    def labels(self) -> np.ndarray | None:
        """Every label, (N,), or None; only their column is read."""
        column = next((column for column, name in self.names.items() if name == "label"), None)
        if column is None:
            return None
        parts = [self._file(i).read([column]).column(column) for i in range(len(self.paths))]
        return np.concatenate(
            [
                tidy("label", np.asarray(part), f"{path}, column {column!r}")
                for path, part in zip(self.paths, parts, strict=True)
            ]
        )

    def _group(self, group: int) -> Columns:
        number, inside = self._places[group]
        with _LOCK:
            file, (_, groups) = self._file(number), self._opened()
            columns = groups.get(group)
            if columns is None:
                columns = _columns(self.paths[number], file, inside, list(self.names))
                while len(groups) >= _KEPT:
                    groups.pop(next(iter(groups)))
                groups[group] = columns
            return columns


def _files(path: Path) -> list[Path]:
    path = expand(path).absolute()
    if path.is_dir():
        found = [file for file in entries(path) if file.suffix == ".parquet"]
        if not found:
            raise FileNotFoundError(f"{path} holds no files that end in .parquet.")
        return found
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path} (expected Parquet).")
    return [path]


def _num_rows(path: str, file: "pyarrow.parquet.ParquetFile", group: int) -> int:
    form = file.metadata.row_group(group)
    if form.total_byte_size > MAX_BYTES:
        raise ValueError(
            f"{path}: row group {group} takes {form.total_byte_size:,} bytes, more than "
            f"{MAX_BYTES:,}; write it in smaller row groups."
        )
    return int(form.num_rows)


def _columns(
    path: str, file: "pyarrow.parquet.ParquetFile", group: int, names: list[str]
) -> Columns:
    """The values of a row group."""
    try:
        table = file.read_row_group(group, columns=names)
        return {name: _column(path, name, table.column(name)) for name in names}
    except Exception as error:  # pyarrow has its own
        if isinstance(error, ValueError) and path in str(error):
            raise
        raise ValueError(f"{path}, row group {group} cannot be read: {error}") from error


def _column(path: str, name: str, column: "pyarrow.ChunkedArray") -> Sequence[object] | np.ndarray:
    import pyarrow as pa

    kind = column.type
    if column.null_count and not pa.types.is_floating(kind):
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"{path}: column {name!r} ({kind}) lacks {column.null_count} of {len(column)} values "
            f"of a row group, the first in its row {row}. Fill them, or leave the column out."
        )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column.to_numpy()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [np.array(values) for chunk in column.chunks for values in _rows(chunk)]
    return column.to_pylist()


def _rows(chunk: "pyarrow.ListArray") -> Sequence[object]:
    """The lists of a chunk, each of numbers (or lists of numbers)."""
    import pyarrow as pa

    kind = chunk.type.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        flat = chunk.flatten().to_numpy(zero_copy_only=False)
        lengths = chunk.value_lengths().to_numpy(zero_copy_only=False)
        return np.split(flat, np.cumsum(lengths)[:-1])
    return chunk.to_pylist()


def import_parquet() -> ModuleType:
    """Imports ``pyarrow.parquet``, or raises ImportError naming the extra that installs it."""
    require("pyarrow", "ParquetSource")
    import pyarrow.parquet

    return pyarrow.parquet
