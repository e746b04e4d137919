"""Names of files and folders: hidden ones, splits, numbered parts."""

from pathlib import Path

import pytest

from jaxdl.data.sources.listing import (
    class_folders,
    entries,
    is_hidden,
    join_parts,
    parse_part,
    split_name,
    walk,
)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    "name", [".DS_Store", "._a.png", ".ipynb_checkpoints", "__MACOSX", "Thumbs.db", "desktop.ini"]
)
def test_names_that_are_never_data(name, tmp_path):
    assert is_hidden(name)
    touch(tmp_path, "cat/a.png", f"{name}/b.png", f"cat/{name}/c.png")
    assert [path.name for path in entries(tmp_path)] == ["cat"]
    assert [path.name for path in walk(tmp_path)] == ["a.png"]
    assert [name for name, _ in class_folders(tmp_path)] == ["cat"]


def test_a_link_to_a_folder_above_is_followed_once(tmp_path):
    touch(tmp_path, "cat/a.png")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    assert [path.name for path in walk(tmp_path)] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "base", "suffix", "number", "total"),
    [
        ("train-00001-of-00002.parquet", "train", ".parquet", 1, 2),
        ("Train_3.CSV", "train", ".csv", 3, None),
        ("train (2).csv.gz", "train", ".csv", 2, None),
        ("mnist-train.array_record-00000-of-00004", "mnist-train", ".array_record", 0, 4),
        ("train-00000-of-00001-a09b74b3ef9c3b56.parquet", "train", ".parquet", 0, 1),
        ("mnist_test_2.csv", "mnist_test", ".csv", 2, None),
        ("cifar10.csv", "cifar10", ".csv", None, None),
        ("t10k.csv", "t10k", ".csv", None, None),
        ("train-notes.csv", "train-notes", ".csv", None, None),
    ],
)
def test_names_of_parts(name, base, suffix, number, total):
    part = parse_part(Path(name))
    assert (part.base, part.suffix, part.number, part.total) == (base, suffix, number, total)


@pytest.mark.parametrize(
    ("word", "split"),
    [("Train", "train"), ("TESTING", "test"), ("dev", "val"), ("valid", "val"), ("x", "x")],
)
def test_words_for_splits(word, split):
    assert split_name(word) == split


def join(*names):
    return [
        path.name for path in join_parts([parse_part(Path(name)) for name in names], Path("set"))
    ]


def test_parts_are_joined_in_the_order_of_their_numbers():
    assert join("train_10.csv", *(f"train_{i}.csv" for i in range(10)))[-1] == "train_10.csv"
    assert join("train_2.csv", "train_1.csv") == ["train_1.csv", "train_2.csv"]
    assert join("train.csv") == ["train.csv"]


@pytest.mark.parametrize(
    "names",
    [
        ("train-00001-of-00002.csv",),
        ("train-00000-of-00003.csv", "train-00002-of-00003.csv"),
        ("train_1.csv", "train_3.csv"),
        ("train.csv", "train_1.csv"),
        ("train.csv", "train.tsv"),
        ("train_1.csv", "train-1.csv"),
        ("train_2.csv",),
        ("train-0-of-1.csv", "train-1-of-2.csv"),
    ],
)
def test_parts_that_are_not_complete_are_listed(names):
    with pytest.raises(ValueError, match=r"set: train.*pass the path of one"):
        join(*names)
