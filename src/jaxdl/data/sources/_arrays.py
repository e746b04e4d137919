"""Conventions for stored arrays: labels int32, images uint8 with a channel axis; size limits."""

import os
import zipfile
from typing import IO

import numpy as np

from jaxdl._files import expand
from jaxdl.data.sources.listing import is_hidden

MAX_BYTES = 4 * 2**30
"""Default limit of what a compressed file may hold."""


def to_labels(values: np.ndarray, place: str) -> np.ndarray:
    """Converts integers to int32.

    Args:
        values: integers or booleans.
        place: file and array, for the message.

    Raises:
        ValueError: an integer beyond int32.
    """
    array = np.asarray(values)
    if array.dtype.kind in "iu" and array.size:
        limits = np.iinfo(np.int32)
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            bad = low if low < limits.min else high
            raise ValueError(f"{place} must fit into int32, got {bad}; number from 0.")
    return array.astype(np.int32)


def tidy(name: str, array: np.ndarray, place: str) -> np.ndarray:
    """Converts a stored array to the library's conventions.

    An integer ``"label"`` becomes int32. Of an ``"image"``, gray (N, H, W) gets a channel axis,
    uint16 keeps its 8 most significant bits, as image files do, bool becomes 0 and 255; floating
    point stays as it is.

    Args:
        name: of the array in an example.
        array: (N, ...).
        place: file and array, for the message.

    Raises:
        ValueError: a label beyond int32, an image of other integers.

    >>> tidy("image", np.full((5, 28, 28), 2**15, np.uint16), "a.npz").shape
    (5, 28, 28, 1)
    """
    if name == "label" and array.dtype.kind in "iu":
        return to_labels(array, place)
    if name != "image" or array.ndim < 3:
        return array
    image = to_uint8(array, place)
    return image[..., None] if image.ndim == 3 and image.dtype == np.uint8 else image


def tidy_example(name: str, value: np.ndarray, place: str) -> np.ndarray:
    """:func:`tidy` for one example's array, without the leading axis."""
    if name in ("label", "image") and value.dtype != object:
        return tidy(name, value[None], place)[0, ...]
    return value


def to_uint8(image: np.ndarray, place: str) -> np.ndarray:
    """Converts an integer image array to uint8; see :func:`tidy`."""
    if image.dtype == np.uint16:
        return (image >> 8).astype(np.uint8)
    if image.dtype == np.bool_:
        return image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind in "iu" and image.dtype != np.uint8:
        raise ValueError(
            f"{place}: images must be uint8, uint16 or floating point, got {image.dtype}, whose "
            "range is unknown; store them as uint8 (0 to 255)."
        )
    return image


def read_npy(path: str | os.PathLike[str], *, mmap: bool = True) -> np.ndarray:
    """Reads an npy file, memory-mapped by default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npy file, a damaged one, or one of Python objects or structured records.
    """
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path} (expected an npy array).")
    try:
        with path.open("rb") as file:
            shape, dtype = _npy_header(file)
            needed = file.tell() + _num_bytes(shape, dtype)
        if needed > path.stat().st_size:
            raise ValueError(
                f"truncated: the header declares {dtype} {shape}, {needed:,} bytes, got "
                f"{path.stat().st_size:,}"
            )
        array = np.load(path, mmap_mode="r" if mmap and needed > 0 else None, allow_pickle=False)
    except Exception as error:  # NumPy's parser raises many kinds of errors
        raise ValueError(f"{path} cannot be read as an npy array: {_reason(error)}.") from error
    return array


def read_npz(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> dict[str, np.ndarray]:
    """Reads all arrays of an npz archive, checking sizes before decompression.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an npz archive, a damaged one, one of more than ``max_bytes``, or an array
            of Python objects or structured records.
    """
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path} (expected an npz archive).")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [
                info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
                and not any(is_hidden(part) for part in info.filename.split("/"))
            ]
            total = sum(info.file_size for info in members)
            if total > max_bytes:
                raise ValueError(
                    f"its arrays take {total:,} bytes, more than max_bytes {max_bytes:,}"
                )
            return {
                info.filename.removesuffix(".npy"): _read_member(archive, info) for info in members
            }
    except Exception as error:  # zipfile, zlib and NumPy raise errors of many kinds
        raise ValueError(f"{path} cannot be read as an npz archive: {_reason(error)}.") from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        shape, dtype = _npy_header(file)
        needed = _num_bytes(shape, dtype)
        if needed > info.file_size:
            raise ValueError(
                f"{info.filename} is truncated: the header declares {dtype} {shape}, "
                f"{needed:,} bytes, of {info.file_size:,}"
            )
    with archive.open(info) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
        file.read()  # to the end, so that the checksum is compared
        return array


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject or dtype.fields is not None:
        kind = "Python objects" if dtype.hasobject else f"records with the fields {dtype.names}"
        raise ValueError(f"it holds {kind}; save each as an array of numbers")
    return shape, dtype


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    number = 1
    for size in shape:
        number *= int(size)
    return number * dtype.itemsize


def _reason(error: Exception) -> str:
    return (str(error) or repr(error)).rstrip(".")
