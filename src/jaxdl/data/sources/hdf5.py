"""HDF5 files as sources, and a packer that writes one from any source or folder of images.

h5py comes with the extra ``hdf5``.
"""

import contextlib
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxdl._extras import require
from jaxdl._files import expand
from jaxdl.data.source import (
    ArraySource,
    Example,
    FileSource,
    Indices,
    Source,
    Spec,
    check_indices,
    unstack,
)
from jaxdl.data.sources._arrays import MAX_BYTES, tidy
from jaxdl.data.sources.image_files import has_class_folders, image_source
from jaxdl.data.sources.listing import shortlist

if TYPE_CHECKING:
    import h5py


class HDF5Source(FileSource):
    """Arrays of an HDF5 file, read on access.

    All data must lie in the file itself: external links, external storage and virtual data sets,
    which read other files, are refused.

    Args:
        path: the file.
        names: in the file → in an example: ``{"img_align_celeba": "image"}``. Each is a data set
            (N, ...), or a group of N data sets of one shape, ordered by the numbers in their names.
            None takes every data set at the top under its own name.
        class_names: a name for every label; those that :func:`pack_hdf5` wrote by default.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an HDF5 file, data outside the file, a missing key, or arrays of different
            lengths. When read: damaged data; the message has file, key and rows.
    """

    _is_stored = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        names: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.path = os.fspath(expand(path).absolute())
        with _reading(self.path):
            file = self._opened()
            self.names = dict(names) if names is not None else {key: key for key in _arrays(file)}
            missing = [key for key in self.names if key not in file]
            if missing or not self.names:
                raise ValueError(
                    f"{self.path} has no {shortlist(map(repr, missing)) or 'data set'}; it has "
                    f"{_listing(file)}. Choose with names={{key in the file: name in an example}}."
                )
            nodes = {key: _checked(file, key) for key in self.names}
            self._members = {key: _members(node) for key, node in nodes.items()}
            sizes = {
                key: len(nodes[key]) if members is None else len(members)
                for key, members in self._members.items()
            }
            if len(set(sizes.values())) > 1:
                raise ValueError(
                    f"{self.path}: arrays must have one length, got {sizes}; choose with names."
                )
            self._length = next(iter(sizes.values()))
            given = _stored_names(file) if class_names is None else class_names
        self.class_names = None if given is None else tuple(given)

    def _open(self) -> "h5py.File":
        h5py = import_h5py()
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"file not found: {self.path} (expected HDF5).")
        try:
            return h5py.File(self.path, "r")
        except Exception as error:
            raise ValueError(f"{self.path} cannot be read as HDF5: {error}") from error

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, indices: Indices) -> Example:
        # h5py reads rows in increasing order, each once.
        rows, inverse = np.unique(check_indices(indices, len(self)), return_inverse=True)
        return {
            name: _native(name, self._read(key, rows), f"{self.path}, {key!r}")[inverse]
            for key, name in self.names.items()
        }

    def _read(self, key: str, rows: np.ndarray) -> np.ndarray:
        place = f"{self.path}, {key!r}"
        if len(rows):
            place += f", row {rows[0]}" + (f" to {rows[-1]}" if len(rows) > 1 else "")
        with _reading(place):
            node, members = self._opened()[key], self._members[key]
            if members is None:
                contiguous = len(rows) and rows[-1] - rows[0] == len(rows) - 1
                return np.asarray(node[rows[0] : rows[-1] + 1] if contiguous else node[rows])
            arrays = [np.asarray(_checked(node, members[row])[()]) for row in rows]
            if not arrays:
                first = _checked(node, members[0])
                return np.zeros((0, *first.shape), first.dtype)
        for row, array in zip(rows, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"{self.path}: {key}/{members[row]} has shape {array.shape}, "
                    f"{key}/{members[rows[0]]} {arrays[0].shape}; they cannot be stacked."
                )
        return np.stack(arrays)

    def examples(self, indices: Indices) -> list[Example]:
        return unstack(self.__getitems__(indices))

    @property
    def labels(self) -> np.ndarray | None:
        """Every label, (N,), or None; no image is read."""
        key = next((key for key, name in self.names.items() if name == "label"), None)
        if key is None:
            return None
        return _native("label", self._read(key, np.arange(len(self))), f"{self.path}, {key!r}")

    @property
    def spec(self) -> Spec:
        if self._spec is None:
            empty = self.__getitems__([])
            self._spec = {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in empty.items()}
        return self._spec


