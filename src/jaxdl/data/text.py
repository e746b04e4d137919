"""Text as arrays: tab-separated files, words, a vocabulary, indices of fixed length.

A sentence becomes words (:func:`tokenize`), words become indices (:func:`vocabulary`), and
:func:`encode` pads them into one (N, T) array that lives on the device like any other data.
"""

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.checks import check_labels, check_positive

PADDING, UNKNOWN = "<pad>", "<unk>"
"""The first two words of every vocabulary, index 0 and 1."""

# words with inner apostrophes, the endings that treebanks split off ('s, 're, …), other signs
_TOKEN = re.compile(r"\w+(?:'\w+)*|'(?:s|re|ve|ll|m|d|t)\b|[^\w\s]")


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


def tokenize(text: str) -> list[str]:
    """Splits a text into lower-case words and signs.

    >>> tokenize("It's Tarantino 's best, or isn't it?")
    ["it's", 'tarantino', "'s", 'best', ',', 'or', "isn't", 'it', '?']
    """
    return _TOKEN.findall(text.lower())


def whitespace(text: str) -> list[str]:
    """Splits a text at white space; signs and case stay.

    >>> whitespace("It's  best.")
    ["It's", 'best.']
    """
    return text.split()


def characters(text: str) -> list[str]:
    """Splits a text into its characters.

    >>> characters("a b")
    ['a', ' ', 'b']
    """
    return list(text)


def add_bigrams(tokens: Sequence[str]) -> list[str]:
    """Words, then every pair of neighbours: what tells "not good" from "good" without order.

    Source: Joulin et al. 2016, Bag of tricks for efficient text classification, section 2.

    >>> add_bigrams(["not", "so", "good"])
    ['not', 'so', 'good', 'not so', 'so good']
    """
    return [*tokens, *map(" ".join, itertools.pairwise(tokens))]


def vocabulary(
    texts: Iterable[Sequence[str]],
    *,
    min_count: int = 1,
    max_size: int | None = None,
    specials: Sequence[str] = (PADDING, UNKNOWN),
) -> dict[str, int]:
    """Numbers words by how often they occur: 0 is padding, 1 an unknown word, 2 the most frequent.

    Args:
        texts: words of every text, of the training set only.
        min_count: rarer words are unknown.
        max_size: at most so many entries, the specials included; None takes all.
        specials: words that stand for something else, first of all, in this order; the first is
            padding. ``("<pad>", "<unk>", "<bos>", "<eos>")`` marks beginnings and ends too.

    Returns:
        word → index. Equally frequent words come in the order of their first occurrence.

    Raises:
        ValueError: no words at all, ``min_count`` below 1, ``max_size`` that leaves no room for a
            word, a special that comes twice or a first one that is not ``"<pad>"``.

    >>> vocabulary([["a", "boy"], ["a", "girl"]], min_count=2)
    {'<pad>': 0, '<unk>': 1, 'a': 2}
    """
    check_positive(min_count=min_count)
    if not specials or specials[0] != PADDING or len(set(specials)) < len(specials):
        raise ValueError(
            f"specials must begin with {PADDING!r} and be different, got {list(specials)}."
        )
    if max_size is not None and max_size <= len(specials):
        raise ValueError(
            f"max_size must be at least {len(specials) + 1} ({', '.join(specials)} and a word), "
            f"got {max_size}."
        )
    counts = Counter(word for text in texts for word in text)
    for special in specials:
        counts.pop(special, None)
    if not counts:
        raise ValueError("the texts hold no words; expected sequences of words.")
    frequent = counts.most_common(None if max_size is None else max_size - len(specials))
    words = [word for word, count in frequent if count >= min_count]
    return {word: index for index, word in enumerate([*specials, *words])}


def encode(
    texts: Sequence[Sequence[str]], vocabulary: Mapping[str, int], length: int
) -> np.ndarray:
    """Texts as rows of word indices, padded with 0 or cut to a fixed length.

    Args:
        texts: words of every text.
        vocabulary: word → index; words that are not in it become its ``"<unk>"``.
        length: T; of longer texts the first T words count.

    Returns:
        (N, T) int32.

    Raises:
        ValueError: no texts, a length below 1, an unknown word where the vocabulary has no
            ``"<unk>"``, or one string where its words are expected.

    >>> encode([["a", "boy"], ["a", "tall", "girl"]], {"<pad>": 0, "<unk>": 1, "a": 2, "boy": 3}, 3)
    array([[2, 3, 0],
           [2, 1, 1]], dtype=int32)
    """
    check_positive(length=length)
    if len(texts) == 0:
        raise ValueError("no texts to encode; expected a sequence of sequences of words.")
    indices = np.zeros((len(texts), length), np.int32)
    for row, text in zip(indices, texts, strict=True):
        if isinstance(text, str):
            raise ValueError(f"a text must be a sequence of words, got {text!r}; tokenize it.")
        for column, word in enumerate(text[:length]):
            index = vocabulary.get(word, vocabulary.get(UNKNOWN))
            if index is None:
                raise ValueError(
                    f"{word!r} is not in the vocabulary, and neither is {UNKNOWN!r}, which would "
                    "stand for it."
                )
            row[column] = index
    return indices


def decode(indices: Iterable[int], vocabulary: Mapping[str, int], *, join: str = " ") -> str:
    """The words of indices as a text, without padding; :func:`encode` backwards.

    Args:
        indices: (T,) integers.
        vocabulary: word → index.
        join: between words; ``""`` where they are characters.

    Raises:
        ValueError: an index that the vocabulary has not.

    >>> decode([2, 3, 0], {"<pad>": 0, "<unk>": 1, "a": 2, "boy": 3})
    'a boy'
    """
    words = {index: word for word, index in vocabulary.items()}
    numbers = [int(index) for index in indices]
    unknown = [number for number in numbers if number not in words]
    if unknown:
        raise ValueError(f"index {unknown[0]} is not in the vocabulary of {len(words)} words.")
    return join.join(words[number] for number in numbers if words[number] != PADDING)
