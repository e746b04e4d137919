"""Images in files: one folder per class, a list of files, or a plain folder."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from jaxdl._checks import check_labels
from jaxdl._extras import require
from jaxdl._files import expand
from jaxdl.data.combine import map_source, source_to_arrays, subset
from jaxdl.data.source import (
    BaseSource,
    Example,
    Indices,
    Source,
    Spec,
    check_index,
    check_indices,
    stack_examples,
)
from jaxdl.data.sources._arrays import to_labels
from jaxdl.data.sources.decode import IMAGE_SUFFIXES, MAX_PIXELS, Mode, check_size, read_image
from jaxdl.data.sources.listing import class_folders, entries, walk
from jaxdl.data.sources.text_files import read_text


def image_source(
    path: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str] | None = "folders",
    class_names: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
    mode: Mode = "RGB",
    skip_broken: bool = False,
    max_pixels: int = MAX_PIXELS,
    apply_exif_orientation: bool = False,
) -> "ImageFiles":
    """Source of the images in a folder, decoded on access.

    Classes and files are sorted by name, folder by folder. Hidden files and folders are ignored.
    Transparent images are composited on white, except for ``"RGBA"``; 16-bit images keep the 8 most
    significant bits.

    Args:
        path: folder of one split.
        labels: ``"folders"``: one folder per class, ``path/CLASS/…/IMAGE``, numbered from 0; None:
            no labels, all images in and below the folder; or the path of a list, a text file in
            UTF-8 with an image path (from ``path``, or absolute), a tab or space, and a class index
            on each line.
        class_names: names of the classes, in order. Pass those of the training set for the others.
        size: (height, width) to which every image is resized (bilinear, antialiased), or None. A
            batch of images of different sizes is an error; crop or resize them by ``map_source``.
        mode: ``"RGB"``, ``"L"`` (gray) or ``"RGBA"``, to which every image is converted.
        skip_broken: decode every file once, with a progress bar, and skip those that cannot be
            read; they are listed in ``skipped``.
        max_pixels: limit of an image's height · width, checked before it is decoded.
        apply_exif_orientation: apply the EXIF orientation; ignored by default, as in torchvision.

    Returns:
        ``"image"`` (H, W, C) uint8, and ``"label"`` () int32 if there are labels.

    Raises:
        FileNotFoundError: no such folder or list, or no class folders.
        ValueError: no images, an empty, missing or unknown class, a file that is not an image, or a
            line of the list that is not valid. When read: a file that cannot be decoded, or images
            of two sizes in a batch. The message names the file.

    Source: ``torchvision.datasets.ImageFolder``.
    """
    folder = expand(path)
    numbers: list[int] | None = None
    if labels is None:
        files = list(_images(folder))
    elif labels == "folders":
        files, numbers, class_names = _by_class(folder, class_names)
    else:
        files, numbers = _read_list(expand(labels), folder, skip_broken)
    return ImageFiles(
        files,
        numbers,
        class_names,
        size=size,
        mode=mode,
        skip_broken=skip_broken,
        max_pixels=max_pixels,
        apply_exif_orientation=apply_exif_orientation,
    )


def has_class_folders(folder: Path) -> bool:
    """Returns True if a folder of images has one folder per class.

    Raises:
        ValueError: images beside the folders.
    """
    found = entries(folder)
    folders = [path for path in found if path.is_dir()]
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    if folders and images:
        raise ValueError(
            f"{folder} holds both images ({images[0].name}) and folders ({folders[0].name}); move "
            "the images into class folders, or pass labels=None to read all without labels."
        )
    return bool(folders)


def _by_class(
    folder: Path, class_names: Sequence[str] | None
) -> tuple[list[Path], list[int], list[str]]:
    if folder.is_dir() and not has_class_folders(folder) and any(_images(folder)):
        raise FileNotFoundError(
            f"{folder} has no class folders, only images; pass labels=None to read them without "
            "labels."
        )
    folders = class_folders(folder, class_names)
    files, numbers = [], []
    for number, (_, inside) in enumerate(folders):
        found = list(_images(inside))
        files += found
        numbers += [number] * len(found)
    return files, numbers, [name for name, _ in folders]


def _images(folder: Path) -> list[Path]:
    """Lists the images in and below a folder; raises ValueError for any other file."""
    found = list(walk(folder))
    for path in found:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(
                f"{path} is not an image file; expected one of {', '.join(IMAGE_SUFFIXES)}."
            )
    if not found:
        raise ValueError(f"{folder} holds no images.")
    return found


def _read_list(path: Path, folder: Path, skip_broken: bool) -> tuple[list[Path], list[int]]:
    files, labels = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        line = line.strip()
        if not line:
            continue
        parts = line.rsplit(None, 1) if "\t" not in line else line.rsplit("\t", 1)
        if len(parts) < 2 or not parts[1].strip().isdecimal():
            raise ValueError(
                f"{path}, line {number}: expected a path and a class index from 0, separated by a "
                f"tab or a space, got {line!r}."
            )
        file = folder / parts[0].rstrip()
        if not skip_broken and not file.is_file():
            raise ValueError(f"{path}, line {number}: file not found: {file}.")
        files.append(file)
        labels.append(int(parts[1]))
    if not files:
        raise ValueError(f"{path}: expected lines of a path and a class index, got an empty file.")
    return files, labels


class ImageFiles(BaseSource):
    """Image files, decoded on access; see :func:`image_source`.

    Args:
        paths: paths of the files.
        labels: class index of every file, or None.
        class_names, size, mode, skip_broken, max_pixels, apply_exif_orientation: see
            :func:`image_source`.

    Attributes:
        paths: paths of the files, in the order of the examples.
        labels: (N,) int32 or None.
        skipped: files that could not be read.

    Raises:
        ValueError: no files, labels out of range, or a different number of labels.
    """

    _is_stored = True

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        labels: Sequence[int] | np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        *,
        size: tuple[int, int] | None = None,
        mode: Mode = "RGB",
        skip_broken: bool = False,
        max_pixels: int = MAX_PIXELS,
        apply_exif_orientation: bool = False,
    ) -> None:
        if mode not in ("RGB", "L", "RGBA"):
            raise ValueError(f"mode must be RGB, L or RGBA, got {mode!r}.")
        check_size(size)
        if labels is not None and len(labels) != len(paths):
            raise ValueError(f"got {len(paths)} files, but {len(labels)} labels.")
        self.paths = [os.fspath(path) for path in paths]
        self.labels: np.ndarray | None = None
        if labels is not None and len(labels):
            array = np.asarray(labels)
            check_labels(array, None if class_names is None else len(class_names))
            self.labels = to_labels(array, "the image labels")
        self.class_names = None if class_names is None else tuple(class_names)
        self.size, self.mode = size, mode
        self.max_pixels, self.apply_exif_orientation = max_pixels, apply_exif_orientation
        self.skipped: list[str] = []
        if skip_broken:
            self._skip_broken()
        if not self.paths:
            raise ValueError(f"no image files ({len(self.skipped)} were skipped).")

    def _skip_broken(self) -> None:
        from tqdm import tqdm

        with ThreadPoolExecutor() as pool:
            results = pool.map(self._is_readable, self.paths)
            bar = tqdm(results, desc="checking images", total=len(self.paths), leave=False, delay=1)
            readable = np.array(list(bar), bool)
        self.skipped = [path for path, good in zip(self.paths, readable, strict=True) if not good]
        self.paths = [path for path, good in zip(self.paths, readable, strict=True) if good]
        if self.labels is not None:
            self.labels = self.labels[readable]

    def _is_readable(self, path: str) -> bool:
        try:
            self._read(path)
        except ValueError:
            return False
        return True

    def _read(self, path: str) -> np.ndarray:
        return read_image(
            path,
            self.size,
            mode=self.mode,
            max_pixels=self.max_pixels,
            apply_exif_orientation=self.apply_exif_orientation,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        number = check_index(index, len(self))
        example = {"image": self._read(self.paths[number])}
        if self.labels is not None:
            example["label"] = np.asarray(self.labels[number])
        return example

    def __getitems__(self, indices: Indices) -> Example:
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


def square_images(source: Source, size: int | None, *, num_images: int | None = None) -> np.ndarray:
    """Loads the color images of a source, cropped to squares and resized.

    Args:
        source: examples with ``"image"`` (H, W, 3) uint8, or with one array.
        size: pixels per side (bilinear, antialiased); None neither crops nor resizes.
        num_images: number of images, evenly spaced over the source; None reads all.

    Returns:
        (N, size, size, 3) uint8.

    Raises:
        ValueError: images that are not in color, or images of different shapes if ``size`` is None.

    Source: ``torchvision.transforms``' ``CenterCrop`` of the shorter side and ``Resize``.
    """
    require("PIL", "square_images")
    from PIL import Image

    def square(example: Example) -> Example:
        image = example["image"] if "image" in example else next(iter(example.values()))
        if image.ndim != 3 or image.shape[-1] != 3:
            raise ValueError(
                f"expected color images (H, W, 3), got {image.shape}; repeat a gray channel three "
                "times."
            )
        if size is None:
            return {"image": image}
        side = min(image.shape[:2])
        top, left = ((n - side) // 2 for n in image.shape[:2])
        picture = Image.fromarray(image[top : top + side, left : left + side])
        return {"image": np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))}

    length = len(source)
    count = length if num_images is None else min(num_images, length)
    chosen = np.linspace(0, length - 1, count).astype(int)
    return source_to_arrays(map_source(subset(source, chosen), square))["image"]
