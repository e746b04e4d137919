"""Text files: lines, TSV, windows of tokens."""

import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxdl._checks import check_labels, check_positive
from jaxdl.data.source import (
    ArraySource,
    BaseSource,
    Example,
    Spec,
    check_index,
    check_indices,
    unstack,
)


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8, without a byte order mark; line ends stay as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not UTF-8; the message has the byte's offset from 0, and the line.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}; expected text in UTF-8.")
    return decode_utf8(path.read_bytes(), path)


def decode_utf8(
    content: bytes, path: str | os.PathLike[str], *, offset: int = 0, line: int = 1
) -> str:
    """Decodes bytes that begin at an offset and a line of a file; the error names the place."""
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)}: expected text in UTF-8, got byte 0x{content[error.start]:02x} at "
            f"offset {offset + error.start}, line {line + content[: error.start].count(10)} "
            f"({error.reason}). Convert it first, for instance with iconv -t UTF-8."
        ) from error
    return decoded.removeprefix("\ufeff") if offset == 0 else decoded


def read_tsv(
    path: str | os.PathLike[str], columns: Sequence[str] | Sequence[int]
) -> tuple[list[str], ...]:
    """Reads columns of a tab-separated file in UTF-8; quotes mean nothing, as in GLUE's files.

    Args:
        path: the file.
        columns: names that stand in the first line, or, for a file without such a line, numbers
            from 0.

    Returns:
        a list of strings for each column, all of the same length. Blank lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file has no rows or is not UTF-8, a column is missing, or a row is too
            short. The message names the file and the line.

    The counterpart of ``pandas.read_csv(path, sep="\\t", usecols=columns)``.
    """
    path = Path(path).expanduser()
    lines = read_text(path).split("\n")
    rows = [(i, line.rstrip("\r").split("\t")) for i, line in enumerate(lines, 1) if line.strip()]
    numbers = [column for column in columns if isinstance(column, int)]
    if len(numbers) < len(columns):
        header = rows.pop(0)[1] if rows else []
        missing = [column for column in columns if column not in header]
        if missing:
            raise ValueError(
                f"{path}: no column {', '.join(map(repr, missing))}; its first line has {header}. "
                "Name columns of that line, or number them from 0 where it holds no names."
            )
        numbers = [header.index(str(column)) for column in columns]
    if not rows:
        raise ValueError(f"{path}: expected rows of text, got an empty file.")
    for line, row in rows:
        if len(row) <= max(numbers):
            raise ValueError(
                f"{path}, line {line}: expected at least {max(numbers) + 1} columns separated by "
                f"tabs, got {len(row)}."
            )
    return tuple([row[number] for _, row in rows] for number in numbers)


def sst2(directory: str | os.PathLike[str]) -> dict[str, tuple[list[str], np.ndarray]]:
    """Reads the Stanford Sentiment Treebank with two classes: 0 negative, 1 positive.

    Args:
        directory: folder with ``train.tsv`` and ``dev.tsv``: sentence, tab, label. GLUE's first
            line ``sentence`` tab ``label`` may be there or not.

    Returns:
        ``{"train": (sentences, labels), "dev": (sentences, labels)}``, labels (N,) int32. The set
        of whole sentences has 6,920 and 872, GLUE's with phrases 67,349 and 872.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not what it should be.

    Source: Socher et al. 2013, Recursive deep models for semantic compositionality.
    """
    splits = {}
    for split in ("train", "dev"):
        path = Path(directory).expanduser() / f"{split}.tsv"
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no {str(path)!r}: expected SST-2 as train.tsv and dev.tsv, in every "
                "line a sentence, a tab and 0 or 1. It is part of GLUE (SST-2.zip, at "
                "gluebenchmark.com/tasks); the original is at nlp.stanford.edu/sentiment."
            )
        with path.open(encoding="utf-8", errors="replace") as file:
            named = file.readline().split() == ["sentence", "label"]
        sentences, labels = read_tsv(path, ("sentence", "label") if named else (0, 1))
        for line, label in enumerate(labels, 1 + named):
            if label not in ("0", "1"):
                raise ValueError(f"{path}, line {line}: the label must be 0 or 1, got {label!r}.")
        splits[split] = sentences, np.array(labels, np.int32)
        check_labels(splits[split][1], 2)
    return splits


_CHUNK = 2**24  # bytes read at a time


