"""Files that appear whole or not at all, and JSON that is what it should be."""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


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


def read_json(path: Path | str) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        ValueError: the file holds something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object of fields, got {type(content).__name__}.")
    return content


def write_json(path: Path | str, content: Mapping[str, Any]) -> Path:
    """Writes a JSON object: all of it or nothing; returns the file's path."""
    return write_text(path, json.dumps(content, indent=2) + "\n")
