"""Files of ``torch.save``, read without torch.

Since PyTorch 1.6 such a file is a zip archive: a pickle, ``data.pkl``, in which every tensor names
its storage, and the bytes of the storages. Before, it was five pickles followed by the storages.
"""

import io
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np

from jaxdl.interop._unpickle import Label, Storage, storage_dtype, unpickle

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle of the older format."""


VERSION = 1001
"""The second one."""


MAGIC_BYTES = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number as every binary protocol writes it, behind the protocol and the frame."""


def is_legacy(head: bytes) -> bool:
    """Returns True for the format of ``torch.save`` before PyTorch 1.6."""
    return head.startswith(b"\x80") and MAGIC_BYTES in head[: len(MAGIC_BYTES) + 11]


def read_pth(path: Path) -> object:
    """Reads the content of a file written by ``torch.save``.

    Args:
        path: a zip archive, or a file in the older format.

    Returns:
        containers, numbers and text as they were saved; tensors as read-only arrays, which share
        their storage as the tensors did; see :func:`~jaxdl.interop._unpickle.unpickle`.

    Raises:
        ValueError: a damaged or hostile file; the message names file and reason.
    """
    num_bytes = path.stat().st_size
    try:
        with path.open("rb") as file:
            if is_legacy(file.peek(64)):
                return _read_legacy(file, num_bytes)
            with zipfile.ZipFile(file) as archive:
                return _read_archive(archive, num_bytes)
    except Exception as error:  # zipfile and pickletools raise many kinds for a damaged file
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be read: {' '.join(reason.split())}") from error


def _read_archive(archive: zipfile.ZipFile, num_bytes: int) -> object:
    records = {info.filename: info for info in archive.infolist()}
    root = _check_archive(archive, records, num_bytes)
    storages: dict[str, bytes] = {}

    def load(identity: object) -> Storage:
        """Loads the storage of a persistent id, ("storage", type, key, device, size)."""
        match identity:
            case ("storage", Label(name), str(key), _, int(size)):
                dtype = storage_dtype(name)
            case _:
                raise ValueError("a persistent id names no storage.")
        record = f"{root}/data/{key}"
        if record not in records:
            raise ValueError(f"the storage {record[:200]!r} is not in the archive.")
        if size * (dtype.itemsize if dtype else 1) != records[record].file_size:
            raise ValueError(f"the storage {record!r} does not have the size in the pickle.")
        if key not in storages:
            storages[key] = archive.read(record)  # compares the checksum
        return Storage(np.frombuffer(storages[key], np.uint8), dtype)

    return unpickle(archive.read(f"{root}/data.pkl"), load, num_bytes)


def _check_archive(
    archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], num_bytes: int
) -> str:
    """Checks an archive of ``torch.save`` and returns the folder of its records."""
    if len(records) < len(archive.infolist()):
        raise ValueError("the archive holds two records of one name.")
    roots = [name.removesuffix("/data.pkl") for name in records if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError("it is a zip archive without data.pkl, not a file of torch.save.")
    root = roots[0]
    if f"{root}/constants.pkl" in records:
        raise ValueError(
            "it is TorchScript, a program and not weights; in PyTorch, save "
            "torch.jit.load(file).state_dict() instead."
        )
    if sum(info.file_size for info in records.values()) > num_bytes:
        raise ValueError("the records of the archive are larger than the file.")
    for info in records.values():
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise ValueError(
                f"record {info.filename!r} is compressed or encrypted; PyTorch's never are."
            )
    order = archive.read(f"{root}/byteorder") if f"{root}/byteorder" in records else b"little"
    if order != b"little":
        raise ValueError(f"its byte order is {order[:20]!r}, expected b'little'.")
    return root


def _read_legacy(file: io.BufferedReader, num_bytes: int) -> object:
    head = [unpickle(file, _no_storage, num_bytes) for _ in range(3)]
    if head[:2] != [MAGIC, VERSION] or not isinstance(head[2], dict):
        raise ValueError("it does not begin with PyTorch's magic number and version.")
    if head[2].get("little_endian") is not True:
        raise ValueError("its byte order is not little-endian.")
    storages: dict[str, Storage] = {}
    num_spare_bytes = num_bytes

    def load(identity: object) -> Storage:
        """Creates the storage of a persistent id, whose bytes are read later."""
        nonlocal num_spare_bytes
        match identity:
            case ("storage", Label(name), str(key), _, int(size), view) if size >= 0:
                dtype = storage_dtype(name)
            case _:
                raise ValueError("a persistent id names no storage.")
        itemsize = dtype.itemsize if dtype else 1
        if key not in storages:
            num_spare_bytes -= size * itemsize
            if num_spare_bytes < 0:
                raise ValueError("its storages are larger than the file.")
            storages[key] = Storage(np.zeros(size * itemsize, np.uint8), dtype)
        match view:
            case None:
                return storages[key]
            case (_, int(start), int(length)) if 0 <= start <= start + length:
                bytes_of_view = slice(start * itemsize, (start + length) * itemsize)
                return Storage(storages[key].data[bytes_of_view], dtype)
        raise ValueError("a persistent id names no part of a storage.")

    content = unpickle(file, load, num_bytes)
    keys = unpickle(file, _no_storage, num_bytes)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise ValueError("its storages are not those of its tensors.")
    for key in keys:
        data, dtype = storages[key].data, storages[key].dtype
        count = int.from_bytes(file.read(8), "little")
        if count * (dtype.itemsize if dtype else 1) != data.size:
            raise ValueError(f"the storage {key[:200]!r} does not have the size in the pickle.")
        if file.readinto(data.data) != data.size:
            raise ValueError("it ends within a storage.")
    return content


def _no_storage(identity: object) -> NoReturn:
    raise ValueError("a persistent id stands where no tensor may be.")
