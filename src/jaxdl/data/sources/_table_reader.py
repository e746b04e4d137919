"""Rows and columns of delimited text: CSV and TSV, plain or gzip."""

import csv
import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdl.data.sources._arrays import MAX_BYTES
from jaxdl.data.sources.listing import shortlist
from jaxdl.data.sources.text_files import decode_utf8

TEXT_NAMES = (
    *("text", "sentence", "review", "content", "phrase", "tweet", "comment", "message"),
    *("document", "question", "utterance"),
)
"""Names of columns of text, in lower case."""

LABEL_NAMES = (
    *("label", "labels", "class", "classes", "target", "y", "species", "sentiment", "emotion"),
    *("category", "intent", "topic"),
)
"""Names of columns of labels, in lower case."""

_BLOCK = 1000  # lines parsed in one call
_MAX_LINE = 2**26

Lines = Iterator[tuple[int, bytes]]
"""Line numbers from 1, and lines without their ends."""


class Format(NamedTuple):
    """Form of a delimited file.

    Attributes:
        delimiter: between columns, one character.
        quotes: double quotes enclose a field; in TSV they mean nothing.
        header: whether line 1 has the names of the columns; None decides by content.
        max_bytes: limit of what a gzip file may hold.
        texts: columns that are text whatever their first value is.
    """

    delimiter: str = ","
    quotes: bool = True
    header: bool | None = None
    max_bytes: int = MAX_BYTES
    texts: tuple[int | str, ...] = ()

    def split(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Splits lines into rows of fields."""
        if self.quotes:
            return csv.reader(lines, delimiter=self.delimiter)
        return csv.reader(lines, delimiter=self.delimiter, quoting=csv.QUOTE_NONE)


class Table(NamedTuple):
    """Columns of one or several files.

    Attributes:
        names: of the columns, or None.
        values: (N, C): the numbers; 0 in columns of text. uint8, int32 or int64, the smallest that
            holds them all, if every number is an integer, else float64.
        texts: columns of text (N,) of dtype object, by number.
        place: row → file and line, for messages.
    """

    names: tuple[str, ...] | None
    values: np.ndarray
    texts: dict[int, np.ndarray]
    place: Callable[[int], str]


class Column(NamedTuple):
    """One column: numbers (N,) or text of dtype object, and :attr:`Table.place`."""

    values: np.ndarray
    place: Callable[[int], str]


def read_table(paths: Sequence[Path], form: Format) -> Table:
    """Reads files with the same columns and concatenates them.

    A column is text if its first value is not a number. Blank lines are skipped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty or damaged file, a row of another length, a value that is not a number,
            a first line that may be a header or not, or files of different columns. The message
            names file and line.

    Source: ``pandas.read_csv``.
    """
    names: tuple[str, ...] | None = None
    blocks: list[_Block] = []
    starts: list[tuple[int, Path]] = []
    length = 0
    for path in paths:
        starts.append((length, path))
        found, parsed = _read_file(path, form)
        first, last = (blocks or parsed)[0], parsed[0]
        if blocks and (names, first.values.shape[1], sorted(first.texts)) != (
            found,
            last.values.shape[1],
            sorted(last.texts),
        ):
            raise ValueError(f"{path} does not have the columns of {paths[0]}.")
        names = found
        blocks += parsed
        length += sum(len(block.lines) for block in parsed)
    lines = np.concatenate([block.lines for block in blocks])

    def place(row: int) -> str:
        path = next(path for start, path in reversed(starts) if start <= row)
        return f"{path}, line {lines[row]}"

    return Table(
        names,
        np.concatenate([block.values for block in blocks]),
        {
            column: np.concatenate([block.texts[column] for block in blocks])
            for column in blocks[0].texts
        },
        place,
    )


class _Block(NamedTuple):
    lines: np.ndarray
    values: np.ndarray
    texts: dict[int, np.ndarray]


def _read_file(path: Path, form: Format) -> tuple[tuple[str, ...] | None, list[_Block]]:
    with _Lines(path, form.max_bytes) as numbered:
        head, lines = _head(path, numbered, form)
        names, first, width, texts = head.names, head.line, head.width, head.texts
        blocks = []
        while block := list(itertools.islice(lines, _BLOCK)):
            numbers = None if texts else _numbers(path, block, form, first, width)
            records = _Records(path, block, lines, form)
            blocks.append(numbers or _mixed(path, records, first, width, texts))
    blocks = [block for block in blocks if len(block.lines)]
    if not blocks:
        raise ValueError(f"{path}: expected rows of values, got only a header.")
    if names is None and head.is_unsettled and not _first_recurs(blocks):
        raise _unsettled(path, [str(column[0]) for column in blocks[0].texts.values()])
    return names, blocks


def _first_recurs(blocks: Sequence[_Block]) -> bool:
    """Returns True if the first row repeats a value of another row, i.e. is not a header."""
    return any(
        column[0] in itertools.chain(column[1:], *(block.texts[i] for block in blocks[1:]))
        for i, column in blocks[0].texts.items()
    )


class _Head(NamedTuple):
    names: tuple[str, ...] | None
    line: int
    width: int
    texts: tuple[int, ...]
    is_unsettled: bool


def _head(path: Path, lines: Lines, form: Format) -> tuple[_Head, Lines]:
    """Reads header, width and column types from the first two rows, and returns the data lines."""
    taken: list[tuple[int, bytes]] = []

    def remember() -> Lines:
        for line in lines:
            taken.append(line)
            yield line

    records = iter(_Records(path, [], remember(), form))
    number, first = next(records, (0, []))
    if not first:
        raise ValueError(f"{path}: expected rows of values, got an empty file.")
    header_lines = len(taken)
    _, second = next(records, (0, []))
    has_header = looks_like_header(path, first, second) if form.header is None else form.header
    row = second if has_header else first
    names = tuple(field.strip() for field in first) if has_header else None
    texts = tuple(
        i
        for i, field in enumerate(row)
        if i in form.texts
        or i - len(row) in form.texts
        or (names is not None and i < len(names) and names[i] in form.texts)
        or (field.strip() and not is_number(field))
    )
    rest = itertools.chain(taken[header_lines:] if has_header else taken, lines)
    return _Head(names, number, len(first), texts, has_header is None), rest


def looks_like_header(path: Path, first: Sequence[str], second: Sequence[str]) -> bool | None:
    """Returns True if the first of two rows is a header, None if it is ambiguous.

    A header has a known name, a name above a number, or numbers its columns as pandas does by
    default.

    Raises:
        ValueError: a row of numbers that may be a header or values.
    """
    cells = [field.strip() for field in first]
    counted = cells[1:] if cells[0] == "" else cells  # pandas puts an index without a name first
    if counted == [str(i) for i in range(len(counted))]:
        if len(counted) > 2 or cells[0] == "":
            return True
        if len(counted) == 2:
            raise _unsettled(path, first)
    if all(is_number(cell) for cell in cells):
        return False
    if any(cell.lower() in (*LABEL_NAMES, *TEXT_NAMES) for cell in cells):
        return True
    pairs = list(zip(cells, second, strict=False))
    if any(cell and not is_number(cell) and is_number(below) for cell, below in pairs):
        return True
    return False if any(is_number(cell) for cell in cells) else None


def _unsettled(path: Path, first: Sequence[str]) -> ValueError:
    return ValueError(
        f"{path}: line 1 ({', '.join(first)[:80]}) may be a header or a row of values; pass "
        "header=True or header=False."
    )


def is_number(field: str) -> bool:
    """Returns True if a field is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return "_" not in field


class _Lines:
    """The numbered lines of a file, with a progress bar for large files."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"file not found: {path} (expected a table).")
        self.path, self.max_bytes = path, max_bytes

    def __enter__(self) -> Lines:
        from tqdm import tqdm

        with self.path.open("rb") as file:
            self.is_gzip = file.read(2) == b"\x1f\x8b"
        self.file = gzip.open(self.path, "rb") if self.is_gzip else self.path.open("rb")
        self.bar = tqdm(
            desc=f"reading {self.path.name}", unit=" lines", unit_scale=True, leave=False, delay=2
        )
        return self.lines()

    def lines(self) -> Lines:
        size = 0
        for number in itertools.count(1):
            try:
                line = self.file.readline(_MAX_LINE)
            except (EOFError, zlib.error, OSError) as error:
                raise ValueError(
                    f"{self.path}: the gzip stream is truncated or damaged ({error}). Download or "
                    "copy it again."
                ) from error
            if not line:
                return
            size += len(line)
            if len(line) == _MAX_LINE or (self.is_gzip and size > self.max_bytes):
                limit = _MAX_LINE if len(line) == _MAX_LINE else self.max_bytes
                raise ValueError(
                    f"{self.path}, line {number}: the {'line' if limit == _MAX_LINE else 'file'} "
                    f"has more than {limit:,} bytes."
                )
            self.bar.update()
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield number, line.strip(b"\r\n")

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()


class _Records:
    """Rows of text fields with the line that each begins in; a quoted field may span lines."""

    def __init__(
        self, path: Path, block: Sequence[tuple[int, bytes]], more: Lines, form: Format
    ) -> None:
        self.path, self.block, self.more, self.form = path, block, more, form
        self.number = 0

    def _decoded(self) -> Iterator[str]:
        # an unclosed record at the end of a block takes more lines
        for number, line in itertools.chain(self.block, self.more):
            self.number = number
            yield decode_utf8(line, self.path, offset=None, line=number) + "\n"

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE))
        rows = self.form.split(self._decoded())
        last = self.block[-1][0] if self.block else None
        while last is None or self.number < last:
            before = self.number
            try:
                row = next(rows, None)
            except csv.Error as error:
                raise ValueError(f"{self.path}, line {self.number}: {error}.") from error
            if row is None:
                return
            if len(row) > 1 or (row and row[0].strip()):  # not a blank line
                yield max(before + 1, self.number - sum(f.count("\n") for f in row)), row


def _numbers(
    path: Path, block: Sequence[tuple[int, bytes]], form: Format, first: int, width: int
) -> _Block | None:
    """Parses a block of numbers at once; None if it must be read field by field."""
    sign = form.delimiter.encode()
    block = [(number, line) for number, line in block if line.strip()]
    for number, line in block:
        if line.count(sign) != width - 1:
            if b'"' in line:
                return None
            raise ValueError(
                f"{path}, line {number}: expected {width} columns separated by "
                f"{form.delimiter!r}, as in line {first}, got {line.count(sign) + 1}."
            )
    lines = [line.decode("latin-1") for _, line in block]
    quote = '"' if form.quotes else None
    for dtype in (np.int64, np.float64):
        try:
            values = np.loadtxt(
                lines, dtype, delimiter=form.delimiter, comments=None, ndmin=2, quotechar=quote
            )
        except (ValueError, OverflowError):
            continue
        if values.shape == (len(block), width):
            return _Block(np.array([number for number, _ in block]), _smallest(values), {})
    return None


def _mixed(path: Path, records: _Records, first: int, width: int, texts: Sequence[int]) -> _Block:
    """Parses a block of rows field by field."""
    lines: list[int] = []
    rows: list[list[str]] = []
    for number, row in records:
        if len(row) != width:
            raise ValueError(
                f"{path}, line {number}: expected {width} columns separated by "
                f"{records.form.delimiter!r}, as in line {first}, got {len(row)}."
            )
        for column, field in enumerate(row):
            if column not in texts and not is_number(field):
                raise ValueError(
                    f"{path}, line {number}, column {column + 1}: "
                    f"{'a missing value' if not field.strip() else repr(field)} is not a number."
                )
        lines.append(number)
        rows.append(row)
    if not rows:
        return _Block(np.zeros(0, np.int64), np.zeros((0, width), np.uint8), {})
    columns = list(zip(*rows, strict=True))
    numbers = [
        np.zeros(len(rows)) if i in texts else np.array(column, np.float64)
        for i, column in enumerate(columns)
    ]
    values = np.stack(numbers, axis=1)
    whole = bool((values == np.floor(values)).all() and (abs(values) < 2**53).all())
    return _Block(
        np.array(lines),
        _smallest(values.astype(np.int64)) if whole else values,
        {i: np.array(columns[i], object) for i in texts},
    )


def _smallest(values: np.ndarray) -> np.ndarray:
    """Converts integers to the smallest of three types; MNIST takes 47 MB instead of 377."""
    if values.dtype.kind == "i":
        for dtype in (np.uint8, np.int32):
            limits = np.iinfo(dtype)
            if limits.min <= values.min() and values.max() <= limits.max:
                return values.astype(dtype)
    return values


def column_number(table: Table, column: int | str, path: Path) -> int:
    """Returns the index of a column given by number or name.

    Raises:
        ValueError: no such column.
    """
    width = table.values.shape[1]
    if isinstance(column, int):
        if not -width <= column < width:
            raise ValueError(f"{path} has no column {column}; it has {width}.")
        return column % width
    if table.names is None or column not in table.names:
        has = "no header" if table.names is None else f"the columns {shortlist(table.names, 20)}"
        raise ValueError(f"{path} has no column {column!r}; it has {has}.")
    return table.names.index(column)


def class_indices(
    column: Column, class_names: Sequence[str] | None
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """Converts a column of labels to class indices, and returns the class names.

    Numbers are used as indices. Text is looked up in ``class_names`` or, by default, numbered
    alphabetically.

    Raises:
        ValueError: a number that is not a class index, a blank label, or a name that is not in
            ``class_names``. The message names file and line.
    """
    values, place = column
    names = None if class_names is None else tuple(class_names)
    if values.dtype != object:
        limit = 2**31 if names is None else len(names)
        bad = (values != np.floor(values)) | (values < 0) | (values >= limit)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"{place(row)}: labels must be class indices in 0 to {limit - 1}, got "
                f"{values[row]:.17g}. Pass label= the column of the labels, or None."
            )
        return values.astype(np.int32), names
    cells = [str(cell).strip() for cell in values]
    if "" in cells:
        raise ValueError(f"{place(cells.index(''))}: the label is blank.")
    if names is None:
        names = tuple(sorted(set(cells)))
    numbers = {name: number for number, name in enumerate(names)}
    unknown = next((row for row, cell in enumerate(cells) if cell not in numbers), None)
    if unknown is not None:
        raise ValueError(
            f"{place(unknown)}: the label {cells[unknown]!r} is not one of the {len(names)} class "
            f"names {shortlist(names)}."
        )
    return np.array([numbers[cell] for cell in cells], np.int32), names
