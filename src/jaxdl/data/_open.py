"""Opens a data set by name or path."""

import dataclasses
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from jaxdl._files import expand
from jaxdl.data.combine import concatenate, source_to_arrays
from jaxdl.data.source import ArraySource, Dataset, Source, check_dataset
from jaxdl.data.sources._arrays import MAX_BYTES, read_npy, read_npz, tidy
from jaxdl.data.sources._table_reader import Format, read_table
from jaxdl.data.sources._tfds_build import BUILT_HERE, prepared_version, tfds_dir
from jaxdl.data.sources.array_record import ArrayRecordSource
from jaxdl.data.sources.decode import IMAGE_SUFFIXES
from jaxdl.data.sources.hdf5 import HDF5Source
from jaxdl.data.sources.image_files import has_class_folders, image_source
from jaxdl.data.sources.image_sets import (
    CLASS_NAMES,
    IDX_FILES,
    digits,
    has_idx_files,
    idx_source,
)
from jaxdl.data.sources.listing import (
    SPLITS,
    Part,
    base_is,
    class_folders,
    entries,
    join_parts,
    parse_part,
    shortlist,
    split_name,
    walk,
)
from jaxdl.data.sources.parquet import ParquetSource
from jaxdl.data.sources.tables import guess_columns, npz_source, numbers_source, text_source
from jaxdl.data.sources.text_files import TextLines
from jaxdl.data.sources.tfds import tfds_source

Options = Mapping[str, object]
"""Arguments for the reader of a format."""

SUFFIXES = (*(".csv", ".tsv", ".npz", ".npy", ".h5", ".hdf5", ".parquet", ".array_record", ".txt"),)
"""Suffixes of data files that :func:`open` reads, in lower case; CSV, TSV and IDX also as .gz."""


def open(
    name: str | os.PathLike[str],
    *,
    split: str = "train",
    data_dir: str | os.PathLike[str] | None = None,
    **options: object,
) -> Source:
    """Opens one split of a data set, by name or path, in any format.

    ====================== =========================================================================
    Name or path           Data
    ====================== =========================================================================
    ``digits``             scikit-learn's 1,797 digits, 8×8
    ``mnist``,             ``data_dir/NAME`` with IDX files or image folders; a set that TFDS has
    ``fashion_mnist``,     prepared in ``data_dir``; without ``data_dir``, TFDS's own folder, into
    ``kmnist``,            which the MNIST family is downloaded
    ``cifar10``
    a name of TFDS         a set prepared in ``data_dir``, or in TFDS's own folder
    folder                 IDX files; images as ``SPLIT/CLASS/IMAGE``, ``SPLIT/IMAGE``,
                           ``CLASS/IMAGE`` or ``IMAGE``; or one file, or numbered parts, per split:
                           ``train.csv``, ``mnist_train.csv``, ``train-00000-of-00002.parquet``
    ``.csv``, ``.tsv``     numbers, MNIST's 785 columns, or text and labels; plain or gzip
    ``.npz``, ``.npy``     NumPy arrays; ``x_train``, ``y_train`` (Keras), ``train_images``,
                           ``train_labels`` (MedMNIST), or an example's arrays under their names
    ``.h5``, ``.hdf5``     HDF5 (:class:`~jaxdl.data.sources.HDF5Source`)
    ``.parquet``           Parquet (:class:`~jaxdl.data.sources.ParquetSource`)
    ``.array_record``      array_record (:class:`~jaxdl.data.sources.ArrayRecordSource`)
    other text             its lines (:class:`~jaxdl.data.sources.TextLines`)
    ====================== =========================================================================

    Folders and files of a split may be named ``train`` or ``training``; ``test``, ``testing`` or
    ``t10k``; ``val``, ``valid``, ``validation`` or ``dev``, in upper or lower case. Hidden files,
    ``.ipynb_checkpoints``, ``__MACOSX``, ``Thumbs.db`` and the like are ignored. Classes are
    numbered as in the training split.

    Args:
        name: a name or path of the table, or what ``data_dir`` holds under this name.
        split: ``"train"``, ``"test"``, ``"val"``, or a name of the set's own. Data without splits
            is ``"train"``.
        data_dir: folder to look in for ``name``.
        **options: for the reader of the format, such as ``size=(64, 64)`` or ``skip_broken=True``
            for images (:func:`~jaxdl.data.sources.image_source`), ``label="kind"`` for CSV
            (:func:`~jaxdl.data.sources.csv_source`), ``text="review"`` for TSV.

    Returns:
        a source. In CSV and TSV the columns are found by their names (``label``, ``class``,
        ``target``, ``sentiment``, …; ``text``, ``sentence``, ``review``, …), else by content.

    Raises:
        FileNotFoundError: no such data; the message lists the names.
        ValueError: no such split (the message lists the splits), an unknown format or option, or
            what the reader finds.

    >>> open("digits", split="test")
    ArraySource: 360 examples, image (8, 8, 1) uint8, label () int32; 10 classes: 0, 1, 2, 3, 4, …
    """
    text = os.fspath(name)
    if text == "digits":
        return _digits(split, options)
    if text in CLASS_NAMES and data_dir is None:
        return _from_tfds(text, split, None, options, download=text in BUILT_HERE)
    folder = None if data_dir is None else expand(data_dir)
    inside = None if folder is None else folder / text
    prepared_here = folder is not None and prepared_version(text, folder) is not None
    candidates = [expand(text)] + ([inside] if inside and not prepared_here else [])
    for path in candidates:
        if path.is_dir():
            return _folder(path, split, options)
        if path.is_file():
            return _single_file(path, split, options)
    if prepared_here or (folder is None and prepared_version(text, tfds_dir(None))):
        return _from_tfds(text, split, folder, options)
    raise _not_found(text, folder)


