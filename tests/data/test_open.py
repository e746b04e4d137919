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


@pytest.mark.data
@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data")
def test_the_real_sets():
    fashion = data.open("fashion_mnist", data_dir=DATA)
    assert len(fashion) == 60_000
    summary = data.summarize(fashion, max_examples=60_000)
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
