"""Opens a data set from a name or a path."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.source import ArraySource, Dataset, Source
from jaxdl.data.sources._tfds_build import prepared_version
from jaxdl.data.sources.array_record import ArrayRecordSource
from jaxdl.data.sources.hdf5 import HDF5Source
from jaxdl.data.sources.image_files import has_image_folders, image_folder, image_source
from jaxdl.data.sources.image_sets import (
    CLASS_NAMES,
    IDX_FILES,
    digits,
    has_idx_files,
    idx,
    read_idx,
)
from jaxdl.data.sources.parquet import ParquetSource
from jaxdl.data.sources.tables import csv_source, npz_source, read_csv, tidy
from jaxdl.data.sources.text_files import TextLines, decode_utf8, tsv_source
from jaxdl.data.sources.tfds import load_tfds, tfds_source


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads an image classification set by name.

    Args:
        name: ``"digits"``, ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"`` or ``"cifar10"``.
        data_dir: a folder that holds the set: ``data_dir/name`` with the four IDX files
            (:func:`idx`), ``data_dir/name/{train,test}/CLASS`` with images
            (:func:`image_folder`), or a set that TFDS has prepared in ``data_dir``. Nothing is
            downloaded then. ``"digits"`` ships with scikit-learn and needs no folder. Without
            ``data_dir`` the set comes through TFDS, from ``$TFDS_DATA_DIR`` or
            ``~/tensorflow_datasets``, and is downloaded the first time
            (:func:`jaxdl.data.sources.tfds.load_tfds`).

    Returns:
        the set, checked: shapes, dtypes, equal lengths, labels in range.

    Raises:
        ValueError: an unknown name, or a file that is not what it should be.
        FileNotFoundError: ``data_dir`` holds the set in neither form.
        ConnectionError: the set has to be downloaded and the host cannot be reached.

    The counterpart of ``torchvision.datasets.FashionMNIST(root, train)`` and its like; both splits
    come at once, as NHWC arrays, and nothing is normalised.

    >>> load("digits").train["image"].shape
    (1437, 8, 8, 1)
    """
    if name not in CLASS_NAMES:
        raise ValueError(f"unknown data set {name!r}; the names are: {', '.join(CLASS_NAMES)}.")
    if name == "digits":
        return digits()
    if data_dir is None:
        return load_tfds(name)
    folder = Path(data_dir).expanduser() / name
    if has_idx_files(folder):
        return idx(folder, name=name, class_names=CLASS_NAMES[name])
    if has_image_folders(folder):
        return image_folder(folder, name=name)
    if prepared_version(name, folder.parent):
        return load_tfds(name, data_dir=folder.parent, download=False)
    raise FileNotFoundError(
        f"data_dir {str(folder.parent)!r} does not hold {name!r}: expected the IDX files "
        f"{', '.join(file for files in IDX_FILES.values() for file in files)} (plain or .gz) in "
        f"{str(folder)!r}, images in {str(folder)!r}/train/CLASS, or a set prepared by TFDS in "
        f"{str(folder)!r}/VERSION. Put the files there, leave data_dir out to use TFDS's own "
        f"folder, or let jaxdl.data.sources.tfds.load_tfds({name!r}, data_dir=...) download it "
        "into this one."
    )


SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "t10k", "dev", "val", "validation", "valid"),
    "val": ("val", "validation", "valid", "dev", "test"),
}
"""What a split may be called in folders and files."""


_LABELS = ("label", "labels", "class", "target", "y", "species")


_TEXTS = ("text", "sentence", "review", "content")


def open(
    name: str | os.PathLike[str],
    *,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    skip_broken: bool = False,
) -> Source:
    """Opens one split of a set, wherever it is and whatever it is stored as.

    Args:
        name: one of the names of :func:`jaxdl.data.load`; a path; a folder or file in ``data_dir``;
            or a set that TFDS has prepared there. A folder may hold IDX files,
            ``SPLIT/CLASS/IMAGE``, ``CLASS/IMAGE``, images, or a file a split. A file may be CSV,
            TSV, npz, npy, HDF5, Parquet, array_record or text.
        split: ``"train"``, ``"test"``, ``"val"`` or a name of TFDS's.
        data_dir: where to look for ``name``.
        size: (height, width) to which image files are resized.
        skip_broken: leave out image files that cannot be read; ``skipped`` has them.

    Returns:
        a source. Of a CSV file the column called ``label`` (or ``class``, ``target``, …) holds the
        labels, and the first column of 785 is MNIST's.

    Raises:
        FileNotFoundError: nothing of that name.
        ValueError: a format that is not known, or what its reader finds.

    >>> open("digits", split="test").spec["image"].shape
    (8, 8, 1)
    """
    text = os.fspath(name)
    path = Path(text).expanduser()
    here = None if data_dir is None else Path(data_dir).expanduser() / text
    prepared = None if data_dir is None else prepared_version(text, Path(data_dir).expanduser())
    for candidate in (path, here):
        if candidate is None or (candidate is here and prepared) or not candidate.exists():
            continue
        if candidate.is_dir() and text not in ("digits",):
            return _folder(candidate, split, {"size": size, "skip_broken": skip_broken})
        if candidate.is_file():
            return _file(candidate, split)
    if text == "digits" or (text in CLASS_NAMES and data_dir is None):
        dataset = load(text)
        arrays = dataset.train if split == "train" else dataset.test
        return ArraySource(arrays, dataset.class_names)
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    if prepared_version(text, Path(data_dir or default).expanduser()):
        return tfds_source(text, split, data_dir=data_dir)
    raise FileNotFoundError(
        f"there is no data {text!r}{'' if data_dir is None else f' in {os.fspath(data_dir)!r}'}: "
        f"expected one of the names {', '.join(CLASS_NAMES)}, a set prepared by TFDS, a folder "
        "(of IDX files, of images by class, or with a file a split), or a file that ends in "
        f"{', '.join(_READERS)} or .txt. Give its path, or the folder that holds it as data_dir."
    )


