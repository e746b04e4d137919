"""TensorFlow Datasets without TensorFlow: prepared sets as sources.

TFDS reads array_record files without TensorFlow; ``_tfds_build`` prepares the MNIST family, which
TFDS cannot prepare without it.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl._extras import require
from jaxdl.data.source import Example, FileSource, Indices, as_example, check_indices
from jaxdl.data.sources._arrays import tidy_example
from jaxdl.data.sources._tfds_build import BUILT_HERE, prepare, prepared_version, quiet, tfds_dir
from jaxdl.data.sources.listing import split_name

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder


def tfds_source(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> "TFDSSource":
    """One split of a TFDS set as a source, without TensorFlow; examples are read on access.

    A set of the MNIST family that this function has prepared is in the order of the official
    files; one that TFDS has prepared holds the same examples in TFDS's shuffled order.

    Args:
        name: TFDS's name, with a configuration if there are several: ``"emnist/letters"``.
        split: TFDS's, with its slices: ``"train"``, ``"test[:100]"``, ``"train[20%:]"``; ``"val"``
            also finds ``"validation"``, and likewise.
        data_dir: TFDS's folder; ``$TFDS_DATA_DIR`` or ``~/tensorflow_datasets`` by default.
        manual_dir: folder with files that were downloaded by hand; ``data_dir/downloads/manual`` by
            default. The MNIST family takes its official files from there
            (``train-images-idx3-ubyte.gz``, …) even without ``download``.
        download: prepare a missing set, downloading files. Whether a set other than the MNIST
            family can be prepared without TensorFlow depends on its builder.

    Returns:
        the features of the set; labels int32, text of dtype object.

    Raises:
        FileNotFoundError: the set is not prepared in ``data_dir``, and ``download`` is False; no
            folder ``manual_dir``.
        ValueError: an unknown set or split, a set that TFDS cannot prepare without TensorFlow, one
            prepared in a format that needs it, or a file that is not the official one (size and
            SHA-256 are checked).
        ConnectionError: the host cannot be reached; raised within seconds. Nothing half-written is
            left behind after any error.

    Source: ``tfds.data_source``, and ``torchvision.datasets.FashionMNIST(root, download=True)``.
    """
    folder = tfds_dir(data_dir)
    version = prepared_version(name, folder)
    if version is None and name in BUILT_HERE:
        prepare(name, folder, manual_dir, download)
    elif version is None:
        if not download:
            raise FileNotFoundError(
                f"{name} is not prepared in {str(folder)!r}. Pass the data_dir where it is, or "
                "download=True to let TFDS prepare it."
            )
        _prepare_stock(name, folder, manual_dir)
    version = prepared_version(name, folder)
    if version is None:
        raise FileNotFoundError(f"TFDS has prepared nothing in {str(folder / name)!r}.")
    return TFDSSource(name, split, folder, version)


class TFDSSource(FileSource):
    """One split of a set that TFDS has prepared; see :func:`tfds_source`."""

    _is_stored = True

    def __init__(self, name: str, split: str, data_dir: Path, version: str) -> None:
        self.name, self.split = f"{name}:{version}", split
        self.data_dir = os.fspath(data_dir.absolute())
        data = self._opened()
        features = data.dataset_info.features
        names = getattr(features["label"], "names", None) if "label" in features else None
        self.class_names = None if not names else tuple(names)
        self._length = len(data)

    def _open(self) -> Any:
        require("array_record", "reading TFDS data sets")
        import tensorflow_datasets as tfds

        with quiet():
            try:
                builder = tfds.builder(self.name, data_dir=self.data_dir)
            except Exception as error:  # whatever its files of JSON hold
                raise ValueError(
                    f"{self.name} in {self.data_dir!r} cannot be read: {error}"
                ) from error
            split = _find_split(builder, self.split)
            try:
                source = builder.as_data_source(split=split)
                if len(source):  # the first image asks for OpenCV, which is not needed
                    source[0]
            except NotImplementedError as error:
                folder = Path(self.data_dir, *self.name.split(":"))
                raise ValueError(
                    f"{folder} is not prepared as array_record, the format that can be read "
                    "without TensorFlow. Pass another data_dir, or delete that folder and prepare "
                    'the set again, with file_format="array_record".'
                ) from error
            except Exception as error:
                raise ValueError(
                    f"{self.name}: cannot read the split {split!r}: {error}"
                ) from error
        return source

    def __len__(self) -> int:
        return self._length

    def examples(self, indices: Indices) -> list[Example]:
        rows = [int(row) for row in check_indices(indices, len(self))]
        try:
            elements: Sequence[Mapping[str, object]] = self._opened().__getitems__(rows)
        except Exception as error:
            raise ValueError(
                f"{self.name} in {self.data_dir!r}: one of the examples {rows[:10]} of "
                f"{self.split!r} cannot be read: {error}"
            ) from error
        return [self._tidy(row, element) for row, element in zip(rows, elements, strict=True)]

    def _tidy(self, row: int, element: Mapping[str, object]) -> Example:
        """Labels int32, images uint8, strings as text; TFDS has int64 and bytes."""
        texts = {
            name: value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            for name, value in element.items()
        }
        place = f"{self.name}, {self.split!r}, example {row}"
        return {name: tidy_example(name, value, place) for name, value in as_example(texts).items()}


def _find_split(builder: "DatasetBuilder", split: str) -> str:
    """The set's own name for a split, with its slice."""
    known = list(builder.info.splits)
    plain = re.fullmatch(r"([\w-]+)(\[.*\])?", split)
    if plain is None or plain[1] in known:
        return split
    same = [name for name in known if split_name(name) == split_name(plain[1])]
    if len(same) != 1:
        raise ValueError(f"{builder.name} has no split {plain[1]!r}; it has {', '.join(known)}.")
    return same[0] + (plain[2] or "")


def _prepare_stock(name: str, data_dir: Path, manual_dir: str | os.PathLike[str] | None) -> None:
    """Prepares a set with TFDS's own builder; many need no TensorFlow for it."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=os.fspath(data_dir), file_format="array_record")
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(
                manual_dir=None if manual_dir is None else os.fspath(manual_dir),
                try_download_gcs=False,
            )
        )
    except Exception as error:  # an unknown name, no network, no TensorFlow, a checksum
        raise ValueError(
            f"TFDS cannot prepare {name!r}: {type(error).__name__}: {error}. If the reason is "
            "TensorFlow, prepare it where TensorFlow is installed, with "
            'file_format="array_record", and copy the folder.'
        ) from error
