"""Tables as sources: CSV and TSV of numbers, images or text, and npz archives."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl._files import expand
from jaxdl.data.source import ArraySource
from jaxdl.data.sources._arrays import MAX_BYTES, read_npz, tidy
from jaxdl.data.sources._table_reader import (
    LABEL_NAMES,
    TEXT_NAMES,
    Column,
    Format,
    Table,
    class_indices,
    column_number,
    read_table,
)
from jaxdl.data.sources.listing import shortlist

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, or several of the same columns, one after the other."""


def csv_source(
    path: Paths,
    *,
    label: int | str | None = 0,
    image_shape: tuple[int, int, int] | None = None,
    class_names: Sequence[str] | None = None,
    delimiter: str = ",",
    header: bool | None = None,
    max_bytes: int = MAX_BYTES,
) -> ArraySource:
    """Reads CSV files of numbers as examples.

    A column that pandas wrote as an index (without a name, 0 to N − 1) is dropped. MNIST as CSV is
    ``csv_source(path, image_shape=(28, 28, 1))``.

    Args:
        path: the file, plain or gzip, or several.
        label: column of the class indices or names, by number (−1 is the last) or name; None if
            there are no labels.
        image_shape: (H, W, C): the other columns are an image's values, 0 to 255, row by row.
        class_names: a name for every label. Pass those of the training set for the others, whose
            classes would otherwise be numbered independently.
        delimiter: between columns.
        header: True if line 1 has the column names; None infers it from the content.
        max_bytes: limit of the decompressed size of a gzip file.

    Returns:
        ``"image"`` (N, H, W, C) uint8, or ``"input"`` (N, F) float32; and ``"label"`` (N,) int32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty or damaged file, a value that is not a number, no such column, values
            that are not pixels, labels that are not class indices or names. The message names file
            and line.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/iris.csv"
    >>> _ = Path(path).write_text("length,width,species\\n1.5,0.2,setosa\\n4.7,1.4,versicolor\\n")
    >>> source = csv_source(path, label="species")
    >>> source[1]["input"].tolist(), int(source[1]["label"])
    ([4.699999809265137, 1.399999976158142], 1)
    """
    paths = listed(path)
    table = read_table(paths, Format(delimiter, header=header, max_bytes=max_bytes))
    return numbers_source(paths[0], table, label, image_shape, class_names)


def tsv_source(
    path: Paths,
    *,
    text: int | str,
    label: int | str | None = None,
    class_names: Sequence[str] | None = None,
    delimiter: str = "\t",
    header: bool | None = None,
    max_bytes: int = MAX_BYTES,
) -> ArraySource:
    """Reads a column of text, and one of labels, from tab-separated files.

    Quotes are literal, as in GLUE's files, unless the delimiter is another one, such as ``","``.

    Args:
        path: the file, plain or gzip, or several.
        text: column of the text, by name or number.
        label: column of the class, by name or number: indices from 0, or names.
        class_names: names of the classes, in order; if None, names are numbered alphabetically.
            Pass those of the training set for the others.
        delimiter: between columns.
        header: True if line 1 has the column names; None infers it from the content.
        max_bytes: limit of the decompressed size of a gzip file.

    Returns:
        ``"text"`` (N,) of dtype object, and ``"label"`` (N,) int32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, no such column, a row of another length, a blank or unknown label, a
            first line that may be a header or not. The message names file and line.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/train.tsv"
    >>> _ = Path(path).write_text("sentence\\tlabel\\na good film\\t1\\ndull\\t0\\n")
    >>> source = tsv_source(path, text="sentence", label="label")
    >>> str(source[0]["text"]), int(source[0]["label"])
    ('a good film', 1)
    """
    paths = listed(path)
    named = isinstance(text, str) or isinstance(label, str)
    form = Format(delimiter, delimiter != "\t", True if named else header, max_bytes, (text,))
    return text_source(paths[0], read_table(paths, form), text, label, class_names)


def npz_source(
    path: str | os.PathLike[str],
    names: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> ArraySource:
    """Reads arrays of an npz archive as examples.

    Args:
        path: the file.
        names: array in the file → array of an example: ``{"x_train": "image", "y_train":
            "label"}``; None keeps all arrays and their names.
        class_names: a name for every label.
        max_bytes: limit of the size of the arrays, checked before decompression.

    Returns:
        the arrays; an integer ``"label"`` (N,) becomes int32, gray images (N, H, W) uint8 called
        ``"image"`` become (N, H, W, 1).

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npz archive, a damaged one, one of Python objects, a missing key, or
            arrays of different lengths.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/digits.npz"
    >>> np.savez(path, x=np.zeros((3, 8, 8), np.uint8), y=np.arange(3))
    >>> source = npz_source(path, {"x": "image", "y": "label"})
    >>> len(source), source[2]["image"].shape, int(source[2]["label"])
    (3, (8, 8, 1), 2)
    """
    stored = read_npz(path, max_bytes)
    names = {key: key for key in stored} if names is None else names
    missing = [key for key in names if key not in stored]
    if missing or not stored:
        raise ValueError(
            f"{path} has no array {shortlist(map(repr, missing)) or 'at all'}; it has "
            f"{shortlist(stored) or 'none'}."
        )
    arrays = {name: tidy(name, stored[key], f"{path}, {key!r}") for key, name in names.items()}
    try:
        return ArraySource(arrays, class_names)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error} Choose with names={{array in the file: name of it}}."
        ) from error