def _folder(folder: Path, split: str, options: dict[str, Any]) -> Source:
    aliases = SPLITS.get(split, (split,))
    for alias in aliases:
        images, labels = IDX_FILES.get(
            {"t10k": "test"}.get(alias, alias), (f"{alias}-images", f"{alias}-labels")
        )
        if (folder / images).is_file() or (folder / f"{images}.gz").is_file():
            return ArraySource(
                {
                    "image": tidy("image", read_idx(folder / images)),
                    "label": tidy("label", read_idx(folder / labels)),
                },
                CLASS_NAMES.get(folder.name),
            )
    for alias in aliases:
        if (folder / alias).is_dir():
            train = folder / "train"
            names = None
            if train.is_dir() and alias != "train":
                names = sorted(path.name for path in train.iterdir() if path.is_dir()) or None
            return image_source(folder / alias, names, **options)
    for alias in aliases:
        for path in sorted(folder.glob(f"{alias}*")):
            if path.is_file() and (path.suffix in _READERS or path.suffix == ".txt"):
                return _file(path, split)
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _READERS]
    if len(files) == 1:
        return _file(files[0], split)
    if files:
        raise FileNotFoundError(
            f"{folder} has no file for the split {split!r}; it holds "
            f"{', '.join(path.name for path in files[:10])}. Give the path of one."
        )
    return image_source(folder, **options)


def _file(path: Path, split: str) -> Source:
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return _READERS.get(suffix.lower(), _text)(path, split)


def _text(path: Path, split: str) -> Source:
    with path.open("rb") as file:
        if b"\0" in file.read(4096):
            raise ValueError(
                f"{path} is neither text nor a file that ends in {', '.join(_READERS)}."
            )
    return TextLines(path)


def _csv(path: Path, split: str) -> Source:
    names, values = read_csv(path)
    if values.shape[1] == 785 and values.dtype.kind in "iu":
        return csv_source(path, image_shape=(28, 28, 1), class_names=tuple("0123456789"))
    label = next((name for name in names or () if name.lower() in _LABELS), None)
    return csv_source(path, label=label)


def _tsv(path: Path, split: str) -> Source:
    with path.open("rb") as file:
        line = file.readline()
        following = file.readline()
    first = decode_utf8(line, path).rstrip("\r\n").split("\t")
    text = next((name for name in first if name.lower() in _TEXTS), None)
    if text is not None:
        label = next((name for name in first if name.lower() in _LABELS), None)
        return tsv_source(path, text=text, label=label)
    columns = min(len(first), following.count(b"\t") + 1 if following else len(first))
    return tsv_source(path, text=0, label=1 if columns == 2 else None)


def _npz(path: Path, split: str) -> Source:
    with np.load(path) as archive:
        keys = list(archive.files)
    for alias in SPLITS.get(split, (split,)):
        for images, labels in (
            (f"x_{alias}", f"y_{alias}"),
            (f"X_{alias}", f"y_{alias}"),
            (f"{alias}_images", f"{alias}_labels"),
        ):
            if images in keys and labels in keys:
                arrays = npz_source(path, {images: "image", labels: "label"}).arrays
                label = arrays["label"]
                if label.ndim == 2 and label.shape[1] == 1:
                    label = tidy("label", label[:, 0])
                kind = "image" if arrays["image"].ndim == 4 else "input"
                return ArraySource({kind: arrays["image"], "label": label})
    return npz_source(path)


def _npy(path: Path, split: str) -> Source:
    array = np.load(path, mmap_mode="r")
    kind = "image" if array.dtype == np.uint8 and array.ndim in (3, 4) else "input"
    return ArraySource({kind: tidy(kind, array)})


_READERS = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".npz": _npz,
    ".npy": _npy,
    ".h5": lambda path, split: HDF5Source(path),
    ".hdf5": lambda path, split: HDF5Source(path),
    ".parquet": lambda path, split: ParquetSource(path),
    ".array_record": lambda path, split: ArrayRecordSource(path),
}
