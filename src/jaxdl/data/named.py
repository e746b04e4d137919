"""Data sets by name, from wherever they are."""

import os
from pathlib import Path

from jaxdl.data.folders import has_image_folders, image_folder
from jaxdl.data.image_sets import CLASS_NAMES, IDX_FILES, Dataset, digits, has_idx_files, idx
from jaxdl.data.tfds import load_tfds
from jaxdl.data.tfds_build import prepared_version


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
            (:func:`jaxdl.data.load_tfds`).

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
        f"folder, or let jaxdl.data.load_tfds({name!r}, data_dir=...) download it into this one."
    )