def load(
    name: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    **options: object,
) -> Dataset:
    """Loads both splits of an image classification set into memory.

    Args:
        name: of the set, or a path; see :func:`open`.
        data_dir: folder to look in for ``name``. Nothing is downloaded if it is given.
        **options: for the reader of the format; ``size=(height, width)`` for image files of
            different sizes.

    Returns:
        the training and test splits (the validation split if there is no test split), checked:
        shapes, dtypes, equal lengths, labels in range.

    Raises:
        FileNotFoundError: no such data.
        ValueError: a file that cannot be read, or no image classification set.
        ConnectionError: a set has to be downloaded and the host cannot be reached.

    Source: ``torchvision.datasets.FashionMNIST(root, train)`` and the like; here both splits come
    at once, as NHWC arrays, and nothing is normalized.

    >>> load("digits")
    Dataset digits; 10 classes: 0, 1, 2, 3, 4, …
      train  1,437 examples, image (8, 8, 1) uint8, label () int32
      test   360 examples, image (8, 8, 1) uint8, label () int32
    """
    text = os.fspath(name)
    if text == "digits":
        return digits()
    train = open(name, split="train", data_dir=data_dir, **options)
    try:
        test = open(name, split="test", data_dir=data_dir, **options)
    except MissingSplit as error:
        if "val" not in error.splits:
            raise
        test = open(name, split="val", data_dir=data_dir, **options)
    arrays = [source_to_arrays(split, max_bytes=2**40, block=1000) for split in (train, test)]
    names = train.class_names
    if names is None and "label" in arrays[0]:
        names = tuple(str(number) for number in range(int(arrays[0]["label"].max()) + 1))
    title = text if text in CLASS_NAMES else Path(text).name
    return check_dataset(Dataset(title, arrays[0], arrays[1], names or ()))


class MissingSplit(ValueError):
    """A split that a data set does not have.

    Attributes:
        splits: those that it has.
    """

    def __init__(self, place: object, split: str, splits: Sequence[str]):
        self.splits = tuple(splits)
        has = f"has the splits {', '.join(splits)}" if splits else "has no splits"
        super().__init__(f"{place}: no split {split!r}; the data {has}.")


def _not_found(name: str, folder: Path | None) -> FileNotFoundError:
    here = "" if folder is None else f" in {str(folder)!r}"
    return FileNotFoundError(
        f"no data {name!r}{here}: expected one of the names {', '.join(CLASS_NAMES)}, a set "
        "prepared by TFDS, a folder (of IDX files, of images by class, or with a file per split), "
        f"or a file that ends in {', '.join(SUFFIXES)}. Pass its path, or its folder as "
        "data_dir."
    )


