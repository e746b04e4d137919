"""Tables of numbers: CSV files, MNIST's way of writing images into them, and npz archives."""

import gzip
import itertools
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxdl._checks import check_labels
from jaxdl.data.source import ArraySource

_BLOCK = 1000  # lines parsed in one call


class Table(NamedTuple):
    """A table of numbers.

    Attributes:
        names: of the columns, where the file's first line has them, else None.
        values: (N, C); uint8, int32 or int64, the smallest that holds them all, where every number
            is an integer, else float64.
    """

    names: tuple[str, ...] | None
    values: np.ndarray


def read_csv(path: str | os.PathLike[str], *, delimiter: str = ",") -> Table:
    """Reads a table of numbers, plain or gzip.

    A first line that holds anything but numbers is a header. Blank lines are skipped.

    Args:
        path: the file; all its rows have as many columns as the first line.
        delimiter: between columns, one character.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an empty or damaged file, a row of another length, something that is no number.
            The message names the file and the line.

    Counterpart: ``pandas.read_csv``, for numbers.
    """
    path = Path(path).expanduser()
    sign = delimiter.encode()
    blocks: list[np.ndarray] = []
    names = None
    with _progress(path) as lines:
        first = next(lines, None)
        if first is None:
            raise ValueError(f"{path}: expected rows of numbers, got an empty file.")
        fields = first[1].split(sign)
        width = len(fields)
        if not all(_is_number(field) for field in fields):
            names = tuple(f.decode("utf-8", "replace").strip().strip('"') for f in fields)
        else:
            lines = itertools.chain([first], lines)
        while block := list(itertools.islice(lines, _BLOCK)):
            for number, line in block:
                if line.count(sign) != width - 1:
                    raise ValueError(
                        f"{path}, line {number}: expected {width} columns separated by "
                        f"{delimiter!r}, as in line {first[0]}, got {line.count(sign) + 1}."
                    )
            blocks.append(_parse(path, block, delimiter))
    if not blocks:
        raise ValueError(f"{path}: expected rows of numbers, got nothing but a header.")
    return Table(names, np.concatenate(blocks))


