"""Words, vocabulary, encoding, and their errors."""

import numpy as np
import pytest

from jaxdl import text
from jaxdl.text.vocabulary import add_bigrams

# words


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("A Boy.", ["a", "boy", "."]),
        ("it 's n't bad", ["it", "'s", "n't", "bad"]),
        ("I'll say 'yes'!", ["i'll", "say", "'", "yes", "'", "!"]),
        ("10-year-old café", ["10", "-", "year", "-", "old", "café"]),
        (" \t\n", []),
    ],
)
def test_tokenize(sentence, tokens):
    assert text.tokenize(sentence) == tokens


def test_bigrams_follow_the_words():
    assert add_bigrams(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert add_bigrams(["a"]) == ["a"]
    assert add_bigrams([]) == []


TEXTS = [["b", "a", "b"], ["c", "a", "b"], ["d"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ["b", "a", "c", "d"]),  # by frequency, then by first occurrence
        ({"min_count": 2}, ["b", "a"]),
        ({"max_size": 3}, ["b"]),
        ({"min_count": 3, "max_size": 9}, ["b"]),
    ],
)
def test_vocabulary_numbers_words_by_frequency(options, words):
    expected = {word: index for index, word in enumerate(["<pad>", "<unk>", *words])}
    assert text.build_vocabulary(TEXTS, **options) == expected


def test_the_names_of_padding_and_unknown_in_a_text_keep_their_numbers():
    assert text.build_vocabulary([["<unk>", "a", "<pad>"]]) == {"<pad>": 0, "<unk>": 1, "a": 2}


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "the texts contain no words"),
        ([[], []], {}, "the texts contain no words"),
        (TEXTS, {"min_count": 0}, "min_count must be greater than 0, got 0"),
        (TEXTS, {"max_size": 2}, "max_size must be at least 3 .* got 2"),
        (TEXTS, {"specials": ["<unk>"]}, r"specials must begin with '<pad>' .* got \['<unk>'\]"),
        (TEXTS, {"specials": ["<pad>", "<pad>"]}, "must begin with '<pad>' and be distinct"),
    ],
)
def test_vocabulary_refuses(texts, options, message):
    with pytest.raises(ValueError, match=message):
        text.build_vocabulary(texts, **options)


def test_encode_pads_cuts_and_marks_unknown_words():
    vocabulary = text.build_vocabulary(TEXTS, min_count=2)
    indices = text.encode([["a", "d"], [], ["b", "a", "b", "a"]], vocabulary, 3)
    np.testing.assert_array_equal(indices, [[3, 1, 0], [0, 0, 0], [2, 3, 2]])
    assert indices.dtype == np.int32


def test_encode_with_a_given_vocabulary_and_an_end_of_sentence():
    vocabulary = {"i": 3, "am": 6, "a": 5, "boy": 10, "<eos>": 2}
    indices = text.encode([["i", "am", "a", "boy", "<eos>"]], vocabulary, 6)
    np.testing.assert_array_equal(indices, [[3, 6, 5, 10, 2, 0]])


@pytest.mark.parametrize(
    ("texts", "length", "message"),
    [
        ([], 3, "no texts to encode"),
        (TEXTS, 0, "length must be greater than 0, got 0"),
        (["a b"], 3, "must be a sequence of words, got 'a b'; tokenize it"),
        ([["zebra"]], 3, "'zebra' is not in the vocabulary, and neither is '<unk>'"),
    ],
)
def test_encode_refuses(texts, length, message):
    with pytest.raises(ValueError, match=message):
        text.encode(texts, {"a": 2}, length)
