"""TensorFlow Datasets without TensorFlow: the MNIST family as arrays, prepared sets as sources.

TFDS reads array_record files without TensorFlow; ``_tfds_build`` builds those sets that TFDS cannot
build without it.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl.data.combine import source_to_arrays
from jaxdl.data.source import Dataset, Example, FileSource, as_example, check_dataset, check_indices
from jaxdl.data.sources._tfds_build import BUILT_HERE, prepare, prepared_version, quiet
from jaxdl.data.sources.image_sets import CLASS_NAMES

_NAMES = (*BUILT_HERE, "cifar10")


def load_tfds(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    download: bool = True,
) -> Dataset:
    """Loads a set through TFDS; one of the MNIST family is prepared first where it is not there.

    Args:
        name: ``"mnist"``, ``"fashion_mnist"`` or ``"kmnist"``; or ``"cifar10"``, which is read
            where TFDS has prepared it as array_record.
        data_dir: TFDS's folder; without it ``$TFDS_DATA_DIR``, else ``~/tensorflow_datasets``.
        manual_dir: folder with the official files under their plain names
            (``train-images-idx3-ubyte.gz``, …); what lies there is not downloaded. Without it
            ``data_dir/downloads/manual``, as in TFDS.
        download: whether files may be fetched from the network.

    Returns:
        images (N, H, W, C) uint8, labels (N,) int32. A set that this function has prepared is
        in the order of the official files; one that TFDS has prepared holds the same examples in
        TFDS's shuffled order.

    Raises:
        ValueError: another name; a file that is not the official one (size and SHA-256 are
            checked); a set that TFDS has prepared as tfrecord, which needs TensorFlow.
        FileNotFoundError: ``manual_dir`` is no folder, or the set is not prepared and ``download``
            is False.
        ConnectionError: files have to be fetched and the host does not answer; raised within
            seconds. Nothing half-written stays behind after any error.

    Source: ``tfds.data_source``; https://www.tensorflow.org/datasets/catalog/fashion_mnist. The
    counterpart of ``torchvision.datasets.FashionMNIST(root, download=True)``.
    """
    if name not in _NAMES:
        raise ValueError(
            f"load_tfds knows {', '.join(_NAMES)}, got {name!r}. Other sets: prepare them with "
            "TFDS and read them with tfds.data_source."
        )
    folder = _folder(data_dir)
    if name not in BUILT_HERE and prepared_version(name, folder) is None:
        raise FileNotFoundError(
            f"{name} is not prepared in {str(folder)!r}, and jaxdl cannot prepare it. Put its "
            f"images into DIR/{name}/train/CLASS and DIR/{name}/test/CLASS and pass "
            "data_dir=DIR to jaxdl.data.load (--data_dir DIR), or prepare it where TensorFlow "
            f'is installed: tfds.builder("{name}", data_dir=..., file_format="array_record")'
            ".download_and_prepare()."
        )
    where: dict[str, Any] = {"data_dir": folder, "manual_dir": manual_dir, "download": download}
    train, test = (
        source_to_arrays(tfds_source(name, split, **where), block=1000)
        for split in ("train", "test")
    )
    return check_dataset(Dataset(name, train, test, CLASS_NAMES[name]))


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    default = os.environ.get("TFDS_DATA_DIR") or Path("~", "tensorflow_datasets")
    return Path(data_dir or default).expanduser()


class TFDSSource(FileSource):
    """One split of a set that TFDS has prepared; see :func:`tfds_source`."""

    def __init__(self, name: str, split: str, data_dir: Path, version: str) -> None:
        self.name, self.split = f"{name}:{version}", split
        self.data_dir = os.fspath(data_dir.absolute())
        features = self._opened().dataset_info.features
        names = getattr(features["label"], "names", None) if "label" in features else None
        self.class_names = None if not names else tuple(names)
        self._length = len(self._opened())

    def _open(self) -> Any:
        import tensorflow_datasets as tfds

        try:
            with quiet():
                builder = tfds.builder(self.name, data_dir=self.data_dir)
                source = builder.as_data_source(split=self.split)
                if len(source):  # the first image asks for OpenCV, which is not needed
                    source[0]
        except NotImplementedError as error:
            folder = Path(self.data_dir, *self.name.split(":"))
            raise ValueError(
                f"{folder} is not prepared as array_record, the format that can be read "
                "without TensorFlow. Pass another data_dir, or delete that folder and prepare "
                'the set again, with file_format="array_record".'
            ) from error
        return source

    def __len__(self) -> int:
        return self._length

    def examples(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
        rows = [int(row) for row in check_indices(indices, len(self))]
        return [as_example(_tidy(element)) for element in self._opened().__getitems__(rows)]


def _tidy(element: dict[str, Any]) -> dict[str, Any]:
    """Labels int32, strings as text; TFDS has int64 and bytes."""
    tidied = {}
    for name, value in element.items():
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        tidied[name] = np.int32(value) if name == "label" and np.ndim(value) == 0 else value
    return tidied


def tfds_source(
    name: str,
    split: str = "train",
    *,
    data_dir: str | os.PathLike[str] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
) -> TFDSSource:
    """A split of any TFDS set as a source, without TensorFlow; examples are read when needed.

    Args:
        name: TFDS's, with a configuration where it has several: ``"emnist/letters"``.
        split: TFDS's, with its slices: ``"train"``, ``"test[:100]"``, ``"train[20%:]"``.
        data_dir: TFDS's folder; without it ``$TFDS_DATA_DIR``, else ``~/tensorflow_datasets``.
        manual_dir: folder with files that were downloaded by hand.
        download: prepare the set where it is not there, downloading what is missing. The MNIST
            family is built without TensorFlow, as in :func:`load_tfds`, from ``manual_dir`` also
            where ``download`` is False; whether another set can be is up to its builder.

    Returns:
        the features of the set; labels int32, text of dtype object.

    Raises:
        FileNotFoundError: the set is not prepared in ``data_dir`` and may not be.
        ValueError: TFDS does not know it, cannot build it without TensorFlow, or it is prepared in
            a format that needs TensorFlow; an unknown split.
    """
    folder = _folder(data_dir)
    version = prepared_version(name, folder)
    if version is None and name in BUILT_HERE:
        prepare(name, folder, manual_dir, download)
    elif version is None:
        if not download:
            raise FileNotFoundError(
                f"{name} is not prepared in {str(folder)!r}. Pass download=True to let TFDS "
                "prepare it, or the data_dir where it is."
            )
        _prepare_stock(name, folder, manual_dir)
    version = prepared_version(name, folder)
    if version is None:
        raise FileNotFoundError(f"TFDS has prepared nothing in {str(folder / name)!r}.")
    try:
        return TFDSSource(name, split, folder, version)
    except (KeyError, AssertionError) as error:
        raise ValueError(f"{name}: cannot read the split {split!r}: {error}") from error


def _prepare_stock(name: str, data_dir: Path, manual_dir: str | os.PathLike[str] | None) -> None:
    """Lets TFDS's own builder prepare a set; many need no TensorFlow for it."""
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
            f"TFDS cannot prepare {name!r}: {type(error).__name__}: {error}. Where the reason is "
            "TensorFlow, prepare it where TensorFlow is installed, with "
            'file_format="array_record", and copy the folder.'
        ) from error
