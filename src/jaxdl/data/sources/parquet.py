"""Parquet files as sources, a row group at a time; pyarrow comes with the extra ``parquet``."""

import io
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.source import Example, FileSource, check_index, check_indices, stack_examples
from jaxdl.data.sources.tables import tidy

Columns = dict[str, list[Any] | np.ndarray]
"""The values of a row group by column."""


_KEPT = 4  # row groups held in memory, per process


_LOCK = threading.Lock()  # a file serves one thread at a time


class ParquetSource(FileSource):
    """Rows of Parquet files, read a row group at a time.

    A row group is read whole and the last four are kept. An order that stays within a group for a
    while is therefore quick, one that jumps among all of them is not: ``row_groups`` has their
    bounds for a sampler. Small files become arrays by ``source_to_arrays``.

    Args:
        paths: a file, several, or a folder of ``*.parquet`` files, which are read in the order of
            their names.
        names: column → name in an example; None takes every column under its own name.
        class_names: a name for every label.

    Returns:
        numbers as arrays (), lists of numbers as arrays (L,), strings as arrays () of dtype object,
        images as Hugging Face's data sets store them (a struct of ``bytes`` and ``path``) decoded,
        uint8 (H, W, C). An integer column called ``"label"`` becomes int32.

    Raises:
        FileNotFoundError: no such file, or no Parquet file in the folder.
        ValueError: no Parquet file, files of different columns, a missing column (the message lists
            those there are). When read: an integer that is missing.
        ImportError: pyarrow is not installed.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        names: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        self.paths = [os.fspath(path) for given in listed for path in _files(Path(given))]
        columns: list[str] | None = None
        starts, places = [0], []
        for number, path in enumerate(self.paths):
            file = self._file(number)
            found = list(file.schema_arrow.names)
            if columns is not None and found != columns:
                raise ValueError(f"{path} has the columns {found}, {self.paths[0]} {columns}.")
            columns = found
            for group in range(file.num_row_groups):
                starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
                places.append((number, group))
        self.names = {name: name for name in columns or []} if names is None else dict(names)
        missing = [name for name in self.names if name not in (columns or [])]
        if missing:
            raise ValueError(
                f"{self.paths[0]}: there is no column {', '.join(map(repr, missing))}; it has "
                f"{', '.join(columns or [])}."
            )
        self.row_groups = np.array(starts)
        """(G + 1,) int64: row group g holds the examples from ``row_groups[g]`` to the next."""
        self._places = places
        self.class_names = None if class_names is None else tuple(class_names)

    def _open(self) -> tuple[dict[int, Any], dict[int, Columns]]:
        """The files and the row groups that have been read, by number."""
        return {}, {}

    def _file(self, number: int) -> Any:
        files, _ = self._opened()
        if number not in files:
            parquet = import_parquet()
            try:
                files[number] = parquet.ParquetFile(self.paths[number])
            except Exception as error:  # pyarrow's own, which are no ValueErrors
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
        place = row - int(self.row_groups[group])
        return {name: _value(name, columns[column][place]) for column, name in self.names.items()}

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Example:
        rows = check_indices(indices, len(self))
        return stack_examples(self.examples(rows), rows, None if len(rows) else self.spec)

    def examples(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
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
        return np.concatenate([tidy("label", np.asarray(part)) for part in parts])

    def _group(self, group: int) -> Columns:
        number, inside = self._places[group]
        with _LOCK:
            file, (_, groups) = self._file(number), self._opened()
            columns = groups.get(group)
            if columns is None:
                table = file.read_row_group(inside, columns=list(self.names))
                columns = {
                    column: _column(self.paths[number], column, table.column(column))
                    for column in self.names
                }
                while len(groups) >= _KEPT:
                    groups.pop(next(iter(groups)))
                groups[group] = columns
            return columns


def _files(path: Path) -> list[Path]:
    path = path.expanduser().absolute()
    if path.is_dir():
        found = sorted(path.glob("*.parquet"))
        if not found:
            raise FileNotFoundError(f"{path} holds no files that end in .parquet.")
        return found
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; expected Parquet.")
    return [path]


def _column(path: str, name: str, column: Any) -> list[Any] | np.ndarray:
    import pyarrow as pa

    kind = column.type
    if column.null_count and not pa.types.is_floating(kind):
        row = column.is_null().to_pylist().index(True)
        raise ValueError(
            f"{path}: column {name!r} ({kind}) misses {column.null_count} of {len(column)} values "
            f"of a row group, the first in its row {row}. Fill them, or leave the column out."
        )
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column.to_numpy()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [np.array(values) for chunk in column.chunks for values in _rows(chunk)]
    return column.to_pylist()


def _rows(chunk: Any) -> list[Any]:
    """The lists of a chunk, each of numbers (or lists of numbers)."""
    import pyarrow as pa

    kind = chunk.type.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        flat = chunk.flatten().to_numpy(zero_copy_only=False)
        lengths = chunk.value_lengths().to_numpy(zero_copy_only=False)
        return np.split(flat, np.cumsum(lengths)[:-1])
    return chunk.to_pylist()


def _value(name: str, value: Any) -> np.ndarray:
    if isinstance(value, Mapping) and value.get("bytes"):
        return _decode(value["bytes"])
    if isinstance(value, str | bytes | Mapping):
        return np.array(value, object)
    return tidy(name, np.asarray(value))


def _decode(content: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        pixels = np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGB"))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def import_parquet() -> Any:
    """``pyarrow.parquet``, or an ImportError that says how to get it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Parquet needs pyarrow: pip install 'jaxdl[parquet]' (or pyarrow)."
        ) from error
    return pyarrow.parquet