# From a table that has been read


def listed(path: Paths) -> list[Path]:
    """Returns a path or several as a list."""
    given = [path] if isinstance(path, str | os.PathLike) else list(path)
    return [expand(each) for each in given]


def numbers_source(
    path: Path,
    table: Table,
    label: int | str | None,
    image_shape: tuple[int, int, int] | None,
    class_names: Sequence[str] | None,
) -> ArraySource:
    """A table of numbers as a source; see :func:`csv_source`."""
    arrays: dict[str, np.ndarray] = {}
    number = None if label is None else column_number(table, label, path)
    texts = [column for column in table.texts if column != number]
    if texts:
        raise ValueError(
            f"{path}: column {_column_name(table, texts[0])} holds text "
            f"({str(table.texts[texts[0]][0])[:40]!r}), not numbers. Pass label= for names of "
            "classes, or read text with tsv_source."
        )
    names: Sequence[str] | None = class_names
    if number is not None:
        arrays["label"], names = class_indices(_column(table, number), class_names)
    dropped = [column for column in (number, _index_column(table)) if column is not None]
    values = np.delete(table.values, dropped, axis=1)
    if image_shape is None:
        return ArraySource({"input": values.astype(np.float32), **arrays}, names)
    if values.shape[1] != math.prod(image_shape):
        raise ValueError(
            f"{path}: images of shape {image_shape} take {math.prod(image_shape)} columns, got "
            f"{values.shape[1]}{'' if label is None else ' beside the label'}."
        )
    if values.min() < 0 or values.max() > 255 or values.dtype.kind == "f":
        raise ValueError(
            f"{path}: pixels must be integers from 0 to 255, got {values.dtype} from "
            f"{values.min()} to {values.max()}."
        )
    image = values.astype(np.uint8).reshape(-1, *image_shape)
    return ArraySource({"image": image, **arrays}, names)


def text_source(
    path: Path,
    table: Table,
    text: int | str,
    label: int | str | None,
    class_names: Sequence[str] | None,
) -> ArraySource:
    """A table with a column of text as a source; see :func:`tsv_source`."""
    number = column_number(table, text, path)
    texts = table.texts.get(number)
    if texts is None:
        raise ValueError(f"{path}: column {text!r} holds numbers, not text.")
    arrays, names = {"text": texts}, None
    if label is not None:
        column = _column(table, column_number(table, label, path))
        arrays["label"], names = class_indices(column, class_names)
    return ArraySource(arrays, names)


def _column(table: Table, number: int) -> Column:
    return Column(table.texts.get(number, table.values[:, number]), table.place)


def _column_name(table: Table, number: int) -> str:
    return str(number) if table.names is None else repr(table.names[number])


def _index_column(table: Table) -> int | None:
    """Returns the first column if it is a row index written by pandas."""
    if table.names is None or table.names[0] not in ("", "Unnamed: 0"):
        return None
    return 0 if (table.values[:, 0] == np.arange(len(table.values))).all() else None


@dataclasses.dataclass(frozen=True)
class Guess:
    """Columns inferred from names and content.

    Attributes:
        text: number of the column of text, or None in a table of numbers.
        label: number of the column of labels, or None.
    """

    text: int | None
    label: int | None


def guess_columns(
    path: Path, table: Table, text: int | str | None, label: int | str | None
) -> Guess:
    """Infers the columns of text and labels from their names, else from their content.

    Args:
        path: for messages.
        table: the columns.
        text, label: the column, if it is known.

    Raises:
        ValueError: several columns are possible.
    """
    names = [] if table.names is None else [name.lower() for name in table.names]
    label = _known(path, table, label, (names.index(n) for n in LABEL_NAMES if n in names))
    by_name = (names.index(n) for n in TEXT_NAMES if n in names and names.index(n) in table.texts)
    text = _known(path, table, text, by_name)
    if text is not None or not table.texts:
        return Guess(text, label)
    rest = [column for column in table.texts if column != label]
    numbers = set(range(table.values.shape[1])) - set(table.texts) - {label}
    if label is None:
        few = [column for column in rest if _is_class(table.texts[column])]
        counted = [column for column in numbers if _is_class(table.values[:, column])]
        if len(few) == 1 and not (len(rest) == 1 and len(numbers) == 1 and counted):
            label = few[0]
        elif not few and len(rest) == 1 and len(numbers) == 1 and counted:
            label = counted[0]
        rest, numbers = [column for column in rest if column != label], numbers - {label}
    if len(rest) > 1 or (rest and numbers):
        raise _unclear(path, table)
    return Guess(rest[0] if rest else None, label)


def _is_class(values: np.ndarray) -> bool:
    """Returns True for whole numbers or short names that repeat."""
    number = len(set(values.tolist()))
    if values.dtype != object:
        return values.dtype.kind in "iu" and number <= max(10, len(values) / 2)
    words = sum(len(str(value).split()) for value in values)
    return number <= len(values) / 2 and words < 2 * len(values)


def _known(
    path: Path, table: Table, column: int | str | None, by_name: Iterator[int]
) -> int | None:
    return next(by_name, None) if column is None else column_number(table, column, path)


def _unclear(path: Path, table: Table) -> ValueError:
    columns = shortlist(_column_name(table, i) for i in range(table.values.shape[1]))
    return ValueError(
        f"{path}: which of the columns {columns} are the text and the label is unclear; pass text= "
        "and label=."
    )
