"""Tab-separated files, words, vocabulary, encoding, and their errors."""

from pathlib import Path

import numpy as np
import pytest

from jaxdl import data, text
from jaxdl.data.sources import text_files

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# read_tsv


def test_columns_by_name_in_the_order_asked_for(tmp_path):
    path = write(tmp_path / "a.tsv", "id\tsentence\tlabel\r\n1\tso \"good\r\n\r\n2\tänd 'so\t0\n")
    with pytest.raises(ValueError, match=r"a\.tsv, line 2: expected at least 3 columns .* got 2"):
        text_files.read_tsv(path, ("label", "sentence"))
    write(path, "id\tsentence\tlabel\r\n1\tso \"good\t1\r\n\r\n2\tänd 'so\t0\n")
    assert text_files.read_tsv(path, ("label", "sentence")) == (["1", "0"], ['so "good', "änd 'so"])


def test_columns_by_number_where_the_first_line_holds_no_names(tmp_path):
    path = write(tmp_path / "a.tsv", "good\t1\nbad\t0")
    assert text_files.read_tsv(path, (1, 0)) == (["1", "0"], ["good", "bad"])


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        ("a\tb\n1\t2\n", ("a", "c"), r"no column 'c'; its first line has \['a', 'b'\]"),
        ("", (0,), "expected rows of text, got an empty file"),
        ("\n \n", (0,), "expected rows of text, got an empty file"),
        ("a\tb\n", ("a",), "expected rows of text, got an empty file"),
        ("", ("a",), r"no column 'a'; its first line has \[\]"),
        ("x\ty\n\nz\n", (1,), "line 3: expected at least 2 columns separated by tabs, got 1"),
        (b"caf\xe9\t1\n", (0,), "expected text in UTF-8"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path, content, columns, message):
    path = write(tmp_path / "a.tsv", content)
    with pytest.raises(ValueError, match=message) as error:
        text_files.read_tsv(path, columns)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*missing\.tsv'"):
        text_files.read_tsv(tmp_path / "missing.tsv", (0,))


# sst2


@pytest.mark.parametrize("header", ["", "sentence\tlabel\n"])
def test_sst2_with_and_without_the_line_of_names(tmp_path, header):
    for split, rows in (("train", "a fine film\t1\ndull\t0\n"), ("dev", "dull , fine\t1\n")):
        write(tmp_path / f"{split}.tsv", header + rows)
    splits = data.sources.sst2(tmp_path)
    assert splits["train"][0] == ["a fine film", "dull"]
    assert splits["dev"][0] == ["dull , fine"]
    np.testing.assert_array_equal(splits["train"][1], [1, 0])
    assert splits["train"][1].dtype == np.int32


def test_sst2_names_what_is_missing_and_what_is_no_label(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.tsv.*gluebenchmark\.com/tasks"):
        data.sources.sst2(tmp_path)
    write(tmp_path / "train.tsv", "sentence\tlabel\ngood\t1\nbad\t-1\n")
    with pytest.raises(ValueError, match=r"train\.tsv, line 3: the label must be 0 or 1, got '-1'"):
        data.sources.sst2(tmp_path)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "sst2").is_dir(), reason="needs ../shared/data/sst2")
def test_the_real_sst2():
    splits = data.sources.sst2(DATA / "sst2")
    sizes = {split: (len(labels), int(labels.sum())) for split, (_, labels) in splits.items()}
    assert sizes == {"train": (6920, 3610), "dev": (872, 444)}
    assert splits["dev"][0][0] == "one long string of cliches"


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
    assert text.add_bigrams(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert text.add_bigrams(["a"]) == ["a"]
    assert text.add_bigrams([]) == []


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
        ([], {}, "the texts hold no words"),
        ([[], []], {}, "the texts hold no words"),
        (TEXTS, {"min_count": 0}, "min_count must be greater than 0, got 0"),
        (TEXTS, {"max_size": 2}, "max_size must be at least 3 .* got 2"),
        (TEXTS, {"specials": ["<unk>"]}, r"specials must begin with '<pad>' .* got \['<unk>'\]"),
        (TEXTS, {"specials": ["<pad>", "<pad>"]}, "must begin with '<pad>' and be different"),
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
