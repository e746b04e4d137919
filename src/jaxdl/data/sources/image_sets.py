"""Image classification sets in memory: IDX files and scikit-learn's digits."""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from jaxdl._checks import check_labels
from jaxdl._files import expand
from jaxdl.data.source import ArraySource, Dataset, check_dataset
from jaxdl.data.sources._arrays import MAX_BYTES
from jaxdl.data.sources.listing import split_name

_DIGITS = tuple("0123456789")


CLASS_NAMES: dict[str, tuple[str, ...]] = {
    "digits": _DIGITS,
    "mnist": _DIGITS,
    "fashion_mnist": (
        "T-shirt",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    "kmnist": ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    "cifar10": (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
}
"""Data sets by name, and their classes in the order of the labels."""


IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each split under MNIST's file names, without ``.gz``."""


# The type code in an IDX header, its third byte; everything in a file is big-endian.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


_GZIP_MAGIC = b"\x1f\x8b"


def digits() -> Dataset:
    """The 1,797 handwritten digits, 8×8 gray, that ship with scikit-learn.

    Values 0 to 16 become round(v · 255 / 16), uint8. The split is fixed and stratified: of the
    examples sorted by class (stably), every fifth, from the first, is a test example. This makes
    1,437 for training and 360 for testing; both splits keep scikit-learn's order.

    Returns:
        images (N, 8, 8, 1) uint8, labels (N,) int32.

    Source: ``sklearn.datasets.load_digits``, the test part of UCI's "Optical Recognition of
    Handwritten Digits".

    >>> [len(split["label"]) for split in (digits().train, digits().test)]
    [1437, 360]
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    image = np.rint(bunch.images[..., None] * (255 / 16)).astype(np.uint8)
    label = bunch.target.astype(np.int32)
    is_test = np.zeros(len(label), bool)
    is_test[np.argsort(label, kind="stable")[::5]] = True
    return check_dataset(
        Dataset(
            "digits",
            train={"image": image[~is_test], "label": label[~is_test]},
            test={"image": image[is_test], "label": label[is_test]},
            class_names=CLASS_NAMES["digits"],
        )
    )


def idx_source(
    path: str | os.PathLike[str],
    split: str = "train",
    class_names: tuple[str, ...] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> ArraySource:
    """Reads one split of a set from IDX files under MNIST's names.

    Args:
        path: folder with ``train-images-idx3-ubyte`` and ``train-labels-idx1-ubyte``, for the test
            split ``t10k-…``, each plain or with ``.gz``.
        split: ``"train"`` or ``"test"``.
        class_names: a name for every label.
        max_bytes: limit of a file's values, checked before they are read or decompressed.

    Returns:
        ``"image"`` (N, H, W, 1) uint8 and ``"label"`` (N,) int32.

    Raises:
        FileNotFoundError: a file is missing; the message has its name.
        ValueError: an unknown split, a file that is damaged or of the wrong rank or type, a label
            out of range, or images and labels of different number. The message names the file.

    Source: ``torchvision.datasets.MNIST``, which reads the same files.
    """
    folder = expand(path)
    if split_name(split) not in IDX_FILES:
        raise ValueError(f"{folder}: IDX files have the splits train and test, got {split!r}.")
    images, labels = (folder / name for name in IDX_FILES[split_name(split)])
    missing = [each.name for each in (images, labels) if _find(each) is None]
    if missing:
        raise FileNotFoundError(
            f"file not found in {str(folder)!r}: {' and '.join(missing)} (IDX, plain or .gz)."
        )
    image, label = read_idx(images, max_bytes=max_bytes), read_idx(labels, max_bytes=max_bytes)
    _check_pair(images, labels, image, label, class_names)
    arrays = {"image": image[..., None], "label": label.astype(np.int32)}
    return ArraySource(arrays, class_names)


def _check_pair(
    images: Path,
    labels: Path,
    image: np.ndarray,
    label: np.ndarray,
    class_names: tuple[str, ...] | None,
) -> None:
    if image.ndim != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"{images}: images must be unsigned bytes of rank 3 (N, H, W), got {image.dtype} "
            f"{image.shape}. Are the image and label files swapped?"
        )
    if label.ndim != 1:
        raise ValueError(
            f"{labels}: labels must have rank 1 (N,), got {label.dtype} {label.shape}. "
            "Are the image and label files swapped?"
        )
    if len(image) != len(label):
        raise ValueError(
            f"{images} holds {len(image)} images and {labels} {len(label)} labels; expected the "
            "same number. Are both of one split, and complete?"
        )
    try:
        check_labels(label, None if class_names is None else len(class_names))
    except ValueError as error:
        raise ValueError(f"{labels}: {error}") from error


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Reads one IDX file, MNIST's format, gzip or plain.

    The content, not the name, decides whether it is gzip; if ``path`` does not exist, the same name
    with or without ``.gz`` is read. The format: two zero bytes, a type code, the rank, the sizes as
    32-bit integers, then the values; all big-endian.

    Args:
        path: of the file.
        max_bytes: limit of the values, checked before they are read or decompressed.

    Returns:
        a writable array in the machine's byte order, with the file's shape and dtype: uint8
        (MNIST), int8, int16, int32, float32 or float64.

    Raises:
        FileNotFoundError: no such file, plain or gzip.
        ValueError: the file is empty, not IDX, truncated, too long, or damaged gzip.
    """
    path = expand(path)
    found = _find(path)
    if found is None:
        raise FileNotFoundError(
            f"file not found: {path} (nor {_other_name(path).name} beside it; expected IDX, gzip "
            "or plain)."
        )
    with found.open("rb") as file:
        is_gzip = file.read(2) == _GZIP_MAGIC
    try:
        with gzip.open(found) if is_gzip else found.open("rb") as stream:
            return _read_values(found, cast(IO[bytes], stream), is_gzip, max_bytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{found}: the gzip stream is truncated or damaged ({error}); expected a complete gzip "
            f"file, got {found.stat().st_size} bytes. {_AGAIN}"
        ) from error


_AGAIN = "Download or copy it again."


def _read_values(path: Path, stream: IO[bytes], is_gzip: bool, max_bytes: int) -> np.ndarray:
    dtype, shape, start = _read_header(path, stream)
    expected = math.prod(shape) * dtype.itemsize
    declared = f"the header declares shape {shape} of {dtype.newbyteorder('=')}, {expected} bytes"
    actual = None if is_gzip else path.stat().st_size - start
    if actual is None or actual == expected:
        if expected > max_bytes:
            raise ValueError(f"{path}: {declared}, more than max_bytes {max_bytes:,}.")
        data = stream.read(expected + 1)  # one more, to see the end
        actual = len(data)
    if actual != expected:
        raise ValueError(
            f"{path}: {'truncated' if actual < expected else 'too long'}: {declared}, got "
            f"{'at least ' if is_gzip and actual > expected else ''}{actual} after the header. "
            f"{_AGAIN}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _read_header(path: Path, stream: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], int]:
    """The dtype and shape of the values, and the length of the header."""
    data = stream.read(4)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES or not 1 <= data[3] <= 32:
        got = f"the bytes {data.hex(' ')}" if data else "an empty file"
        raise ValueError(
            f"{path}: not an IDX file: expected it to begin with 00 00, a type code (one of "
            f"{', '.join(f'{code:02x}' for code in _IDX_DTYPES)}) and a rank, such as 00 00 08 03 "
            f"for images, got {got}. {_AGAIN}"
        )
    dtype, rank = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(
            f"{path}: truncated within the header: rank {rank} takes {4 + 4 * rank} bytes, got "
            f"{4 + len(sizes)}. {_AGAIN}"
        )
    return dtype, tuple(int(size) for size in np.frombuffer(sizes, ">u4")), 4 + 4 * rank


def _other_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")


def has_idx_files(directory: str | os.PathLike[str]) -> bool:
    """Returns True if a folder holds any of the four files that :func:`idx_source` reads."""
    files = [file for split in IDX_FILES.values() for file in split]
    return any(_find(Path(directory) / file) is not None for file in files)


def _find(path: Path) -> Path | None:
    """The file at a path, or the same with or without ``.gz``, or None."""
    return next((file for file in (path, _other_name(path)) if file.is_file()), None)