# One function for each kind of place


def _digits(split: str, options: Options) -> Source:
    _check_options("digits", (), options)
    dataset = digits()
    if split_name(split) not in ("train", "test"):
        raise MissingSplit("digits", split, ["train", "test"])
    arrays = dataset.train if split_name(split) == "train" else dataset.test
    return ArraySource(arrays, dataset.class_names)


def _from_tfds(
    name: str, split: str, folder: Path | None, options: Options, *, download: bool = False
) -> Source:
    if name == "cifar10" and prepared_version(name, tfds_dir(folder)) is None:
        raise FileNotFoundError(
            f"cifar10 is not prepared in {str(tfds_dir(folder))!r}. Put its images into "
            "DIR/cifar10/train/CLASS and DIR/cifar10/test/CLASS and pass data_dir=DIR, or prepare "
            'it where TensorFlow is installed: tfds.builder("cifar10", data_dir=..., '
            'file_format="array_record").download_and_prepare().'
        )
    options = {"data_dir": folder, "download": download, **options}
    return _call(tfds_source, (name, split), options)


def _folder(folder: Path, split: str, options: Options) -> Source:
    """Finds a split in a folder of IDX files, subfolders, files, or images."""
    if has_idx_files(folder):
        return _idx(folder, split, options)
    if "labels" in options:
        return _images(folder, None, options)
    folders = [path for path in entries(folder) if path.is_dir()]
    of_split = _by_split(folder, {path.name: path for path in folders}, split)
    if of_split:
        chosen = of_split.get(split_name(split))
        if chosen is None:
            raise MissingSplit(folder, split, list(of_split))
        return _split_folder(chosen, of_split.get("train"), split, options)
    groups: dict[str, list[Part]] = {}
    for path in entries(folder):
        part = parse_part(path)
        if path.is_file() and part.suffix in SUFFIXES:
            groups.setdefault(part.base, []).append(part)
    files = _by_split(folder, groups, split) or _by_last_word(groups)
    if files:
        if split_name(split) not in files:
            raise MissingSplit(folder, split, list(files))
        paths = join_parts(files[split_name(split)], folder)
        train = join_parts(files["train"], folder) if "train" in files else None
        return _read(paths, split, options, train, has_own_file=True)
    return _without_splits(folder, split, groups, options)


def _without_splits(
    folder: Path, split: str, groups: Mapping[str, list[Part]], options: Options
) -> Source:
    tables = {base: parts for base, parts in groups.items() if parts[0].suffix != ".txt"}
    images = _holds_images(folder)
    groups = tables or ({} if images else dict(groups))
    if images and groups:
        (first, *_), *_ = groups.values()
        raise ValueError(
            f"{folder} holds both images and {first.path.name}; pass the path of the file, or move "
            "it away."
        )
    if split_name(split) != "train":
        raise MissingSplit(folder, split, [])
    if images:
        return _images(folder, None, options)
    if len(groups) != 1:
        found = shortlist(part.path.name for parts in groups.values() for part in parts)
        raise FileNotFoundError(
            f"{folder} has no file for the split {split!r}; it holds {found}. Pass the path of one."
            if groups
            else f"{folder} holds neither images nor data files ({', '.join(SUFFIXES)})."
        )
    (parts,) = groups.values()
    return _read(join_parts(parts, folder), split, options)


ValueT = TypeVar("ValueT")


def _by_split(folder: Path, found: Mapping[str, ValueT], split: str) -> dict[str, ValueT]:
    """Finds the entries of a folder that are named after a split.

    Raises:
        ValueError: two names of one split.
    """
    by_split: dict[str, ValueT] = {}
    names: dict[str, str] = {}
    for name, value in found.items():
        key = split_name(name)
        if key not in (*SPLITS, split_name(split)):
            continue
        if key in by_split:
            raise ValueError(
                f"{folder} has both {names[key]!r} and {name!r} for the split {key!r}; pass the "
                "path of one."
            )
        by_split[key], names[key] = value, name
    # a folder that happens to be called like the split that is asked for is not one of several
    return by_split if by_split.keys() & set(SPLITS) else {}


