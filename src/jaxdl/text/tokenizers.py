"""Subword tokenizers: byte-pair encoding and WordPiece.

The functions return ``tokenizers.Tokenizer`` objects (extra ``text``), whose files Hugging Face's
libraries read too. For words, see :func:`jaxdl.text.tokenize`.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from jaxdl._checks import check_positive
from jaxdl._extras import require
from jaxdl._files import expand, write_text
from jaxdl.text.vocabulary import PADDING, UNKNOWN

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from tokenizers.trainers import Trainer


def train_bpe(
    texts: Iterable[str],
    vocab_size: int = 8192,
    *,
    min_count: int = 2,
    specials: Sequence[str] = (PADDING, UNKNOWN),
) -> "Tokenizer":
    """Trains a byte-level byte-pair encoding as in GPT-2; every text can be encoded and decoded.

    Args:
        texts: corpus, of the training set only.
        vocab_size: size of the vocabulary, including the 256 bytes and the special tokens.
        min_count: minimum number of occurrences of a pair to be merged.
        specials: special tokens, numbered first; the first one is padding.

    Raises:
        ValueError: the vocabulary is too small for the bytes, or a special token is repeated.
        ImportError: ``tokenizers`` is not installed.

    Source: Sennrich et al. 2016; Radford et al. 2019, section 2.2, for bytes.

    >>> tokenizer = train_bpe(["low lower lowest"] * 10, 300)
    >>> tokenizer.decode(tokenizer.encode("lower ü").ids)
    'lower ü'
    """
    library = import_tokenizers()
    _check(vocab_size, min_count, specials, smallest=256 + len(specials))
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(specials),
        initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    return _train(tokenizer, texts, trainer)


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int = 8192,
    *,
    min_count: int = 2,
    lowercase: bool = True,
    specials: Sequence[str] = (PADDING, UNKNOWN),
) -> "Tokenizer":
    """Trains WordPiece as in BERT: text is split at spaces and punctuation, then into pieces.

    Args:
        texts: corpus, of the training set only.
        vocab_size: size of the vocabulary.
        min_count: minimum number of occurrences of a pair to be merged.
        lowercase: convert to lower case and strip accents.
        specials: as in :func:`train_bpe`; must contain ``"<unk>"``, which replaces words with
            characters that are not in the corpus.

    Raises:
        ValueError: ``"<unk>"`` is missing, or a special token is repeated.
        ImportError: ``tokenizers`` is not installed.

    Source: Devlin et al. 2019 (BERT), section 3; Schuster and Nakajima 2012.

    >>> tokenizer = train_wordpiece(["low lower lowest"] * 10, 40)
    >>> tokenizer.encode("Lower").tokens
    ['lower']
    """
    library = import_tokenizers()
    _check(vocab_size, min_count, specials, smallest=len(specials) + 1)
    if UNKNOWN not in specials:
        raise ValueError(f"specials must contain {UNKNOWN!r}, got {list(specials)}.")
    tokenizer = library.Tokenizer(library.models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = library.normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = library.decoders.WordPiece()
    trainer = library.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=min_count,
        special_tokens=list(specials),
        show_progress=False,
    )
    return _train(tokenizer, texts, trainer)


def _check(vocab_size: int, min_count: int, specials: Sequence[str], *, smallest: int) -> None:
    check_positive(vocab_size=vocab_size, min_count=min_count)
    if not specials or specials[0] != PADDING or len(set(specials)) < len(specials):
        raise ValueError(
            f"specials must begin with {PADDING!r} and be distinct, got {list(specials)}."
        )
    if vocab_size < smallest:
        raise ValueError(f"vocab_size must be at least {smallest}, got {vocab_size}.")


def _train(tokenizer: "Tokenizer", texts: Iterable[str], trainer: "Trainer") -> "Tokenizer":
    from tqdm import tqdm

    if isinstance(texts, str):
        raise ValueError("texts must be a sequence of texts, got one string; put it into a list.")
    tokenizer.train_from_iterator(tqdm(texts, desc="reading texts", leave=False, delay=2), trainer)
    return tokenizer


def encode_texts(tokenizer: "Tokenizer", texts: Sequence[str]) -> list[np.ndarray]:
    """Encodes texts as token indices, in parallel.

    ``jaxdl.data.pad_sequences`` pads the result to one array with a mask; for language modeling,
    use ``np.concatenate`` and :class:`~jaxdl.data.sources.Windows`.

    Returns:
        One array (T,) int32 per text.

    >>> encode_texts(train_bpe(["low"] * 9, 300), ["low", ""])[1].shape
    (0,)
    """
    if isinstance(texts, str):
        raise ValueError("texts must be a sequence of texts, got one string; put it into a list.")
    return [np.array(encoded.ids, np.int32) for encoded in tokenizer.encode_batch(list(texts))]


def save_tokenizer(tokenizer: "Tokenizer", path: str | os.PathLike[str]) -> Path:
    """Writes a tokenizer as JSON, for :func:`load_tokenizer` and ``transformers``.

    >>> import tempfile
    >>> from jaxdl import text
    >>> tokenizer = text.train_bpe(["low lower lowest"], 300)
    >>> path = text.save_tokenizer(tokenizer, tempfile.mkdtemp() + "/tokenizer.json")
    >>> load_tokenizer(path).encode("low").ids == tokenizer.encode("low").ids
    True
    """
    path = expand(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_text(path, tokenizer.to_str(pretty=True))


def load_tokenizer(path: str | os.PathLike[str]) -> "Tokenizer":
    """Reads a tokenizer from JSON, e.g. Hugging Face's ``tokenizer.json``.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file does not hold a tokenizer.
    """
    path = expand(path)
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path} (expected a tokenizer in JSON).")
    try:
        return import_tokenizers().Tokenizer.from_file(os.fspath(path))
    except ImportError:
        raise
    except Exception as error:  # the library raises nothing more exact
        raise ValueError(f"{path} is not a tokenizer in JSON: {error}.") from error


def import_tokenizers() -> ModuleType:
    """Imports the library, or raises ImportError naming the extra that installs it."""
    require("tokenizers", "subword tokenization")
    import tokenizers
    import tokenizers.decoders
    import tokenizers.models
    import tokenizers.normalizers
    import tokenizers.pre_tokenizers
    import tokenizers.trainers

    return tokenizers
