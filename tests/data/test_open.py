"""One name for whatever is there."""

import struct
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.combine import labels_of
from jaxdl.data.statistics import summarize

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_a_set_by_name():
    source = data.open("digits")
    assert (len(source), source.class_names) == (1437, tuple("0123456789"))
    assert len(data.open("digits", split="test")) == 360


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def test_a_folder_of_idx_files(tmp_path):
    folder = tmp_path / "fashion_mnist"
    folder.mkdir()
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS))
    for found in (
        data.open(folder, split="test"),
        data.open("fashion_mnist", split="test", data_dir=tmp_path),
    ):
        np.testing.assert_array_equal(found[4]["image"][..., 0], IMAGES[4])
        assert labels_of(found).dtype == np.int32
        assert found.class_names[9] == "Ankle boot"


def test_folders_of_images(tmp_path):
    for split, names in (("train", ["a", "b"]), ("val", ["b"])):
        for name in names:
            (tmp_path / "set" / split / name).mkdir(parents=True)
            Image.fromarray(IMAGES[0]).save(tmp_path / "set" / split / name / "0.png")
    train = data.open("set", data_dir=tmp_path, size=(8, 8))
    assert (len(train), train.class_names) == (2, ("a", "b"))
    assert train[0]["image"].shape == (8, 8, 3)
    with pytest.raises(ValueError, match="lacks the class 'a', which the other split has"):
        data.open("set", split="val", data_dir=tmp_path)
    with pytest.raises(ValueError, match="no split 'test'; the data has the splits train, val"):
        data.open("set", split="test", data_dir=tmp_path)
    assert data.open(tmp_path / "set" / "train").class_names == ("a", "b")
    assert data.open(tmp_path / "set" / "train" / "a").class_names is None


@pytest.fixture
def files(tmp_path):
    rows = np.concatenate([LABELS[:, None], IMAGES.reshape(6, -1)], axis=1)
    np.savetxt(tmp_path / "mnist.csv", rows, "%d", delimiter=",")
    (tmp_path / "iris.csv").write_text("a,b,Species\n1,2.5,0\n3,4.5,1\n")
    (tmp_path / "plain.csv").write_text("1,2\n3,4\n")
    (tmp_path / "named.tsv").write_text("id\tsentence\tlabel\n1\tgood\t1\n2\tbad\t0\n")
    (tmp_path / "plain.tsv").write_text("good film\t1\nbad film\t0\n")
    (tmp_path / "play.txt").write_text("to be\n\nor not\n")
    np.savez(
        tmp_path / "keras.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:2], y_test=LABELS[:2]
    )
    np.savez(tmp_path / "medmnist.npz", train_images=IMAGES, train_labels=LABELS[:, None])
    np.savez(tmp_path / "own.npz", input=np.zeros((6, 2)), label=LABELS)
    np.save(tmp_path / "images.npy", IMAGES)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"], file["label"] = IMAGES[..., None], LABELS
    pq.write_table(pa.table({"x": [1.0, 2.0], "label": [0, 1]}), tmp_path / "a.parquet")
    data.sources.write_array_record(data.from_grain([{"x": 1.0}]), tmp_path / "a.array_record")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "length", "shapes"),
    [
        ("mnist.csv", 6, {"image": (28, 28, 1), "label": ()}),
        ("iris.csv", 2, {"input": (2,), "label": ()}),
        ("plain.csv", 2, {"input": (2,)}),
        ("named.tsv", 2, {"text": (), "label": ()}),
        ("plain.tsv", 2, {"text": (), "label": ()}),
        ("play.txt", 2, {"text": ()}),
        ("keras.npz", 6, {"image": (28, 28, 1), "label": ()}),
        ("medmnist.npz", 6, {"image": (28, 28, 1), "label": ()}),
        ("own.npz", 6, {"input": (2,), "label": ()}),
        ("images.npy", 6, {"image": (28, 28, 1)}),
        ("a.h5", 6, {"image": (28, 28, 1), "label": ()}),
        ("a.parquet", 2, {"x": (), "label": ()}),
        ("a.array_record", 1, {"x": ()}),
    ],
)
def test_files_of_every_kind(files, name, length, shapes):
    source = data.open(files / name)
    assert len(source) == length
    assert {key: spec.shape for key, spec in source.spec.items()} == shapes
    if "image" in shapes:
        np.testing.assert_array_equal(source[5]["image"][..., 0], IMAGES[5])
    if "label" in shapes:
        assert source[1]["label"].dtype == np.int32
        expected = {"named.tsv": 0, "plain.tsv": 0}.get(name, 1)
        assert source[1]["label"] == expected