@contextlib.contextmanager
def _reading(place: str) -> Iterator[None]:
    """Names the place in errors of h5py, which are of many kinds."""
    try:
        yield
    except (FileNotFoundError, ImportError, IndexError):
        raise
    except ValueError as error:
        if place.partition(", ")[0] in str(error):
            raise
        raise ValueError(f"{place}: {error}") from error
    except Exception as error:
        raise ValueError(f"{place} cannot be read as HDF5: {error}") from error


def _checked(group: "h5py.Group", key: str) -> "h5py.Dataset | h5py.Group":
    """A data set or group whose data lies in this file.

    Raises:
        ValueError: an external link, external storage, a virtual data set, records, or rows that
            are too large.
    """
    h5py = import_h5py()
    path = group.file.filename
    parts = key.strip("/").split("/")
    for number in range(len(parts)):
        link = group.get("/".join(parts[: number + 1]), getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(
                f"{path}: {key!r} links to another file ({link.filename}); copy the data into one."
            )
    node = group[key]
    is_array = isinstance(node, h5py.Dataset)
    if os.path.realpath(node.file.filename) != os.path.realpath(path) or (
        is_array and (node.external or node.is_virtual)
    ):
        raise ValueError(f"{path}: the data of {key!r} lies in other files; copy it into one.")
    if is_array and node.dtype.kind == "V":
        raise ValueError(f"{path}: {key!r} holds records ({node.dtype}); store arrays of numbers.")
    if is_array and max(map(math.prod, (node.shape[1:], node.chunks or ()))) > MAX_BYTES:
        raise ValueError(f"{path}: a row or chunk of {key!r} has more than {MAX_BYTES:,} values.")
    return node


def _stored_names(file: "h5py.File") -> list[str] | None:
    stored = file.attrs.get("class_names")
    if stored is None:
        return None
    names = json.loads(stored)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{file.filename}: the attribute class_names must be a list of names.")
    return names


def _native(name: str, array: np.ndarray, place: str) -> np.ndarray:
    if array.dtype.kind == "O":  # strings, which HDF5 gives as bytes
        texts = np.empty(len(array), object)
        for row, value in enumerate(array):
            texts[row] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        return texts
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return tidy(name, array, place)


def _arrays(file: "h5py.File") -> list[str]:
    return [key for key in file if getattr(_checked(file, key), "shape", ())]


def _listing(file: "h5py.File") -> str:
    found: list[str] = []
    for key in file:
        node = _checked(file, key)
        kind = f"{node.dtype} {node.shape}" if hasattr(node, "shape") else f"{len(node)} entries"
        found.append(f"{key!r} ({kind})")
    return shortlist(found, 20) or "nothing"


def _members(node: "h5py.Dataset | h5py.Group") -> list[str] | None:
    """The names of a group's data sets, ordered by the numbers in them; None for a data set."""
    if hasattr(node, "shape"):
        if not node.shape:
            raise ValueError(f"{node.file.filename}: {node.name!r} is a single value.")
        return None

    def order(name: str) -> list[int | str]:
        parts = re.split(r"(\d+)", name)
        return [int(part) if i % 2 else part for i, part in enumerate(parts)]

    names = sorted(node, key=order)
    if not names:
        raise ValueError(f"{node.file.filename}: the group {node.name!r} is empty.")
    return names


def pack_hdf5(
    source: Source | np.ndarray | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    names: Mapping[str, str] | None = None,
    compression: int | None = 4,
    block: int = 100,
) -> Path:
    """Writes a source, or a folder of images, into one HDF5 file, with a progress bar.

    The file is written under a temporary name beside ``path`` and renamed when it is complete.
    Called again after an interruption, the packer compares the temporary file with the checksums
    written beside it, and continues after the last complete block.

    Args:
        source: examples of one shape; images (N, H, W, C); or a folder of images, in class folders
            or not (:func:`jaxdl.data.sources.image_source`).
        path: of the file; an existing one is replaced at the end.
        names: in an example → in the file; the same names by default.
        compression: gzip level, 0 to 9, or None for no compression. 9 is slow and saves little.
        block: number of examples written at a time, and, if small, compressed together.

    Returns:
        the path.

    Raises:
        ValueError: examples of different shapes, or no examples.
        OSError: another process is writing the same file.

    E.g. the faces of CelebA's tutorials, 218×178×3: ``pack_hdf5("img_align_celeba", "faces.h5",
    names={"image": "img_align_celeba"}, compression=9)``, here one data set (N, 218, 178, 3), which
    is read many times faster than the tutorials' group of N data sets.

    >>> import tempfile
    >>> examples = {"image": np.zeros((3, 8, 8, 1), np.uint8), "label": np.arange(3)}
    >>> path = pack_hdf5(ArraySource(examples), tempfile.mkdtemp() + "/digits.h5")
    >>> source = HDF5Source(path)
    >>> len(source), source[2]["image"].shape, int(source[2]["label"])
    (3, (8, 8, 1), 2)
    """
    import_h5py()
    if isinstance(source, str | os.PathLike):
        labels = "folders" if has_class_folders(expand(source)) else None
        source = image_source(source, labels=labels)
    elif isinstance(source, np.ndarray):
        source = ArraySource({"image": source})
    path = expand(path)
    if len(source) == 0:
        raise ValueError("the source has no examples to pack.")
    if compression is not None and not 0 <= compression <= 9:
        raise ValueError(f"compression must lie in 0 to 9, or be None, got {compression}.")
    names = {name: (names or {}).get(name, name) for name in source.spec}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    notes = path.with_name(f".{path.name}.part.jsonl")
    shapes = {name: [list(spec.shape), str(spec.dtype)] for name, spec in source.spec.items()}
    head = json.dumps([len(source), shapes, names, compression, block])

    try:
        done = _whole_blocks(part, notes, head, names, block)
        _write(source, part, notes, head, names, compression, block, done)
        if done and _whole_blocks(part, notes, head, names, block) != len(source):
            # The interruption damaged a part where no example had been written yet.
            _write(source, part, notes, head, names, compression, block, 0)
        os.replace(part, path)
    except BlockingIOError as error:
        raise OSError(f"another process is writing {part}; wait for it to finish.") from error
    except Exception:
        part.unlink(missing_ok=True)
        notes.unlink(missing_ok=True)
        raise
    notes.unlink()
    return path


def _write(
    source: Source,
    part: Path,
    notes: Path,
    head: str,
    names: Mapping[str, str],
    compression: int | None,
    block: int,
    done: int,
) -> None:
    """Writes the examples from number ``done`` on, and a checksum after every block."""
    from tqdm import tqdm

    h5py = import_h5py()
    with h5py.File(part, "r+" if done else "w") as file, notes.open("a" if done else "w") as note:
        if not done:
            for name, spec in source.spec.items():
                file.create_dataset(
                    names[name],
                    (len(source), *spec.shape),
                    h5py.string_dtype() if spec.dtype == object else spec.dtype,
                    chunks=(_chunk(spec, block, len(source)), *spec.shape),
                    compression=compression,
                )
            if source.class_names is not None:
                file.attrs["class_names"] = json.dumps(source.class_names)
            file.flush()
            note.write(head + "\n")
        with tqdm(total=len(source), initial=done, desc="packing", unit=" examples") as bar:
            for start in range(done, len(source), block):
                rows = np.arange(start, min(start + block, len(source)))
                batch = source.__getitems__(rows)
                for name, key in names.items():
                    file[key][rows[0] : rows[-1] + 1] = batch[name]
                file.flush()
                note.write(f"{_checksum([batch[name] for name in names])}\n")
                note.flush()
                bar.update(len(rows))


def _chunk(spec: jax.ShapeDtypeStruct, block: int, number: int) -> int:
    """Examples compressed together: about 64 kB, so that one of them is read quickly."""
    size = max(1, int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize)
    return max(1, min(block, number, 2**16 // size))


def _checksum(arrays: Sequence[np.ndarray]) -> int:
    value = 0
    for array in arrays:
        content = (
            "\0".join(map(str, array.ravel())).encode()
            if array.dtype == object
            else np.ascontiguousarray(array).tobytes()
        )
        value = zlib.crc32(content, value)
    return value


def _whole_blocks(part: Path, notes: Path, head: str, names: Mapping[str, str], block: int) -> int:
    """Number of examples of an interrupted file that are as they were written."""
    h5py = import_h5py()
    if not part.is_file() or not notes.is_file():
        return 0
    first, *checksums = notes.read_text().split("\n")[:-1]  # the last line may be half a line
    if first != head:
        return 0
    done = 0
    try:
        with h5py.File(part, "r") as file:
            for checksum in checksums:
                arrays = [_native("", file[key][done : done + block], "") for key in names.values()]
                if str(_checksum(arrays)) != checksum:
                    break
                done += len(arrays[0])
    except BlockingIOError:
        raise
    except (OSError, KeyError, RuntimeError):
        pass  # the blocks read so far are complete
    kept = (done + block - 1) // block
    notes.write_text("\n".join([first, *checksums[:kept]]) + "\n")
    return done


def import_h5py() -> ModuleType:
    """Imports h5py, or raises ImportError naming the extra that installs it."""
    require("h5py", "HDF5Source")
    import h5py

    return h5py
