"""Files that appear whole or not at all, and JSON of a given form."""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdl._text import shorten

Form = type | None | tuple["Form", ...] | list["Form"] | Mapping[str, Any]
"""Description of JSON values, see :func:`check_form`."""

MAX_LEVELS = 50

NAMES: dict[type | None, str] = {
    dict: "an object of fields",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
}


def expand(path: str | os.PathLike[str]) -> Path:
    """Path with a leading ``~`` or ``~user`` replaced by that home folder.

    Raises:
        ValueError: no such user.

    >>> expand("data/digits.csv").as_posix()
    'data/digits.csv'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise ValueError(f"{path}: no home folder for {user}; write the path in full.") from None


@contextlib.contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path that replaces ``path`` when the block ends.

    A reader finds the old file or the complete new one, also after a power failure. On an error the
    old file stays and nothing of the new one is left behind. The temporary path lies in a new
    folder beside ``path``, whose name cannot be guessed and which only its owner can open.

    Args:
        path: file or folder to write, in an existing folder. A file keeps its permissions; a folder
            is replaced only if it is empty.

    Raises:
        OSError: it cannot be written.

    >>> path = Path(tempfile.mkdtemp(), "numbers.txt")
    >>> with replacing(path) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    >>> path.read_text()
    '1 2 3'
    """
    path = Path(path)
    options: dict[str, Any] = {"prefix": f".{path.name[:50]}.", "suffix": ".tmp"}
    with tempfile.TemporaryDirectory(dir=path.parent, **options) as folder:
        temporary = Path(folder, path.name)
        yield temporary
        if path.is_file() and not path.is_symlink():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        for each in (temporary, *temporary.rglob("*")):
            _sync(each)
        os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    if os.name == "nt" or path.is_symlink():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path | str, content: bytes) -> Path:
    """Writes a file atomically in an existing folder; returns its path."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return Path(path)


def write_text(path: Path | str, content: str) -> Path:
    """Writes text as UTF-8 atomically; returns the path."""
    return write_bytes(path, content.encode())


def read_json(path: Path | str, form: Form = dict) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Args:
        path: file to read.
        form: see :func:`check_form`.

    Raises:
        ValueError: the file holds anything else; path, field and expected type are named.
    """
    return parse_json(Path(path).read_bytes(), form, path)


def read_json_lines(path: Path | str, form: Form = dict) -> list[dict[str, Any]]:
    """Reads a file of one JSON object per line, such as ``metrics.jsonl``.

    Args:
        path: file to read.
        form: of each object, see :func:`check_form`.

    Raises:
        ValueError: the file holds anything else; path, line, field and expected type are named.
    """
    lines = Path(path).read_bytes().splitlines()
    return [
        parse_json(line, form, f"{path}, line {number},")
        for number, line in enumerate(lines, start=1)
    ]


def parse_json(text: str | bytes, form: Form, where: object) -> Any:
    """Parses a JSON value and checks its form.

    Args:
        text: JSON; integers beyond 64 bits and more than 50 nested levels are refused.
        form: see :func:`check_form`.
        where: name of the text in error messages.

    Raises:
        ValueError: other text; ``where``, field and expected type are named.
    """
    try:
        value = json.loads(text, parse_int=_int64)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON: {error}.") from error
    level = [value]
    for _ in range(MAX_LEVELS):
        level = [inner for each in level for inner in _members(each)]
    if level:
        raise ValueError(f"{where} is nested more than {MAX_LEVELS} levels deep.")
    check_form(where, value, form)
    return value


def _int64(digits: str) -> int:
    value = int(digits) if len(digits) < 21 else 2**64
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"the integer {digits[:10]}… does not fit into 64 bits")
    return value


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def check_form(where: object, value: object, form: Form, field: str = "") -> None:
    """Raises ValueError unless a JSON value has a form.

    Args:
        where: name of the whole in the message.
        value: of ``json.loads``.
        form: a type (``float`` includes integers); None for null; ``[form]`` for a list;
            ``{name: form}`` for an object, where a name that ends in ``?`` may be missing and
            ``"*"`` stands for all other names, which are not checked without it; a tuple for one of
            several forms.
        field: name of the value within the whole.

    >>> check_form("model.json", {"step": 3, "note": "x"}, {"step": int, "names?": [str]})
    >>> check_form("model.json", {"names": ["a", 1]}, {"names?": [str]})
    Traceback (most recent call last):
        ...
    ValueError: model.json: field 'names/1' must be text, got 1.
    """
    if not _is_a(value, form):
        subject = f"{where}: field {field!r}" if field else f"{where}"
        raise ValueError(f"{subject} must be {_describe(form)}, got {shorten(repr(value), 40)}.")
    inside = f"{field}/" if field else ""
    for each in form if isinstance(form, tuple) else (form,):
        if isinstance(each, list) and isinstance(value, list):
            for index, inner in enumerate(value):
                check_form(where, inner, each[0], f"{inside}{index}")
        if isinstance(each, dict) and isinstance(value, dict):
            known = {name.removesuffix("?"): inner for name, inner in each.items()}
            missing = [name for name in each if name[-1] not in "?*" and name not in value]
            if missing:
                raise ValueError(f"{where}: field {inside + missing[0]!r} is missing.")
            for name, inner in value.items():
                if name in known or "*" in known:
                    check_form(where, inner, known.get(name, known.get("*")), inside + name)


def _is_a(value: object, form: Form) -> bool:
    if isinstance(form, tuple):
        return any(_is_a(value, each) for each in form)
    if form is None or form is object:
        return form is object or value is None
    kind: Any = type(form) if isinstance(form, list | dict) else form
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float) if kind is float else isinstance(value, kind)


def _describe(form: Form) -> str:
    if isinstance(form, tuple):
        return " or ".join(map(_describe, form))
    kind: Any = type(form) if isinstance(form, list | dict) else form
    return NAMES.get(kind, "null")


def write_json(path: Path | str, content: Mapping[str, Any]) -> Path:
    """Writes a JSON object atomically; returns the path."""
    return write_text(path, json.dumps(content, indent=2) + "\n")
