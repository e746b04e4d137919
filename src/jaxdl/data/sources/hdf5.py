"""HDF5 files as sources, and the packer that writes one from any source or folder of images.

h5py comes with the extra ``hdf5``.
"""

import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.data.source import ArraySource, Example, FileSource, Source, Spec, check_indices, unstack
from jaxdl.data.sources.image_files import image_source
from jaxdl.data.sources.tables import tidy


class HDF5Source(FileSource):
    """Arrays of an HDF5 file, read when they are asked for.

    Args:
        path: the file.
        names: in the file → in an example: ``{"img_align_celeba": "image"}``. Each is a data set
            (N, ...), or a group of N data sets of one shape, which count in the order of the
            numbers in their names. None takes every data set at the top under its own name.
        class_names: a name for every label; those that :func:`pack_hdf5` wrote by default.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no HDF5 file, a key that is missing (the message lists those there are), or
            arrays of different length.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        names: Mapping[str, str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.path = os.fspath(Path(path).expanduser().absolute())
        file = self._opened()
        self.names = dict(names) if names is not None else {key: key for key in _arrays(file)}
        missing = [key for key in self.names if key not in file]
        if missing or not self.names:
            raise ValueError(
                f"{path}: there is no {', '.join(map(repr, missing)) or 'data set'}; the file has "
                f"{_listing(file)}. Choose with names={{key in the file: name in an example}}."
            )
        self._members = {key: _members(file[key]) for key in self.names}
        sizes = {
            key: len(file[key]) if members is None else len(members)
            for key, members in self._members.items()
        }
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"{path}: arrays must have one length, got {sizes}; choose with names."
            )
        self._length = next(iter(sizes.values()))
        stored = file.attrs.get("class_names")
        if class_names is None and stored is not None:
            class_names = json.loads(stored)
        self.class_names = None if class_names is None else tuple(class_names)

    def _open(self) -> Any:
        h5py = import_h5py()
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"there is no file {self.path!r}; expected HDF5.")
        try:
            return h5py.File(self.path, "r")
        except OSError as error:
            raise ValueError(f"{self.path} cannot be read as HDF5: {error}") from error

    def __len__(self) -> int:
        return self._length

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Example:
        # h5py reads rows in increasing order, each once.
        rows, inverse = np.unique(check_indices(indices, len(self)), return_inverse=True)
        return {
            name: _native(name, self._read(key, rows))[inverse] for key, name in self.names.items()
        }

    def _read(self, key: str, rows: np.ndarray) -> np.ndarray:
        node, members = self._opened()[key], self._members[key]
        if members is None:
            contiguous = len(rows) and rows[-1] - rows[0] == len(rows) - 1
            return node[rows[0] : rows[-1] + 1] if contiguous else node[rows]
        arrays = [node[members[row]][()] for row in rows]
        for row, array in zip(rows, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"{self.path}: {key}/{members[row]} has shape {array.shape}, "
                    f"{key}/{members[rows[0]]} {arrays[0].shape}; they cannot be stacked."
                )
        if not arrays:
            return np.zeros((0, *node[members[0]].shape), node[members[0]].dtype)
        return np.stack(arrays)

    def examples(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
        return unstack(self.__getitems__(indices))

    @property
    def labels(self) -> np.ndarray | None:
        """Every label, (N,), or None; no image is read."""
        key = next((key for key, name in self.names.items() if name == "label"), None)
        return None if key is None else _native("label", self._read(key, np.arange(len(self))))

    @property
    def spec(self) -> Spec:
        if self._spec is None:
            empty = self.__getitems__([])
            self._spec = {n: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for n, a in empty.items()}
        return self._spec


def _native(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind == "O":  # strings, which HDF5 gives as bytes
        return np.array(
            [x.decode("utf-8", "replace") if isinstance(x, bytes) else x for x in array], object
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return tidy(name, array)


def _arrays(file: Any) -> list[str]:
    return [key for key, node in file.items() if hasattr(node, "shape") and node.shape]


def _listing(file: Any) -> str:
    found: list[str] = []
    for key, node in file.items():
        kind = f"{node.dtype} {node.shape}" if hasattr(node, "shape") else f"{len(node)} entries"
        found.append(f"{key!r} ({kind})")
    return ", ".join(found[:20]) or "nothing"


def _members(node: Any) -> list[str] | None:
    """The names of a group's data sets in the order of the numbers in them; None of a data set."""
    if hasattr(node, "shape"):
        return None

    def order(name: str) -> list[Any]:
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

    The file is written under a temporary name beside ``path`` and renamed when it is whole. Called
    again after it was killed, the packer reads back what the temporary file holds, compares it with
    the checksums noted beside it, and goes on after the last whole block.

    Args:
        source: examples of one shape; images (N, H, W, C); or a folder with one folder of images a
            class, or of images (:func:`jaxdl.data.sources.image_source`).
        path: the file to write; an existing one is replaced at the end.
        names: in an example → in the file; the same names by default.
        compression: gzip's level, 0 to 9, or None for no compression. 9 is slow and saves little.
        block: examples written at a time, and, where they are small, compressed together.

    Returns:
        the path.

    Raises:
        ValueError: examples of different shape, or no examples.
        OSError: another process is writing the same file.

    The 20,000 faces of CelebA's tutorials, 218×178×3:
    ``pack_hdf5("img_align_celeba", "faces.h5", names={"image": "img_align_celeba"},
    compression=9)`` after ``subset``; here they are one data set (N, 218, 178, 3) instead of a
    group of N data sets, which is read many times faster.
    """
    import_h5py()
    if isinstance(source, str | os.PathLike):
        source = image_source(source)
    elif isinstance(source, np.ndarray):
        source = ArraySource({"image": source})
    path = Path(path).expanduser()
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
            # What the interruption left was damaged where no example had been written yet.
            _write(source, part, notes, head, names, compression, block, 0)
        os.replace(part, path)
    except BlockingIOError as error:
        raise OSError(f"another process is writing {part}; wait for it, or end it.") from error
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
    """Writes the examples from number ``done`` on, and a line of notes after every block."""
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
    """How many examples of an interrupted file are there and as they were written."""
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
                arrays = [_native("", file[key][done : done + block]) for key in names.values()]
                if str(_checksum(arrays)) != checksum:
                    break
                done += len(arrays[0])
    except BlockingIOError:
        raise
    except (OSError, KeyError, RuntimeError):
        pass  # what was read so far is whole
    kept = (done + block - 1) // block
    notes.write_text("\n".join([first, *checksums[:kept]]) + "\n")
    return done


def import_h5py() -> Any:
    """h5py, or an ImportError that says how to get it."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError("HDF5 needs h5py: pip install 'jaxdl[hdf5]' (or h5py).") from error
    return h5py