def test_splits_of_one_file_and_files_of_one_folder(files, tmp_path):
    assert len(data.open(files / "keras.npz", split="test")) == 2
    folder = tmp_path / "sst2"
    folder.mkdir()
    (folder / "train.tsv").write_text("good film\t1\nbad film\t0\n")
    (folder / "dev.tsv").write_text("fine\t1\n")
    assert len(data.open("sst2", data_dir=tmp_path)) == 2
    assert data.open("sst2", split="val", data_dir=tmp_path)[0]["text"].item() == "fine"


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no data 'absent' in .*digits, mnist"):
        data.open("absent", data_dir=tmp_path)
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    with pytest.raises(ValueError, match=r"a\.bin is neither text nor a file that ends in \.csv"):
        data.open(tmp_path / "a.bin")
    (tmp_path / "one.csv").write_text("1,2\n")
    (tmp_path / "two.csv").write_text("1,2\n")
    with pytest.raises(
        FileNotFoundError, match=r"no file for the split 'train'; it holds one\.csv"
    ):
        data.open(tmp_path)


# Splits


def write_numbers(path, start, stop):
    """The numbers from start to stop in a file of any format."""
    values = np.arange(start, stop)
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".csv":
            path.write_text("value,other\n" + "".join(f"{v},{v + 0.5}\n" for v in values))
        case ".tsv":
            path.write_text("text\tlabel\n" + "".join(f"n{v}\t{v}\n" for v in values))
        case ".txt":
            path.write_text("".join(f"n{v}\n" for v in values))
        case ".npz":
            np.savez(path, input=values)
        case ".npy":
            np.save(path, values)
        case ".h5":
            with h5py.File(path, "w") as file:
                file["input"] = values
        case ".parquet":
            pq.write_table(pa.table({"input": values}), path)
        case ".array_record":
            data.sources.write_array_record(data.ArraySource({"input": values}), path)


def read_numbers(source):
    if "text" in source.spec:
        return [int(one["text"].item()[1:]) for one in source]
    return [int(np.ravel(one["input"])[0]) for one in source]


