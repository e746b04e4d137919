"""Image classification sets in memory: IDX files and scikit-learn's digits."""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from jaxdl._checks import check_labels
from jaxdl.data.source import Dataset, check_dataset

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
"""The names that :func:`jaxdl.data.load` knows, and their classes in the order of the labels."""


IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each split under MNIST's file names, without ``.gz``."""


# The type code in an IDX header, its third byte; everything in a file is big-endian.
_IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


_GZIP_MAGIC = b"\x1f\x8b"


def digits() -> Dataset:
    """The 1,797 handwritten digits, 8×8 grey, that ship inside scikit-learn.

    Values 0 to 16 become round(v · 255 / 16), uint8. The split is fixed and stratified, without a
    random number: of the examples sorted by class (in their own order within a class) every
    fifth, from the first, is a test example. That makes 1,437 for training and 360 for testing;
    both splits keep scikit-learn's order.

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


def idx(directory: str | os.PathLike[str], *, name: str, class_names: tuple[str, ...]) -> Dataset:
    """Reads a set from four IDX files under MNIST's names.

    Args:
        directory: folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``,
            ``t10k-images-idx3-ubyte`` and ``t10k-labels-idx1-ubyte``, each plain or with ``.gz``.
        name: what to call the set.
        class_names: a name for every label; their number is the number of classes.

    Returns:
        images (N, H, W, 1) uint8, labels (N,) int32.

    Raises:
        FileNotFoundError: files are missing; the message lists them.
        ValueError: a file is damaged, of the wrong rank or type, holds a label out of range, or
            the files of a split differ in length. The message names the file.

    The counterpart of ``torchvision.datasets.MNIST``, which reads the same files.
    """
    directory = Path(directory).expanduser()
    wanted = [directory / file for files in IDX_FILES.values() for file in files]
    missing = [path.name for path in wanted if _find(path) is None]
    if missing:
        raise FileNotFoundError(
            f"{name}: {len(missing)} of 4 IDX files are missing in {str(directory)!r}: "
            f"{', '.join(missing)}; each may be plain or end in .gz. Put them there, or pass the "
            "folder that holds them."
        )
    train, test = (
        _read_split(directory / images, directory / labels, len(class_names))
        for images, labels in IDX_FILES.values()
    )
    return check_dataset(Dataset(name, train, test, tuple(class_names)))


def _read_split(images: Path, labels: Path, num_classes: int) -> dict[str, np.ndarray]:
    image, label = read_idx(images), read_idx(labels)
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
            f"{images} holds {len(image)} images and {labels} {len(label)} labels; they must be "
            "equally many. Are both of one split, and complete?"
        )
    try:
        check_labels(label, num_classes)
    except ValueError as error:
        raise ValueError(f"{labels}: {error}") from error
    return {"image": image[..., None], "label": label.astype(np.int32)}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads one IDX file, MNIST's format, gzip or plain.

    The content decides whether it is gzip, not the name; where ``path`` does not exist, the same
    name with or without ``.gz`` is taken. The format: two zero bytes, a type code, the rank, the
    sizes as 32-bit integers, then the values; all big-endian.

    Args:
        path: the file.

    Returns:
        a writable array in the machine's byte order, with the file's shape and dtype: uint8
        (MNIST), int8, int16, int32, float32 or float64.

    Raises:
        FileNotFoundError: there is no such file, plain or gzip.
        ValueError: the file is empty, not IDX, cut short, too long, or damaged gzip.
    """
    path = Path(path).expanduser()
    found = _find(path)
    if found is None:
        raise FileNotFoundError(
            f"there is no file {str(path)!r} (nor {_other_name(path).name!r} beside it); expected "
            "an IDX file, gzip or plain. Check the folder, or download the file."
        )
    data = _gunzip(found)
    again = "Download or copy it again."
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_DTYPES or not 1 <= data[3] <= 32:
        what = f"the bytes {data[:4].hex(' ')}" if data else "an empty file"
        raise ValueError(
            f"{found}: not an IDX file: expected it to begin with 00 00, a type code (one of "
            f"{', '.join(f'{code:02x}' for code in _IDX_DTYPES)}) and a rank, such as 00 00 08 03 "
            f"for images, got {what}. {again}"
        )
    dtype, rank = np.dtype(_IDX_DTYPES[data[2]]), data[3]
    start = 4 + 4 * rank
    if len(data) < start:
        raise ValueError(
            f"{found}: cut short within its header: rank {rank} takes {start} bytes, got "
            f"{len(data)}. {again}"
        )
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, offset=4))
    expected, actual = math.prod(shape) * dtype.itemsize, len(data) - start
    if actual != expected:
        raise ValueError(
            f"{found}: {'cut short' if actual < expected else 'too long'}: its header announces "
            f"shape {shape} of {dtype.newbyteorder('=')}, {expected} bytes, got {actual} after "
            f"the header. {again}"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _other_name(path: Path) -> Path:
    return path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")


def has_idx_files(directory: str | os.PathLike[str]) -> bool:
    """Whether a folder holds any of the four files that :func:`idx` reads."""
    files = [file for split in IDX_FILES.values() for file in split]
    return any(_find(Path(directory) / file) is not None for file in files)


def _find(path: Path) -> Path | None:
    """The file at a path, or the same with or without ``.gz``, or None."""
    return next((file for file in (path, _other_name(path)) if file.is_file()), None)


def _gunzip(path: Path) -> bytes:
    data = path.read_bytes()
    if data[:2] != _GZIP_MAGIC:
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, zlib.error, OSError) as error:
        raise ValueError(
            f"{path}: the gzip stream is cut short or damaged ({error}); expected a whole gzip "
            f"file, got {len(data)} bytes. Download or copy it again."
        ) from error