def _by_last_word(groups: Mapping[str, list[Part]]) -> dict[str, list[Part]]:
    """Finds files such as ``mnist_train.csv``, if there is one per split."""
    found = {
        split: [parts for base, parts in groups.items() if base_is(base, split)] for split in SPLITS
    }
    unique = {split: several[0] for split, several in found.items() if len(several) == 1}
    return unique if all(len(several) <= 1 for several in found.values()) else {}


def _split_folder(folder: Path, train: Path | None, split: str, options: Options) -> Source:
    if _holds_images(folder):
        return _images(folder, train, options)
    parts = [parse_part(path) for path in entries(folder) if path.is_file()]
    parts = [part for part in parts if part.suffix in SUFFIXES]
    if not parts:
        raise ValueError(f"{folder} holds no images and no data files ({', '.join(SUFFIXES)}).")
    if len({part.base for part in parts}) > 1:
        raise ValueError(
            f"{folder} holds {shortlist(part.path.name for part in parts)}; pass the path of one."
        )
    return _read(join_parts(parts, folder), split, options, has_own_file=True)


def _holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in walk(folder))


def _images(folder: Path, train: Path | None, options: Options) -> Source:
    """Reads the images of a split, with the classes of the training split."""
    defaults: dict[str, object] = {}
    if "labels" not in options:
        defaults["labels"] = "folders" if has_class_folders(folder) else None
        if defaults["labels"] and train not in (None, folder) and train is not None:
            defaults["class_names"] = [name for name, _ in class_folders(train)]
    return _call(image_source, (folder,), {**defaults, **options})


def _idx(folder: Path, split: str, options: Options) -> Source:
    if split_name(split) not in IDX_FILES:
        raise MissingSplit(folder, split, list(IDX_FILES))
    names = CLASS_NAMES.get(folder.name)
    return _call(idx_source, (folder, split), {"class_names": names, **options})


def _single_file(path: Path, split: str, options: Options) -> Source:
    """Reads a file, with the classes of the training file next to it."""
    base = parse_part(path).base
    own = next((name for name in SPLITS if base_is(base, name)), None)
    if own is not None and split_name(split) not in ("train", own):
        raise MissingSplit(path, split, [own])
    train = None
    if own not in (None, "train"):
        beside = [parse_part(other) for other in entries(path.parent) if other.is_file()]
        stem = base[: len(base) - len(re.split(r"[-_. ]", base)[-1])]
        train = [
            part
            for part in beside
            if part.suffix == parse_part(path).suffix
            and part.base in {stem + word for word in SPLITS["train"]}
        ]
    return _read(
        [path],
        split,
        options,
        join_parts(train, path.parent) if train else None,
        has_own_file=own is not None,
    )


# One case for each format


def _read(
    paths: list[Path],
    split: str,
    options: Options,
    train: list[Path] | None = None,
    *,
    has_own_file: bool = False,
) -> Source:
    """Reads the files of a split as a source.

    Args:
        paths: of the files, in order.
        split: for a file with several splits.
        options: for the reader.
        train: the files of the training split, whose classes are numbered first.
        has_own_file: the files hold this split and no other.
    """
    suffix = parse_part(paths[0]).suffix
    if suffix != ".npz" and not has_own_file and split_name(split) != "train":
        raise MissingSplit(paths[0], split, [])
    match suffix:
        case ".csv" | ".tsv":
            return _table(paths, suffix, options, train)
        case ".parquet":
            return _call(ParquetSource, (paths,), options)
        case ".array_record":
            return _call(ArrayRecordSource, (paths,), options)
        case ".npz":
            found = [_npz(path, split, options, has_own_file) for path in paths]
        case ".npy":
            found = [_npy(path, options) for path in paths]
        case ".h5" | ".hdf5":
            found = [_call(HDF5Source, (path,), options) for path in paths]
        case _:
            found = [_text(path, options) for path in paths]
    return found[0] if len(found) == 1 else concatenate(*found)