class TextLines(BaseSource):
    """The lines of a text file, read when they are asked for: ``"text"`` (), of dtype object.

    The file is gone through once, to find its lines and check that it is UTF-8; it may be larger
    than memory. ``map_source(lines, function)`` with a tokenizer makes indices of them.

    Args:
        path: the file, in UTF-8.
        skip_blank: leave out lines of white space only.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8 (the message has the byte's offset and line), or no lines.
    """

    def __init__(self, path: str | os.PathLike[str], *, skip_blank: bool = True) -> None:
        self.path = os.fspath(Path(path).expanduser().absolute())
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"there is no file {self.path!r}; expected text in UTF-8.")
        starts: list[np.ndarray] = []
        ends: list[np.ndarray] = []
        offset, number = 0, 1
        with open(self.path, "rb") as file:
            while chunk := file.read(_CHUNK) + file.readline():
                decode_utf8(chunk, self.path, offset=offset, line=number)
                stops = np.flatnonzero(np.frombuffer(chunk, np.uint8) == 10) + 1
                if not chunk.endswith(b"\n"):
                    stops = np.append(stops, len(chunk))
                first = np.append(0, stops[:-1])
                number += len(stops)
                if skip_blank:
                    pairs = zip(first, stops, strict=True)
                    kept = np.array([bool(chunk[i:j].strip()) for i, j in pairs], bool)
                    first, stops = first[kept], stops[kept]
                starts.append(first + offset)
                ends.append(stops + offset)
                offset += len(chunk)
        if not sum(map(len, starts)):
            raise ValueError(f"{path}: expected lines of text, got an empty file.")
        self._starts, self._ends = np.concatenate(starts), np.concatenate(ends)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Example:
        line = check_index(index, len(self))
        start, end = int(self._starts[line]), int(self._ends[line])
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            content = file.read(end - start)
        text = decode_utf8(content, self.path, offset=start).rstrip("\r\n")
        return {"text": np.array(text, object)}


def tsv_source(
    path: str | os.PathLike[str], *, text: str | int, label: str | int | None = None
) -> ArraySource:
    """Columns of a tab-separated file as examples.

    Args:
        path: the file; see :func:`jaxdl.data.sources.text_files.read_tsv`.
        text: the column of the text, by name or number.
        label: the column of the class; integers from 0, or names, which are numbered in
            alphabetical order.

    Returns:
        ``"text"`` (N,) of dtype object, and ``"label"`` (N,) int32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8, or a column that is not there.
    """
    columns = [text] if label is None else [text, label]
    texts, *labels = read_tsv(path, columns)  # type: ignore[arg-type]
    arrays = {"text": np.array(texts, object)}
    names: tuple[str, ...] | None = None
    if labels:
        if all(value.isdecimal() for value in labels[0]):
            arrays["label"] = np.array(labels[0], np.int32)
        else:
            names = tuple(sorted(set(labels[0])))
            numbers = {name: number for number, name in enumerate(names)}
            arrays["label"] = np.array([numbers[value] for value in labels[0]], np.int32)
    return ArraySource(arrays, names)


def character_corpus(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, int]]:
    """A text as character indices, and its vocabulary: the characters in the order of Unicode.

    Args:
        path: of a text in UTF-8, such as Tiny Shakespeare (1,115,394 characters, 65 different).

    Returns:
        (N,) int32, and character → index. ``text.decode(indices, vocabulary, join="")`` gives the
        text back.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not UTF-8, or empty.

    Counterpart: ``sorted(set(text))`` of char-rnn.
    """
    text = read_text(path)
    if not text:
        raise ValueError(f"{path}: expected text, got an empty file.")
    codes, indices = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    return indices.astype(np.int32), {chr(code): index for index, code in enumerate(codes)}


class Windows(BaseSource):
    r"""Windows of a long sequence of tokens, each with the token that comes next.

    Window i is :math:`x_t = w_{is + t},\; y_t = w_{is + t + 1}` for t = 0 … T − 1. There are
    ⌊(N − T − 1) / s⌋ + 1 of them; a rest that fills no window is left out.

    Args:
        tokens: (N,) integers, in memory or memory-mapped.
        block_size: T.
        stride: s, from one window to the next; T by default, so that every token is predicted
            once. 1 gives every window there is.

    Returns:
        ``"input"`` (T,) and ``"target"`` (T,), both int32.

    Raises:
        ValueError: tokens that are not integers of rank 1, fewer than T + 1 of them, T or s
            below 1.

    >>> windows = Windows(np.arange(10), block_size=4)
    >>> len(windows), windows[1]["input"].tolist(), windows[1]["target"].tolist()
    (2, [4, 5, 6, 7], [5, 6, 7, 8])
    """

    def __init__(
        self, tokens: np.ndarray | Sequence[int], block_size: int, stride: int | None = None
    ) -> None:
        self.block_size = block_size
        self.stride = block_size if stride is None else stride
        check_positive(block_size=self.block_size, stride=self.stride)
        array = tokens if isinstance(tokens, np.ndarray) else np.asarray(tokens)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"tokens must be integers of shape (N,), got {array.dtype} {array.shape}."
            )
        if len(array) <= block_size:
            raise ValueError(
                f"a window of {block_size} takes {block_size + 1} tokens (the next one too), got "
                f"{len(array)}. Choose a smaller block_size."
            )
        self._tokens = ArraySource({"token": array})  # which knows how to send a mapped file

    def __len__(self) -> int:
        return (len(self._tokens) - self.block_size - 1) // self.stride + 1

    def __getitem__(self, index: int) -> Example:
        return self.examples([check_index(index, len(self))])[0]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> Example:
        starts = check_indices(indices, len(self)) * self.stride
        places = starts[:, None] + np.arange(self.block_size + 1)[None]
        window = self._tokens.arrays["token"][places].astype(np.int32)
        return {"input": window[:, :-1], "target": window[:, 1:]}

    def examples(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
        return unstack(self.__getitems__(indices))

    @property
    def spec(self) -> Spec:
        shape = jax.ShapeDtypeStruct((self.block_size,), np.dtype(np.int32))
        return {"input": shape, "target": shape}
