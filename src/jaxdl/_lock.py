"""Exclusive use of a folder by one process."""

import contextlib
import errno
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK_FILE = ".lock"

_OFFSET = 1 << 30  # of the byte that Windows locks, behind the text, so that others can read it
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_open_locks: set[int] = set()


class FolderInUse(OSError):
    """Another process, or another run of this one, has locked the folder."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Callable[[], None]]:
    """Locks a folder for this process; the lock ends with the block or the process.

    The lock is the operating system's, on the file ``.lock`` in the folder: however a process
    ends, the folder is free again. A file system without locks gets a warning.

    Args:
        folder: an existing folder.

    Yields:
        a function that raises OSError if the folder has been moved or deleted since.

    Raises:
        FolderInUse: the message names the process and its host.
    """
    path = folder / LOCK_FILE
    lock = _acquire(path)
    _open_locks.add(lock)
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield lambda: _check_in_place(lock, path)
    finally:
        with contextlib.suppress(OSError):  # the folder may be gone
            _check_in_place(lock, path)
            path.unlink()
        _open_locks.discard(lock)
        os.close(lock)


def _check_in_place(lock: int, path: Path) -> None:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(lock), os.stat(path)):
            return
    raise FileNotFoundError(f"the folder {path.parent} was moved or deleted")


def _acquire(path: Path) -> int:
    """Opens and locks the file; returns its descriptor."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(lock)
            if os.path.samestat(os.fstat(lock), os.stat(path)):
                return lock
        except FileNotFoundError:
            pass  # its former owner has just removed it: try again with a new one
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                warnings.warn(
                    f"{path.parent} is on a file system without locks ({error.strerror}): make "
                    "sure that no other process writes there.",
                    stacklevel=4,
                )
                return lock
            owner = os.pread(lock, 200, 0).decode(errors="replace") if _is_posix() else ""
            os.close(lock)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise FolderInUse(
                f"the folder {path.parent} is in use by {owner or 'another process'}. "
                "Stop it first, or choose another folder."
            ) from None
        os.close(lock)


def _is_posix() -> bool:
    return sys.platform != "win32"


def _lock(lock: int) -> None:
    """Locks an open file without waiting; raises OSError (EAGAIN, EACCES) if another holds it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(lock, _OFFSET, os.SEEK_SET)
        msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        os.lseek(lock, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _close_in_child() -> None:
    """A forked worker must not keep the lock of a parent that has died."""
    for lock in _open_locks:
        os.close(lock)
    _open_locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