SUFFIXES = ["csv", "tsv", "txt", "npz", "npy", "h5", "parquet", "array_record"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("names", ["train-0000{}-of-00003", "train_{}", "mnist_train-{}"])
def test_all_parts_of_a_split_are_read_in_order(tmp_path, suffix, names):
    for number in (2, 0, 1):
        path = tmp_path / f"{names.format(number)}.{suffix}"
        write_numbers(path, 3 * number, 3 * number + 3)
    assert read_numbers(data.open(tmp_path)) == list(range(9))
    path.unlink()  # part 1
    with pytest.raises(ValueError, match="are not all parts of one split"):
        data.open(tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_only_begins_with_a_split_is_not_the_split(tmp_path, suffix):
    write_numbers(tmp_path / f"train-notes.{suffix}", 0, 2)
    write_numbers(tmp_path / f"train.{suffix}", 5, 9)
    write_numbers(tmp_path / f".train.{suffix}", 0, 2)
    assert read_numbers(data.open(tmp_path)) == [5, 6, 7, 8]


def test_parts_in_the_folder_of_a_split(tmp_path):
    for number in (1, 0):
        write_numbers(tmp_path / "Train" / f"part-{number}-of-2.parquet", number, number + 1)
    write_numbers(tmp_path / "validation" / "x.parquet", 7, 9)
    assert read_numbers(data.open(tmp_path)) == [0, 1]
    assert read_numbers(data.open(tmp_path, split="dev")) == [7, 8]


@pytest.mark.parametrize("suffix", [*SUFFIXES, "images", "plain images"])
def test_a_split_that_does_not_exist_is_refused(tmp_path, suffix):
    if "images" in suffix:
        folder = tmp_path / "a" if suffix == "images" else tmp_path
        folder.mkdir(exist_ok=True)
        Image.fromarray(IMAGES[0]).save(folder / "0.png")
        place, splits = tmp_path, "has no splits"
    else:
        place, splits = tmp_path / f"x.{suffix}", "has no splits"
        write_numbers(place, 0, 3)
    assert len(data.open(place)) > 0
    for split in ("test", "bogus"):
        with pytest.raises(ValueError, match=f"no split '{split}'; the data {splits}"):
            data.open(place, split=split)
    if "images" not in suffix:
        write_numbers(tmp_path / f"train.{suffix}", 0, 3)
        write_numbers(tmp_path / f"testing.{suffix}", 3, 5)
        place.unlink()
        assert read_numbers(data.open(tmp_path, split="test")) == [3, 4]
        with pytest.raises(ValueError, match="no split 'val'; the data has the splits t"):
            data.open(tmp_path, split="val")


@pytest.mark.parametrize("name", ["digits", "mnist", "keras.npz"])
def test_named_sets_list_their_splits(tmp_path, name):
    if name == "mnist":
        for split in ("train", "t10k"):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{split}-images-idx3-ubyte").write_bytes(idx(IMAGES))
            (tmp_path / name / f"{split}-labels-idx1-ubyte").write_bytes(idx(LABELS))
    if name == "keras.npz":
        np.savez(tmp_path / name, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    with pytest.raises(ValueError, match="no split 'bogus'; the data has the splits train, test"):
        data.open(name, split="bogus", data_dir=tmp_path)
    assert len(data.open(name, split="testing", data_dir=tmp_path)) in (6, 360)


@pytest.mark.parametrize("word", ["test", "Test", "TESTING", "testing"])
def test_words_for_folders_of_a_split(tmp_path, word):
    for split, count in (("Training", 2), (word, 1)):
        (tmp_path / split / "cat").mkdir(parents=True)
        for number in range(count):
            Image.fromarray(IMAGES[0]).save(tmp_path / split / "cat" / f"{number}.png")
    assert len(data.open(tmp_path)) == 2
    assert len(data.open(tmp_path, split="test")) == 1
    (tmp_path / "t10k").mkdir()
    with pytest.raises(ValueError, match=r"has both .* for the split 'test'; pass the path of one"):
        data.open(tmp_path, split="test")


def test_what_a_desktop_leaves_is_no_class(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog", ".ipynb_checkpoints", "__MACOSX"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(IMAGES[0]).save(tmp_path / split / name / "0.png")
            (tmp_path / split / name / "Thumbs.db").touch()
            (tmp_path / split / "desktop.ini").touch()
    for split in ("train", "test"):
        source = data.open(tmp_path, split=split)
        assert source.class_names == ("cat", "dog")
        assert labels_of(source).tolist() == [0, 1]
    assert data.load(tmp_path).class_names == ("cat", "dog")


def test_images_in_folders_below_a_class(tmp_path):
    for name in ("cat/big/0.png", "cat/1.png", "dog/small/2020/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(IMAGES[0]).save(tmp_path / name)
    source = data.open(tmp_path)
    assert source.class_names == ("cat", "dog")
    assert labels_of(source).tolist() == [0, 0, 1]


def test_images_beside_folders_are_refused(tmp_path):
    (tmp_path / "cat").mkdir()
    for name in ("cat/0.png", "1.png"):
        Image.fromarray(IMAGES[0]).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"holds both images \(1\.png\) and folders \(cat\)"):
        data.open(tmp_path)
    assert len(data.open(tmp_path, labels=None)) == 2
    write_numbers(tmp_path / "labels.csv", 0, 2)
    with pytest.raises(ValueError, match=r"holds both images and labels\.csv"):
        data.open(tmp_path)


# Classes


def test_classes_are_shared_between_splits(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tanger\nb\tjoy\nc\tsad\n")
    (tmp_path / "test.tsv").write_text("text\tlabel\nd\tjoy\ne\tsad\n")
    expected = ("anger", "joy", "sad")
    for test in (data.open(tmp_path, split="test"), data.open(tmp_path / "test.tsv")):
        assert test.class_names == expected
        assert labels_of(test).tolist() == [1, 2]
    assert labels_of(data.open(tmp_path)).tolist() == [0, 1, 2]
    (tmp_path / "test.tsv").write_text("text\tlabel\nd\tfear\n")
    with pytest.raises(ValueError, match=r"test\.tsv, line 2: the label 'fear' is not one of"):
        data.open(tmp_path, split="test")


def test_options_go_to_the_reader(tmp_path):
    (tmp_path / "a.csv").write_text("kind,x\n1,2\n0,3\n")
    assert labels_of(data.open(tmp_path / "a.csv", label="kind")).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"\.csv files has no option 'size'; its options are text"):
        data.open(tmp_path / "a.csv", size=(8, 8))
    with pytest.raises(ValueError, match="digits has no option 'size'; it has none"):
        data.open("digits", size=(8, 8))


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_real_sets():
    fashion = data.open("fashion_mnist", data_dir=DATA)
    assert len(fashion) == 60_000
    summary = summarize(fashion, max_examples=60_000)
    np.testing.assert_allclose(summary["arrays"]["image"]["mean"], [0.28604], atol=5e-6)
    np.testing.assert_allclose(summary["arrays"]["image"]["std"], [0.35302], atol=5e-6)
    assert summary["classes"] == dict.fromkeys(range(10), 6000)
    train, validation = data.random_split(
        data.open("mnist", data_dir=DATA), [0.8, 0.2], 0, stratify="label"
    )
    counts = [np.bincount(labels_of(part)) for part in (train, validation)]
    total = np.bincount(labels_of(data.open("mnist", data_dir=DATA)))
    np.testing.assert_array_equal(counts[0] + counts[1], total)
    assert (len(train) / len(validation)) == pytest.approx(4, rel=1e-3)
