"""Images in files: one folder a class, a list of files, or a folder of them."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl._checks import check_labels
from jaxdl.data.combine import source_to_arrays
from jaxdl.data.source import (
    BaseSource,
    Dataset,
    Example,
    Spec,
    check_dataset,
    check_index,
    check_indices,
    stack_examples,
)
from jaxdl.data.sources.text_files import read_text

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What counts as an image file; other files are an error, hidden ones are passed over."""


_CHANNELS = {"RGB": 3, "L": 1, "RGBA": 4}


class ImageFiles(BaseSource):
    """Image files, decoded when they are asked for.

    Args:
        paths: of the files.
        labels: a class index for every file, or None.
        class_names: a name for every label.
        size: (height, width) to which every image is resized (bilinear, antialiased), or None. Then
            images may differ in size; a batch of such is refused, so crop or resize them with
            ``map_source`` first.
        mode: ``"RGB"``, ``"L"`` (grey) or ``"RGBA"``; every image is converted.
        skip_broken: decode every file once now, with a progress bar, and leave out those that
            cannot be read; ``skipped`` has them.

    Attributes:
        paths: of the files, in the order of the examples.
        labels: (N,) int32 or None.
        skipped: the files that were left out.

    Raises:
        ValueError: no files; labels of another number or out of range. When read: a file that is
            damaged or no image, images of two sizes in a batch; the message names the files.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        labels: Sequence[int] | np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        *,
        size: tuple[int, int] | None = None,
        mode: str = "RGB",
        skip_broken: bool = False,
    ) -> None:
        if mode not in _CHANNELS:
            raise ValueError(f"mode must be one of {', '.join(_CHANNELS)}, got {mode!r}.")
        _check_size(size)
        if labels is not None and len(labels) != len(paths):
            raise ValueError(f"there are {len(paths)} files and {len(labels)} labels.")
        self.paths = [os.fspath(path) for path in paths]
        self.labels = None if labels is None else np.asarray(labels, np.int32)
        self.class_names = None if class_names is None else tuple(class_names)
        self.size, self.mode = size, mode
        self.skipped: list[str] = []
        if self.labels is not None and len(self.labels):
            check_labels(self.labels, None if class_names is None else len(class_names))
        if skip_broken:
            self._skip_broken()
        if not self.paths:
            raise ValueError(f"there are no image files ({len(self.skipped)} were skipped).")

    def _skip_broken(self) -> None:
        from tqdm import tqdm

        with ThreadPoolExecutor() as pool:
            readable = list(
                tqdm(
                    pool.map(_is_readable, self.paths),
                    desc="checking images",
                    total=len(self.paths),
                    leave=False,
                    delay=1,
                )
            )
        self.skipped = [path for path, good in zip(self.paths, readable, strict=True) if not good]
        self.paths = [path for path, good in zip(self.paths, readable, strict=True) if good]
        if self.labels is not None:
            self.labels = self.labels[np.array(readable, bool)]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        number = check_index(index, len(self))
        example = {"image": read_image(self.paths[number], self.size, mode=self.mode)}
        if self.labels is not None:
            example["label"] = np.asarray(self.labels[number])
        return example

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Example:
        numbers = check_indices(indices, len(self))
        examples = self.examples(numbers)
        shape = self.spec["image"].shape
        for number, example in zip(numbers, examples, strict=True):
            height, width, _ = example["image"].shape
            if (height, width) != shape[:2]:
                raise ValueError(
                    f"{self.paths[number]} is {height}x{width} pixels, {self.paths[0]} "
                    f"{shape[0]}x{shape[1]}; pass size=(height, width) to resize them all."
                )
        return stack_examples(examples, numbers, self.spec)

    @property
    def spec(self) -> Spec:
        if self._spec is None:
            shape = self[0]["image"].shape
            self._spec = {"image": jax.ShapeDtypeStruct(shape, np.dtype(np.uint8))}
            if self.labels is not None:
                self._spec["label"] = jax.ShapeDtypeStruct((), np.dtype(np.int32))
        return self._spec


def image_source(
    directory: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
    mode: str = "RGB",
    skip_broken: bool = False,
) -> ImageFiles:
    """A source of the images in ``directory/CLASS/IMAGE``, or in ``directory/IMAGE``.

    Classes and files are sorted by name; classes are numbered from 0. A folder without folders is a
    set without labels, such as CelebA's faces.

    Args:
        directory: of one split.
        class_names: the names of the folders, where the numbering of another split shall hold.
        size, mode, skip_broken: see :class:`ImageFiles`.

    Returns:
        ``"image"`` (H, W, C) uint8, and ``"label"`` () int32 where there are classes.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: an empty, missing or unknown class folder, or a file that is no image file. The
            message names it.

    Source: ``torchvision.datasets.ImageFolder``.
    """
    directory = Path(directory).expanduser()
    if not directory.is_dir():
        raise FileNotFoundError(
            f"there is no folder {directory}; expected one folder a class in it, with images."
        )
    folders = sorted(path.name for path in directory.iterdir() if path.is_dir())
    if not folders and class_names is None:
        paths = list(_files(directory))
        if not paths:
            raise ValueError(f"{directory} holds neither folders of images nor images.")
        return ImageFiles(paths, size=size, mode=mode, skip_broken=skip_broken)
    names = folders if class_names is None else list(class_names)
    unknown = sorted(set(folders) - set(names))
    if unknown:
        raise ValueError(
            f"{directory} has the class {unknown[0]!r}, which is none of the {len(names)} class "
            f"names {', '.join(names[:10])}{', …' if len(names) > 10 else ''}."
        )
    paths, labels = [], []
    for label, name in enumerate(names):
        if not (directory / name).is_dir():
            raise ValueError(f"{directory} lacks the class {name!r}, which the other split has.")
        found = list(_files(directory / name))
        if not found:
            raise ValueError(f"{directory / name} holds no images: an empty class.")
        paths += found
        labels += [label] * len(found)
    return ImageFiles(paths, labels, names, size=size, mode=mode, skip_broken=skip_broken)


def image_list(
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    class_names: Sequence[str] | None = None,
    *,
    size: tuple[int, int] | None = None,
    mode: str = "RGB",
    skip_broken: bool = False,
) -> ImageFiles:
    """A source of the images named in a text file, in every line a path and a class index.

    The last tab or run of spaces separates them, so a path may hold spaces. Blank lines are
    skipped. The order is that of the file; shuffle in the loader.

    Args:
        path: of the list, in UTF-8.
        root: folder that relative paths start from; the list's own by default.
        class_names: a name for every label.
        size, mode, skip_broken: see :class:`ImageFiles`.

    Raises:
        FileNotFoundError: there is no such list.
        ValueError: no lines, a line without a class index, or a file that is not there. The message
            names the line.
    """
    path = Path(path).expanduser()
    folder = path.parent if root is None else Path(root).expanduser()
    paths, labels = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        parts = line.strip().rsplit(None, 1) if "\t" not in line else line.strip().rsplit("\t", 1)
        if len(parts) < 2 or not parts[1].strip().isdecimal():
            raise ValueError(
                f"{path}, line {number}: expected a path and a class index from 0, separated by a "
                f"tab or a space, got {line.strip()!r}."
            )
        file = folder / parts[0].rstrip()
        if not skip_broken and not file.is_file():
            raise ValueError(f"{path}, line {number}: there is no file {str(file)!r}.")
        paths.append(file)
        labels.append(int(parts[1]))
    if not paths:
        raise ValueError(f"{path}: expected lines of a path and a class index, got an empty file.")
    return ImageFiles(paths, labels, class_names, size=size, mode=mode, skip_broken=skip_broken)


def image_folder(
    directory: str | os.PathLike[str],
    *,
    name: str | None = None,
    size: tuple[int, int] | None = None,
) -> Dataset:
    """Reads a classification set from ``directory/{train,test}/CLASS/IMAGE`` into arrays.

    :func:`image_source` gives one such split as a source that reads images when they are needed.

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
    arrays = [
        source_to_arrays(image_source(split, class_names, size=size), max_bytes=2**40)
        for split in (train, test)
    ]
    return check_dataset(
        Dataset(name or directory.name, arrays[0], arrays[1], class_names=tuple(class_names))
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


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"{path} is no image file; expected one of {', '.join(SUFFIXES)}.")
        yield path


def read_image(
    path: str | os.PathLike[str], size: tuple[int, int] | None = None, *, mode: str = "RGB"
) -> np.ndarray:
    """An image file as an array.

    Args:
        path: of the file; any format that Pillow reads.
        size: (height, width) to resize to (bilinear, antialiased), or None.
        mode: ``"RGB"``, ``"L"`` (grey) or ``"RGBA"``, to which it is converted.

    Returns:
        (H, W, C) uint8.

    Raises:
        ValueError: the file is damaged, cut short or no image; the message names it.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = file.convert(mode)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}.") from error
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, _CHANNELS[mode])


def _check_size(size: Any) -> None:
    pair = isinstance(size, Sequence) and len(size) == 2
    if size is not None and not (pair and all(isinstance(n, int) and n > 0 for n in size)):
        raise ValueError(f"size must be (height, width) in pixels, (64, 64) say, got {size!r}.")


def _is_readable(path: str) -> bool:
    try:
        read_image(path)
    except ValueError:
        return False
    return True
