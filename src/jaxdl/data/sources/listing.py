"""Folders of data: visible entries, class folders, splits and numbered parts."""

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

HIDDEN = (
    "$recycle.bin",
    "@eadir",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "lost+found",
    "system volume information",
    "thumbs.db",
)
"""Names, in lower case, that desktops and archives leave behind; never data, as are dot files."""


SPLITS = {
    "train": ("train", "training"),
    "test": ("test", "testing", "t10k"),
    "val": ("val", "valid", "validation", "dev"),
}
"""Words for each split in the names of folders, files and arrays, in lower case."""


def is_hidden(name: str) -> bool:
    """Returns True for the name of a file or folder that is never data.

    >>> is_hidden(".ipynb_checkpoints"), is_hidden("Thumbs.db"), is_hidden("cat")
    (True, True, False)
    """
    return name.startswith(".") or name.strip().lower() in HIDDEN


def entries(folder: Path) -> list[Path]:
    """The visible files and folders in a folder, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder not found: {folder}.")
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name))


def walk(folder: Path) -> Iterator[Path]:
    """The visible files in a folder and all folders below it, sorted folder by folder.

    A folder that a link leads back to is read once.
    """
    seen = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        found = entries(here)
        yield from (path for path in found if path.is_file())
        pending += reversed([path for path in found if path.is_dir()])


def class_folders(folder: Path, class_names: Sequence[str] | None = None) -> list[tuple[str, Path]]:
    """The folders of the classes in ``folder/CLASS``, in the order of the labels.

    Args:
        folder: of one split.
        class_names: names of all classes, in order; sorted by name if None.

    Raises:
        FileNotFoundError: no such folder, or no folders in it.
        ValueError: an unknown class, or a class without a folder.
    """
    found = [path.name for path in entries(folder) if path.is_dir()]
    if not found:
        raise FileNotFoundError(f"{folder} has no class folders; expected {folder}/CLASS.")
    names = found if class_names is None else list(class_names)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{folder} has the class {unknown[0]!r}, which is not one of the {len(names)} class "
            f"names {shortlist(names)}."
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{folder} lacks the class {missing[0]!r}, which the other split has.")
    return [(name, folder / name) for name in names]


def shortlist(names: Iterable[object], limit: int = 10) -> str:
    """The first names of a list, for messages."""
    listed = [str(name) for name in names]
    return ", ".join([*listed[:limit], *(["…"] if len(listed) > limit else [])])


def split_name(word: str) -> str:
    """The split that a word stands for: ``"train"``, ``"test"``, ``"val"``, or the word itself.

    >>> split_name("Testing"), split_name("dev"), split_name("extra")
    ('test', 'val', 'extra')
    """
    word = word.lower()
    return next((split for split, words in SPLITS.items() if word in words), word)


def words_of(split: str) -> tuple[str, ...]:
    """All words for a split, in lower case.

    >>> words_of("dev")
    ('val', 'valid', 'validation', 'dev')
    """
    return SPLITS.get(split_name(split), (split.lower(),))


_NUMBERED = re.compile(r"^(?P<base>.*?)[-_. (]*?(?P<number>\d+)(?:-of-(?P<total>\d+))?\)?$")


@dataclasses.dataclass(frozen=True)
class Part:
    """A data file, as its name says.

    Attributes:
        path: of the file.
        base: name without number and suffix, in lower case.
        suffix: of its format, in lower case and without ``.gz``.
        number: of the part, or None.
        total: number of parts, or None.
    """

    path: Path
    base: str
    suffix: str
    number: int | None = None
    total: int | None = None


def parse_part(path: Path) -> Part:
    """Reads split, number and format from the name of a file.

    >>> part = parse_part(Path("train-00001-of-00002.parquet"))
    >>> part.base, part.suffix, part.number, part.total
    ('train', '.parquet', 1, 2)
    >>> parse_part(Path("train-notes.csv.gz")).base
    'train-notes'
    """
    name = path.name.lower()
    name = name.removesuffix(".gz")
    sharded = re.match(r"^(.*?)(\.\w+)-(\d+)-of-(\d+)$", name)  # as TFDS writes them
    if sharded:
        base, suffix, number, total = sharded.groups()
        return Part(path, base, suffix, int(number), int(total))
    stem, dot, suffix = name.rpartition(".")
    stem, suffix = (stem, dot + suffix) if stem else (name, "")
    stem = re.sub(r"(-of-\d+)-[0-9a-f]{16}$", r"\1", stem)  # a fingerprint of Hugging Face
    numbered = _NUMBERED.match(stem)
    if numbered is None:
        return Part(path, stem, suffix)
    base, number, total = numbered.groups()
    if total is None and not any(base_is(base, split) for split in SPLITS):
        return Part(path, stem, suffix)  # a name such as cifar10.csv
    return Part(path, base, suffix, int(number), None if total is None else int(total))


def base_is(base: str, split: str, *, exact: bool = False) -> bool:
    """Returns True if a file's base names a split: ``train``, or, if not exact, ``mnist_train``.

    >>> base_is("train-notes", "train"), base_is("mnist_train", "train"), base_is("dev", "val")
    (False, True, True)
    """
    words = words_of(split)
    return base in words or (not exact and re.split(r"[-_. ]", base)[-1] in words)


def join_parts(parts: Sequence[Part], folder: Path) -> list[Path]:
    """The files of one split in the order of their numbers.

    Args:
        parts: files of the same base.
        folder: for the message.

    Raises:
        ValueError: files of several formats, a missing or repeated part, or a file without a number
            beside numbered ones.
    """
    listed = f"{folder}: {shortlist(part.path.name for part in parts)}"
    if len({part.suffix for part in parts}) > 1 or len({part.total for part in parts}) > 1:
        raise ValueError(f"{listed} are several versions of one split; pass the path of one.")
    if len(parts) == 1 and parts[0].number is None:
        return [parts[0].path]
    numbers = [part.number for part in parts]
    if None in numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"{listed} are not the parts of one split; pass the path of one.")
    ordered = sorted(parts, key=lambda part: part.number or 0)
    first = ordered[0].number
    total = ordered[0].total
    expected = range(total) if total is not None else range(first or 0, (first or 0) + len(parts))
    if [part.number for part in ordered] != list(expected) or first not in (0, 1):
        raise ValueError(
            f"{listed} are not all parts of one split (numbered from 0 or 1 without a gap"
            f"{'' if total is None else f', {total} in all'}); add the missing ones, or pass the "
            "path of one."
        )
    return [part.path for part in ordered]
