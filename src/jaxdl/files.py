"""Files that appear whole or not at all."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """A name for a temporary file, or folder, that replaces ``path`` when the block ends.

    A reader finds the old file or the whole new one. After an error the old one stays as it was,
    and nothing of the new one is left behind. The temporary name lies in the same folder and
    differs between processes and threads.

    Args:
        path: what to write; its folder is there. A folder is replaced only where it is empty.

    Raises:
        OSError: it cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "numbers.txt")
    >>> with replacing(path) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Writes a file in a folder that is there: all of it or nothing; returns its path."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Writes a text as UTF-8: all of it or nothing; returns the file's path."""
    return write_bytes(path, content.encode())
