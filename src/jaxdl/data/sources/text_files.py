"""Text files: lines, characters, windows of tokens."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl._checks import check_positive
from jaxdl._files import expand
from jaxdl.data.source import (
    ArraySource,
    BaseSource,
    Example,
    Gather,
    Indices,
    Spec,
    check_index,
    check_indices,
    unstack,
)
from jaxdl.data.sources._arrays import to_labels
from jaxdl.types import Array


def read_text(path: str | os.PathLike[str]) -> str:
    """Reads a file in UTF-8, without a byte order mark; line ends stay as they are.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8; the message has the byte's offset from 0, and the line.
    """
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path} (expected text in UTF-8).")
    return decode_utf8(path.read_bytes(), path)


def decode_utf8(
    content: bytes, path: str | os.PathLike[str], *, offset: int | None = 0, line: int = 1
) -> str:
    """Decodes bytes that begin at an offset and a line of a file; the error names the place."""
    try:
        decoded = content.decode("utf-8")
    except UnicodeDecodeError as error:
        place = "" if offset is None else f"offset {offset + error.start}, "
        raise ValueError(
            f"{os.fspath(path)}: expected text in UTF-8, got byte 0x{content[error.start]:02x} at "
            f"{place}line {line + content[: error.start].count(10)} "
            f"({error.reason}). Convert it first, for instance with iconv -t UTF-8."
        ) from error
    return decoded.removeprefix("\ufeff") if offset == 0 else decoded


_CHUNK = 2**24  # bytes read at a time


class TextLines(BaseSource):
    """The lines of a text file, read on access: ``"text"`` (), of dtype object.

    The file is read once, to find its lines and check that it is UTF-8; it may be larger than
    memory. ``map_source(lines, function)`` with a tokenizer makes indices of them.

    Args:
        path: of the file, in UTF-8.
        skip_blank: leave out lines of white space.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8 (the message has the byte's offset and line), or no lines.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "lines.txt"
    >>> _ = path.write_text("a first line\\n\\nthe second\\n")
    >>> source = TextLines(path)
    >>> len(source), str(source[1]["text"])
    (2, 'the second')
    """

    _is_stored = True

    def __init__(self, path: str | os.PathLike[str], *, skip_blank: bool = True) -> None:
        self.path = os.fspath(expand(path).absolute())
        if not os.path.isfile(self.path):
            raise FileNotFoundError(f"file not found: {self.path} (expected text in UTF-8).")
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


def character_corpus(path: str | os.PathLike[str]) -> tuple[np.ndarray, dict[str, int]]:
    """A text as character indices, and its vocabulary: its characters in the order of Unicode.

    Args:
        path: of a text in UTF-8, such as Tiny Shakespeare (1,115,394 characters, 65 different).

    Returns:
        (N,) int32, and character → index. ``text.decode(indices, vocabulary, join="")`` gives the
        text back.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or empty.

    Source: ``sorted(set(text))`` of char-rnn.

    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "play.txt"
    >>> _ = path.write_text("abba")
    >>> indices, vocabulary = character_corpus(path)
    >>> indices.tolist(), vocabulary
    ([0, 1, 1, 0], {'a': 0, 'b': 1})
    """
    text = read_text(path)
    if not text:
        raise ValueError(f"{path}: expected text, got an empty file.")
    codes, indices = np.unique(np.frombuffer(text.encode("utf-32-le"), "<u4"), return_inverse=True)
    return indices.astype(np.int32), {chr(code): index for index, code in enumerate(codes)}


class Windows(BaseSource):
    r"""Windows of a long sequence of tokens, each with the token that comes next.

    Window i is :math:`x_t = w_{is + t},\; y_t = w_{is + t + 1}` for t = 0 … T − 1. There are
    ⌊(N − T − 1) / s⌋ + 1 of them; a shorter rest is left out. :func:`jaxdl.train.run` keeps the
    tokens on the device and cuts the windows there, so that ``stride=1`` takes no more memory.

    Args:
        tokens: (N,) integers, in memory or memory-mapped.
        block_size: T.
        stride: s, from one window to the next; T by default, so that every token is predicted
            once; 1 for every window.

    Returns:
        ``"input"`` (T,) and ``"target"`` (T,), both int32.

    Raises:
        ValueError: tokens that are not integers of rank 1, fewer than T + 1 of them, T or s
            below 1.

    >>> windows = Windows(np.arange(10), block_size=4)
    >>> len(windows), windows[1]["input"].tolist(), windows[1]["target"].tolist()
    (2, [4, 5, 6, 7], [5, 6, 7, 8])
    """

    _is_stored = True

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
        if array.dtype.itemsize > 4 or array.dtype == np.uint32:
            to_labels(array, "the tokens")  # checks
        self._tokens = ArraySource({"token": array})  # pickles a mapped file by its name

    def __len__(self) -> int:
        return (len(self._tokens) - self.block_size - 1) // self.stride + 1

    def __getitem__(self, index: int) -> Example:
        return self.examples([check_index(index, len(self))])[0]

    def __getitems__(self, indices: Indices) -> Example:
        starts = check_indices(indices, len(self)) * self.stride
        places = starts[:, None] + np.arange(self.block_size + 1)[None]
        window = self._tokens.arrays["token"][places].astype(np.int32)
        return {"input": window[:, :-1], "target": window[:, 1:]}

    def examples(self, indices: Indices) -> list[Example]:
        return unstack(self.__getitems__(indices))

    @property
    def spec(self) -> Spec:
        shape = jax.ShapeDtypeStruct((self.block_size,), np.dtype(np.int32))
        return {"input": shape, "target": shape}

    def resident(self) -> tuple[dict[str, np.ndarray], Gather] | None:
        """The tokens, in the smallest dtype that holds them, and the function that cuts windows.

        None if there are more tokens than int32 can count.
        """
        tokens = self._tokens.arrays["token"]
        if len(tokens) >= 2**31:
            return None
        low, high = int(tokens.min()), int(tokens.max())
        dtype = np.promote_types(np.min_scalar_type(low), np.min_scalar_type(high))
        return {"token": tokens.astype(dtype)}, _Cut(self.block_size, self.stride)


@dataclasses.dataclass(frozen=True)
class _Cut:
    block_size: int
    stride: int

    def __call__(self, arrays: Mapping[str, Array], indices: Array) -> dict[str, Array]:
        """Windows (B, block_size) of tokens, and their targets, shifted by one."""
        places = (indices * self.stride)[:, None] + jnp.arange(self.block_size + 1)[None]
        window = arrays["token"][places].astype(jnp.int32)
        return {"input": window[:, :-1], "target": window[:, 1:]}
