"""Byte-pair encoding and WordPiece, padding, saving and loading."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data, text

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CORPUS = ["low lower lowest", "new newer newest", "wide wider widest"] * 5


def test_bpe_gives_any_text_back_whole():
    tokenizer = text.train_bpe(CORPUS, 300)
    assert tokenizer.get_vocab_size() <= 300
    assert tokenizer.token_to_id("<pad>") == 0
    assert tokenizer.token_to_id("<unk>") == 1
    for sentence in ("lower newest", "  Never seen: ü € 猫\n", ""):
        assert tokenizer.decode(tokenizer.encode(sentence).ids) == sentence
    assert len(tokenizer.encode(" newer").ids) == 1  # merged into one piece
    assert len(tokenizer.encode("xyz").ids) == 3  # bytes


def test_bpe_merges_the_most_frequent_pair_first():
    tokenizer = text.train_bpe(["ab ab ab cd cd"], 256 + 2 + 1, min_count=2)
    pieces = [token for token in tokenizer.get_vocab() if len(token) == 2]
    assert pieces == ["ab"]


def test_wordpiece_splits_words_and_marks_the_unknown():
    tokenizer = text.train_wordpiece(CORPUS, 40)
    assert tokenizer.encode("Lower").tokens == tokenizer.encode("lower").tokens
    pieces = tokenizer.encode("lowest newest").tokens
    assert "".join(pieces).replace("##", "") == "lowestnewest"
    assert tokenizer.encode("xyz").tokens == ["<unk>"]
    assert text.train_wordpiece(CORPUS, 40, lowercase=False).encode("Lower").tokens == ["<unk>"]


@pytest.mark.parametrize("train", [text.train_bpe, text.train_wordpiece])
def test_a_tokenizer_is_saved_loaded_and_sent(tmp_path, train):
    tokenizer = train(CORPUS, 300)
    path = text.save_tokenizer(tokenizer, tmp_path / "new" / "tokenizer.json")
    expected = tokenizer.encode("lower widest").ids
    assert text.load_tokenizer(path).encode("lower widest").ids == expected
    assert pickle.loads(pickle.dumps(tokenizer)).encode("lower widest").ids == expected
    assert [path.name for path in path.parent.iterdir()] == ["tokenizer.json"]
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"tokenizer\.json is not a tokenizer in JSON"):
        text.load_tokenizer(path)
    with pytest.raises(FileNotFoundError, match="file not found"):
        text.load_tokenizer(tmp_path / "absent.json")


def test_texts_become_a_padded_batch_or_a_corpus():
    tokenizer = text.train_bpe(CORPUS, 300)
    encoded = text.encode_texts(tokenizer, ["lower", "lower newest xyz", ""])
    assert [indices.dtype for indices in encoded] == [np.int32] * 3
    padded, mask = data.pad_sequences(encoded)
    assert padded.shape == mask.shape == (3, len(encoded[1]))
    np.testing.assert_array_equal(mask.sum(axis=1), [len(indices) for indices in encoded])
    assert (padded[mask == 0] == tokenizer.token_to_id("<pad>")).all()
    fixed, _ = data.pad_sequences(encoded, boundaries=[16])
    assert fixed.shape == (3, 16)
    windows = data.sources.Windows(np.concatenate(encoded), block_size=2)
    np.testing.assert_array_equal(windows[0]["input"], np.concatenate(encoded)[:2])


@pytest.mark.parametrize(
    ("train", "options", "message"),
    [
        (text.train_bpe, {"vocab_size": 257}, "vocab_size must be at least 258, got 257"),
        (text.train_bpe, {"specials": ["<unk>", "<pad>"]}, "must begin with '<pad>'"),
        (text.train_bpe, {"min_count": 0}, "min_count must be greater than 0"),
        (text.train_wordpiece, {"specials": ["<pad>"]}, "specials must contain '<unk>'"),
    ],
)
def test_vocabularies_that_cannot_be_made(train, options, message):
    with pytest.raises(ValueError, match=message):
        train(CORPUS, **options)


def test_one_text_is_not_a_corpus():
    with pytest.raises(ValueError, match="got one string; put it into a list"):
        text.train_bpe("low lower")
    with pytest.raises(ValueError, match="got one string"):
        text.encode_texts(text.train_bpe(CORPUS, 300), "low")


def test_specials_of_a_word_vocabulary_come_first():
    specials = ("<pad>", "<unk>", "<bos>", "<eos>")
    words = [["<bos>", "a", "b", "a", "<eos>"]]
    vocabulary = text.build_vocabulary(words, specials=specials, max_size=5)
    assert vocabulary == {"<pad>": 0, "<unk>": 1, "<bos>": 2, "<eos>": 3, "a": 4}
    indices = text.encode(words, vocabulary, 6)
    assert indices.tolist() == [[2, 4, 1, 4, 3, 0]]
    assert text.decode(indices[0], vocabulary) == "<bos> a <unk> a <eos>"
    with pytest.raises(ValueError, match="index 9 is not in the vocabulary of 5 words"):
        text.decode([9], vocabulary)


def test_characters_as_a_vocabulary():
    vocabulary = text.build_vocabulary([list("abba")])
    assert text.encode([list("bab")], vocabulary, 4).tolist() == [[3, 2, 3, 0]]


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "tinyshakespeare").is_dir(), reason="needs ../shared/data")
def test_bpe_shortens_shakespeare():
    content = (DATA / "tinyshakespeare" / "input.txt").read_text()[:200_000]
    tokenizer = text.train_bpe(content.splitlines(keepends=True), 1024)
    (indices,) = text.encode_texts(tokenizer, [content])
    assert tokenizer.decode(indices.tolist()) == content
    assert 2 < len(content) / len(indices) < 4
