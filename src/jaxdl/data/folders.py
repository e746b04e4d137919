"""Images in folders, one folder a class, as arrays."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxdl.data.sources import Dataset, check_dataset

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as an image file; other files are an error, hidden ones are passed over."""


def image_folder(
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    size: tuple[int, int] | None = None,
) -> Dataset:
    """Reads a classification set from ``directory/{train,test}/CLASS/IMAGE``.

    Classes and files are sorted by name; the classes of ``train`` are numbered from 0.

    Args:
        directory: holds the folders ``train`` and ``test`` (or ``val``), each with one folder a
            class.
        name: what to call the set; the folder's own name by default.
        size: (height, width) to which every image is resized (bilinear, antialiased); None asks
            for images of one size.

    Returns:
        images (N, H, W, 3) uint8, labels (N,) int32.

    Raises:
        FileNotFoundError: no such folder, or no images in it.
        ValueError: a file that is no image, an empty or unknown class, or images of several sizes.
            The message names the file or folder.

    Source: ``torchvision.datasets.ImageFolder`` with the images loaded and in RGB.
    """
    directory = Path(directory).expanduser()
    train, test = directory / "train", _first(directory / "test", directory / "val")
    class_names = _folders(train)
    unknown = set(_folders(test)) - set(class_names)
    if unknown:
        raise ValueError(f"{test} has the class {sorted(unknown)[0]!r}, which {train} has not.")
    return check_dataset(
        Dataset(
            name or directory.name,
            train=_read_split(train, class_names, size),
            test=_read_split(test, class_names, size),
            class_names=tuple(class_names),
        )
    )


def has_image_folders(directory: Path) -> bool:
    """Whether a folder looks like one for :func:`image_folder`."""
    return (directory / "train").is_dir()


def _first(*paths: Path) -> Path:
    return next((path for path in paths if path.is_dir()), paths[0])


def _folders(split: Path) -> list[str]:
    if not split.is_dir():
        raise FileNotFoundError(
            f"there is no folder {split}; expected one folder a class in it, with images."
        )
    names = sorted(path.name for path in split.iterdir() if path.is_dir())
    if not names:
        raise FileNotFoundError(f"{split} holds no folders; expected one a class, with images.")
    return names


def _read_split(
    split: Path, class_names: list[str], size: tuple[int, int] | None
) -> dict[str, np.ndarray]:
    images, labels, first = [], [], None
    for label, class_name in enumerate(class_names):
        if not (split / class_name).is_dir():
            raise ValueError(f"{split} lacks the class {class_name!r}, which the other split has.")
        paths = list(_files(split / class_name))
        if not paths:
            raise ValueError(f"{split / class_name} holds no images: an empty class.")
        for path in paths:
            image = read_image(path, size)
            first = first or (path, image.shape)
            if image.shape != first[1]:
                raise ValueError(
                    f"{path} is {image.shape[0]}x{image.shape[1]} pixels, {first[0]} "
                    f"{first[1][0]}x{first[1][1]}; pass size=(height, width) to resize them all."
                )
            images.append(image)
        labels += [label] * len(paths)
    return {"image": np.stack(images), "label": np.array(labels, np.int32)}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} is no image file; expected one of {', '.join(SUFFIXES)}.")
        yield path


def read_image(path: str | os.PathLike[str], size: tuple[int, int] | None = None) -> np.ndarray:
    """An image file as an RGB array.

    Args:
        path: of the file; any format that Pillow reads.
        size: (height, width) to resize to, or None.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the file is damaged or no image; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from error
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