_TABLE_OPTIONS = (
    *("text", "label", "image_shape", "class_names", "delimiter", "header", "max_bytes"),
)


def _table(
    paths: list[Path], suffix: str, options: Options, train: list[Path] | None
) -> ArraySource:
    _check_options(f"{suffix} files", _TABLE_OPTIONS, options)
    given = _TableOptions(**options)  # type: ignore[arg-type]
    delimiter = given.delimiter or ("\t" if suffix == ".tsv" else ",")
    texts = () if given.text is None else (given.text,)
    named = isinstance(given.text, str) or isinstance(given.label, str)
    header = True if named else given.header
    form = Format(delimiter, delimiter != "\t", header, given.max_bytes, texts)
    table = read_table(paths, form)
    class_names = given.class_names
    if class_names is None and train is not None and train != paths:
        class_names = _table(train, suffix, options, None).class_names
    text, label = given.text, given.label
    if text is None or label is None:
        guess = guess_columns(paths[0], table, text, label)
        text, label = guess.text, guess.label
    if text is not None:
        return text_source(paths[0], table, text, label, class_names)
    shape = given.image_shape
    is_mnist = table.values.shape[1] == 785 and table.values.dtype.kind in "iu"
    if is_mnist and shape is None and label in (None, 0):
        label, shape = 0, (28, 28, 1)
        class_names = class_names or tuple("0123456789")
    return numbers_source(paths[0], table, label, shape, class_names)


@dataclasses.dataclass
class _TableOptions:
    text: int | str | None = None
    label: int | str | None = None
    image_shape: tuple[int, int, int] | None = None
    class_names: Sequence[str] | None = None
    delimiter: str | None = None
    header: bool | None = None
    max_bytes: int = MAX_BYTES


def _npz(path: Path, split: str, options: Options, has_own_file: bool) -> Source:
    if options:
        return _call(npz_source, (path,), options)
    stored = read_npz(path)
    pairs: dict[str, tuple[str, str]] = {}
    for key, words in SPLITS.items():
        for word in words:
            for images, labels in (
                (f"x_{word}", f"y_{word}"),
                (f"X_{word}", f"y_{word}"),
                (f"{word}_images", f"{word}_labels"),
            ):
                if images in stored and labels in stored:
                    pairs.setdefault(key, (images, labels))
    if not pairs:
        if split_name(split) != "train" and not has_own_file:
            raise MissingSplit(path, split, [])
        return npz_source(path)
    if split_name(split) not in pairs:
        raise MissingSplit(path, split, list(pairs))
    images, labels = pairs[split_name(split)]
    label = stored[labels]
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    image = tidy("image", stored[images], f"{path}, {images!r}")
    kind = "image" if image.ndim == 4 else "input"
    label = tidy("label", label, f"{path}, {labels!r}")
    return ArraySource({kind: image if kind == "image" else stored[images], "label": label})


def _npy(path: Path, options: Options) -> Source:
    _check_options(".npy files", ("class_names",), options)
    array = read_npy(path)
    kind = "image" if array.dtype == np.uint8 and array.ndim in (3, 4) else "input"
    return ArraySource({kind: tidy(kind, array, str(path))})


def _text(path: Path, options: Options) -> Source:
    with path.open("rb") as file:
        if b"\0" in file.read(4096):
            raise ValueError(
                f"{path} is neither text nor a file that ends in {', '.join(SUFFIXES)}."
            )
    return _call(TextLines, (path,), options)


SourceT = TypeVar("SourceT", bound=Source)


def _call(
    reader: Callable[..., SourceT], arguments: tuple[object, ...], options: Options
) -> SourceT:
    """Calls a reader with the options that it accepts."""
    parameters = list(inspect.signature(reader).parameters)[len(arguments) :]
    _check_options(reader.__name__, parameters, options)
    return reader(*arguments, **options)


def _check_options(reader: str, known: Iterable[str], options: Options) -> None:
    known = list(known)
    unknown = sorted(options.keys() - set(known))
    if unknown:
        has = f"its options are {', '.join(known)}" if known else "it has none"
        raise ValueError(f"{reader} has no option {unknown[0]!r}; {has}.")
