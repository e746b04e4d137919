"""Word tokens, vocabularies, and index arrays."""

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from jaxdl._checks import check_positive

PADDING, UNKNOWN = "<pad>", "<unk>"
"""The first two words of every vocabulary, index 0 and 1."""


# words with inner apostrophes, endings that treebanks split off ('s, 're, …), punctuation
_TOKEN = re.compile(r"\w+(?:'\w+)*|'(?:s|re|ve|ll|m|d|t)\b|[^\w\s]")


def tokenize(text: str) -> list[str]:
    """Splits a text into lower-case words and punctuation.

    >>> tokenize("It's Tarantino 's best, or isn't it?")
    ["it's", 'tarantino', "'s", 'best', ',', 'or', "isn't", 'it', '?']
    """
    return _TOKEN.findall(text.lower())


def add_bigrams(tokens: Sequence[str]) -> list[str]:
    """Appends every pair of adjacent words, which tells "not good" from "good" in a bag of words.

    Source: Joulin et al. 2016, Bag of tricks for efficient text classification, section 2.

    >>> add_bigrams(["not", "so", "good"])
    ['not', 'so', 'good', 'not so', 'so good']
    """
    return [*tokens, *map(" ".join, itertools.pairwise(tokens))]


def build_vocabulary(
    texts: Iterable[Sequence[str]],
    *,
    min_count: int = 1,
    max_size: int | None = None,
    specials: Sequence[str] = (PADDING, UNKNOWN),
) -> dict[str, int]:
    """Builds a vocabulary by frequency: 0 is padding, 1 the unknown word, 2 the most frequent.

    Args:
        texts: words of each text, of the training set only.
        min_count: minimum number of occurrences; rarer words are unknown.
        max_size: maximum size, including the special tokens; None for no limit.
        specials: special tokens, numbered first; the first one is padding. E.g.
            ``("<pad>", "<unk>", "<bos>", "<eos>")`` to mark beginnings and ends too.

    Returns:
        The index by word. Equally frequent words keep the order of their first occurrence.

    Raises:
        ValueError: no words, ``min_count`` below 1, ``max_size`` too small for a word, a repeated
            special token, or a first one other than ``"<pad>"``.

    >>> build_vocabulary([["a", "boy"], ["a", "girl"]], min_count=2)
    {'<pad>': 0, '<unk>': 1, 'a': 2}
    """
    check_positive(min_count=min_count)
    if not specials or specials[0] != PADDING or len(set(specials)) < len(specials):
        raise ValueError(
            f"specials must begin with {PADDING!r} and be distinct, got {list(specials)}."
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
        raise ValueError("the texts contain no words; expected sequences of words.")
    frequent = counts.most_common(None if max_size is None else max_size - len(specials))
    words = [word for word, count in frequent if count >= min_count]
    return {word: index for index, word in enumerate([*specials, *words])}


def encode(
    texts: Sequence[Sequence[str]], vocabulary: Mapping[str, int], length: int
) -> np.ndarray:
    """Encodes texts as word indices, padded with 0 or truncated to a fixed length.

    Args:
        texts: words of each text.
        vocabulary: index by word; words that are not in it become ``"<unk>"``.
        length: T; longer texts are truncated to T words.

    Returns:
        (N, T) int32.

    Raises:
        ValueError: no texts, a length below 1, an unknown word without ``"<unk>"`` in the
            vocabulary, or a string instead of its words.

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
                    "replace it."
                )
            row[column] = index
    return indices


def decode(indices: Iterable[int], vocabulary: Mapping[str, int], *, join: str = " ") -> str:
    """Decodes indices to a text, without padding; the inverse of :func:`encode`.

    Args:
        indices: (T,) integers.
        vocabulary: index by word.
        join: separator of words, e.g. ``""`` for characters.

    Raises:
        ValueError: an index is not in the vocabulary.

    >>> decode([2, 3, 0], {"<pad>": 0, "<unk>": 1, "a": 2, "boy": 3})
    'a boy'
    """
    words = {index: word for word, index in vocabulary.items()}
    numbers = [int(index) for index in indices]
    unknown = [number for number in numbers if number not in words]
    if unknown:
        raise ValueError(f"index {unknown[0]} is not in the vocabulary of {len(words)} words.")
    return join.join(words[number] for number in numbers if words[number] != PADDING)
