"""Lines, columns, characters and windows of text."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data, text
from jaxdl.data.sources import text_files

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture(params=[2**24, 4])
def chunk(request, monkeypatch):
    """Files are read in one piece, and in many."""
    monkeypatch.setattr(text_files, "_CHUNK", request.param)


@pytest.mark.usefixtures("chunk")
def test_lines_are_read_by_number(tmp_path):
    path = write(tmp_path / "a.txt", "\ufefferste\r\n\n  \nzwölfte €\nlast")
    lines = pickle.loads(pickle.dumps(data.sources.TextLines(path)))
    assert [one["text"].item() for one in lines] == ["erste", "zwölfte €", "last"]
    assert lines.__getitems__([2, 0])["text"].tolist() == ["last", "erste"]
    assert len(data.sources.TextLines(path, skip_blank=False)) == 5
    with pytest.raises(IndexError, match=r"index 3 .* 3 examples"):
        lines[3]


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"\xff\n", "byte 0xff at offset 0, line 1"),
        ("zwölf\n".encode() + b"abc\ncaf\xe9\nx\n", "byte 0xe9 at offset 14, line 3"),
        (b"one\ntwo\nend\xc3", "byte 0xc3 at offset 11, line 3"),
    ],
)
def test_text_that_is_not_utf8_is_named_by_offset_and_line(tmp_path, content, place):
    path = write(tmp_path / "a.txt", content)
    with pytest.raises(ValueError, match=rf"a\.txt: expected text in UTF-8, got {place}"):
        data.sources.TextLines(path)
    with pytest.raises(ValueError, match=place):
        text_files.read_text(path)


def test_a_file_without_lines(tmp_path):
    with pytest.raises(ValueError, match="got an empty file"):
        data.sources.TextLines(write(tmp_path / "a.txt", "\n \n"))
    with pytest.raises(FileNotFoundError, match="file not found"):
        data.sources.TextLines(tmp_path / "absent.txt")


def test_lines_become_tokens(tmp_path):
    lines = data.sources.TextLines(write(tmp_path / "a.txt", "a b\nb\n"))
    vocabulary = text.build_vocabulary(text.tokenize(one["text"].item()) for one in lines)
    tokens = data.map_source(
        lines,
        lambda one: {"tokens": text.encode([[*one["text"].item().split()]], vocabulary, 3)[0]},
    )
    assert tokens.__getitems__([1, 0])["tokens"].tolist() == [[2, 0, 0], [3, 2, 0]]


# Characters and windows


def test_characters_are_numbered_in_order(tmp_path):
    path = write(tmp_path / "a.txt", "ba€\nab")
    indices, vocabulary = data.sources.character_corpus(path)
    assert vocabulary == {"\n": 0, "a": 1, "b": 2, "€": 3}
    assert indices.tolist() == [2, 1, 3, 0, 1, 2]
    assert indices.dtype == np.int32
    assert text.decode(indices, vocabulary, join="") == "ba€\nab"
    with pytest.raises(ValueError, match="got an empty file"):
        data.sources.character_corpus(write(path, ""))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "tinyshakespeare").is_dir(), reason="needs ../shared/data")
def test_tiny_shakespeare():
    path = DATA / "tinyshakespeare" / "input.txt"
    indices, vocabulary = data.sources.character_corpus(path)
    assert (len(indices), len(vocabulary)) == (1_115_394, 65)
    content = path.read_text()
    assert list(vocabulary) == sorted(set(content))
    assert text.decode(indices[:1000], vocabulary, join="") == content[:1000]
    windows = data.sources.Windows(indices, 256)
    assert len(windows) == (1_115_394 - 257) // 256 + 1
    batch = windows.__getitems__([4000, 7])
    np.testing.assert_array_equal(batch["input"][0], indices[4000 * 256 : 4001 * 256])
    np.testing.assert_array_equal(batch["target"][1], indices[7 * 256 + 1 : 8 * 256 + 1])


@pytest.mark.parametrize(
    ("number", "block_size", "stride", "starts"),
    [
        (10, 4, None, [0, 4]),  # a third window would need token 12
        (9, 4, None, [0, 4]),
        (8, 4, None, [0]),
        (8, 4, 1, [0, 1, 2, 3]),
        (8, 4, 3, [0, 3]),
        (5, 4, 1, [0]),
    ],
)
def test_windows_and_what_comes_next(number, block_size, stride, starts):
    windows = data.sources.Windows(np.arange(100, 100 + number), block_size, stride)
    assert [int(one["input"][0]) - 100 for one in windows] == starts
    for one in windows:
        np.testing.assert_array_equal(one["target"], one["input"] + 1)
        assert one["target"][-1] < 100 + number
    assert windows.spec["input"].shape == (block_size,)


def test_windows_of_a_mapped_file_travel_by_name(tmp_path):
    np.save(tmp_path / "tokens.npy", np.arange(10_000, dtype=np.uint16))
    tokens = np.load(tmp_path / "tokens.npy", mmap_mode="r")
    message = pickle.dumps(data.sources.Windows(tokens, 8))
    assert len(message) < 2000
    again = pickle.loads(message)
    assert again[3]["input"].tolist() == list(range(24, 32))
    assert again[3]["input"].dtype == np.int32


@pytest.mark.parametrize(
    ("tokens", "options", "message"),
    [
        (np.arange(4), {"block_size": 4}, r"takes 5 tokens .* got 4"),
        (np.arange(9), {"block_size": 0}, "block_size must be greater than 0, got 0"),
        (np.arange(9), {"block_size": 2, "stride": 0}, "stride must be greater than 0"),
        (np.zeros(9), {"block_size": 2}, r"integers of shape \(N,\), got float64"),
    ],
)
def test_windows_that_cannot_be_made(tokens, options, message):
    with pytest.raises(ValueError, match=message):
        data.sources.Windows(tokens, **options)