class _progress:
    """The numbered lines of a file that are not blank, with a bar where reading takes long."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {str(path)!r}; expected a table in CSV.")
        self.path = path

    def __enter__(self) -> Iterator[tuple[int, bytes]]:
        from tqdm import tqdm

        with self.path.open("rb") as file:
            is_gzip = file.read(2) == b"\x1f\x8b"
        self.file = gzip.open(self.path, "rb") if is_gzip else self.path.open("rb")
        self.bar = tqdm(
            desc=f"reading {self.path.name}", unit=" lines", unit_scale=True, leave=False, delay=2
        )
        return self.lines()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            for number, line in enumerate(self.file, 1):
                self.bar.update()
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line := line.strip(b"\r\n"):
                    yield number, line
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{self.path}: the gzip stream is cut short or damaged ({error}). Download or copy "
                "it again."
            ) from error

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        self.file.close()


def _parse(path: Path, block: Sequence[tuple[int, bytes]], delimiter: str) -> np.ndarray:
    lines = [line.decode("latin-1") for _, line in block]
    for dtype in (np.int64, np.float64):
        try:
            return _small(np.loadtxt(lines, dtype, delimiter=delimiter, comments=None, ndmin=2))
        except ValueError:
            continue
    for number, line in block:
        for column, field in enumerate(line.split(delimiter.encode()), 1):
            if not _is_number(field):
                raise ValueError(
                    f"{path}, line {number}, column {column}: {field.decode('utf-8', 'replace')!r} "
                    "is no number."
                )
    raise ValueError(f"{path}, lines {block[0][0]} to {block[-1][0]} cannot be read as numbers.")


def _small(values: np.ndarray) -> np.ndarray:
    """Integers in the smallest of three types, so that MNIST takes 47 MB and not 377."""
    if values.dtype.kind == "i":
        for dtype in (np.uint8, np.int32):
            if np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max:
                return values.astype(dtype)
    return values


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def csv_source(
    path: str | os.PathLike[str],
    *,
    label: int | str | None = 0,
    image_shape: tuple[int, int, int] | None = None,
    class_names: Sequence[str] | None = None,
    delimiter: str = ",",
) -> ArraySource:
    """Reads a CSV file of numbers as examples.

    Args:
        path: the file, plain or gzip, with a header or without.
        label: the column of the class indices, by number (−1 is the last) or by name; None: there
            is none.
        image_shape: (H, W, C): the other columns are an image's values, 0 to 255, row by row.
        class_names: a name for every label.
        delimiter: between columns.

    Returns:
        ``"image"`` (N, H, W, C) uint8, or ``"input"`` (N, F) float32; and ``"label"`` (N,) int32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as :func:`read_csv`; no such column; values that are no pixels; labels that are
            no class indices.
    """
    path = Path(path).expanduser()
    names, values = read_csv(path, delimiter=delimiter)
    arrays: dict[str, np.ndarray] = {}
    if label is not None:
        column = _column(path, label, names, values.shape[1])
        labels, values = values[:, column], np.delete(values, column, axis=1)
        if (labels != labels.astype(np.int32)).any():
            row = int((labels != labels.astype(np.int32)).argmax())
            raise ValueError(
                f"{path}: column {label!r} must hold class indices, got {labels[row]} in row "
                f"{row}. Pass label= the column of the labels, or None."
            )
        arrays["label"] = labels.astype(np.int32)
        try:
            check_labels(arrays["label"], None if class_names is None else len(class_names))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if image_shape is None:
        return ArraySource({"input": values.astype(np.float32), **arrays}, class_names)
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
    return ArraySource({"image": image, **arrays}, class_names)


def mnist_csv(
    path: str | os.PathLike[str], class_names: Sequence[str] = tuple("0123456789")
) -> ArraySource:
    """Reads MNIST as CSV: in every row the label, then 784 pixels; 60,000 rows, or any number.

    Returns:
        ``"image"`` (N, 28, 28, 1) uint8 and ``"label"`` (N,) int32. The item of the tutorials is
        made of it on the device: ``to_float(image)`` and ``jax.nn.one_hot(label, 10)``.

    Raises:
        ValueError: as :func:`csv_source`.
    """
    return csv_source(path, image_shape=(28, 28, 1), class_names=class_names)


def _column(path: Path, label: int | str, names: Sequence[str] | None, width: int) -> int:
    if isinstance(label, int):
        if not -width <= label < width:
            raise ValueError(f"{path}: there is no column {label}; it has {width}.")
        return label
    if names is None or label not in names:
        has = "no header" if names is None else f"the columns {', '.join(map(repr, names[:20]))}"
        raise ValueError(f"{path}: there is no column {label!r}; the file has {has}.")
    return names.index(label)


def npz_source(
    path: str | os.PathLike[str],
    names: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
) -> ArraySource:
    """Reads arrays of an npz archive as examples.

    Args:
        path: the file; one that holds Python objects is refused.
        names: array in the file → array of an example: ``{"x_train": "image", "y_train":
            "label"}``; None takes every array under its own name.
        class_names: a name for every label.

    Returns:
        the arrays; an integer ``"label"`` (N,) becomes int32, grey images (N, H, W) uint8 called
        ``"image"`` become (N, H, W, 1).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no npz archive, a key that is missing (the message lists those there are),
            arrays of different length.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; expected an npz archive.")
    try:
        with np.load(path) as archive:
            names = {key: key for key in archive.files} if names is None else names
            for key in names:
                if key not in archive.files:
                    raise KeyError(key)
            arrays = {name: tidy(name, archive[key]) for key, name in names.items()}
    except KeyError as error:
        raise ValueError(
            f"{path}: there is no array {error}; it has {', '.join(archive.files) or 'none'}."
        ) from error
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise ValueError(f"{path} cannot be read as an npz archive of arrays: {error}") from error
    try:
        return ArraySource(arrays, class_names)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error} Choose with names={{array in the file: name of it}}."
        ) from error


def tidy(name: str, array: np.ndarray) -> np.ndarray:
    """An array as the library wants it: labels int32, images with a channel axis.

    >>> tidy("image", np.zeros((5, 28, 28), np.uint8)).shape
    (5, 28, 28, 1)
    """
    if name == "label" and array.dtype.kind in "iu":
        return array.astype(np.int32)
    if name == "image" and array.ndim == 3 and array.dtype == np.uint8:
        return array[..., None]
    return array
