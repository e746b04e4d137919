"""IDX files and their errors, the digits, the statistics, loading by name."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.source import check_dataset
from jaxdl.data.sources.image_sets import CLASS_NAMES, read_idx

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
real_data = pytest.mark.skipif(not DATA.exists(), reason="the folder ../shared/data is not there")

IMAGES = np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4)
LABELS = np.array([0, 2, 1], np.uint8)


def encode(array, code=0x08):
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_set(folder, **replaced):
    """Four IDX files, two of them gzip; ``replaced`` maps a name's first part to its bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "train_images": ("train-images-idx3-ubyte.gz", gzip.compress(encode(IMAGES))),
        "train_labels": ("train-labels-idx1-ubyte", encode(LABELS)),
        "t10k_images": ("t10k-images-idx3-ubyte", encode(IMAGES[:2])),
        "t10k_labels": ("t10k-labels-idx1-ubyte.gz", gzip.compress(encode(LABELS[:2]))),
    }
    for key, (name, content) in contents.items():
        content = replaced.get(key, content)
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


# read_idx


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_read_idx_decides_by_content_not_by_name(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(encode(IMAGES)))
    array = read_idx(tmp_path / name)
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == np.uint8
    assert array.flags.writeable


@pytest.mark.parametrize(
    ("code", "stored", "native"),
    [
        (0x09, "i1", "int8"),
        (0x0B, ">i2", "int16"),
        (0x0C, ">i4", "int32"),
        (0x0D, ">f4", "float32"),
        (0x0E, ">f8", "float64"),
    ],
)
def test_read_idx_types_are_big_endian(tmp_path, code, stored, native):
    values = np.array([[1, -2], [100, 3]])
    (tmp_path / "x").write_bytes(encode(values.astype(stored), code))
    array = read_idx(tmp_path / "x")
    assert array.dtype == np.dtype(native)
    np.testing.assert_array_equal(array, values)


def test_read_idx_takes_the_name_with_or_without_gz(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(encode(LABELS)))
    (tmp_path / "b").write_bytes(encode(LABELS))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), LABELS)
    np.testing.assert_array_equal(read_idx(tmp_path / "b.gz"), LABELS)


def test_read_idx_missing_file(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"file not found: .*/absent \(nor absent\.gz .*gzip or plain"
    ):
        read_idx(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"not an IDX file.*got an empty file.*Download"),
        (b"<html>", r"not an IDX file.*00 00 08 03.*got the bytes 3c 68 74 6d"),
        (b"\0\0\x07\x01" + b"\0" * 8, r"type code \(one of 08, 09.*got the bytes 00 00 07 01"),
        (b"\0\0\x08\0", r"a rank.*got the bytes 00 00 08 00"),
        (encode(IMAGES)[:11], r"within the header: rank 3 takes 16 bytes, got 11"),
        (encode(IMAGES)[:-5], r"truncated.*\(3, 2, 4\) of uint8, 24 bytes, got 19 after"),
        (encode(IMAGES) + b"xy", r"too long.*24 bytes, got 26 after"),
        (encode(np.zeros(2, ">f4"), 0x0D)[:-1], r"float32, 8 bytes, got 7 after"),
        (gzip.compress(encode(IMAGES), mtime=0)[:-9], r"gzip stream is truncated or damaged"),
        (gzip.compress(b"", mtime=0), r"got an empty file"),
        (b"\x1f\x8b nonsense", r"gzip stream is truncated or damaged"),
    ],
)
def test_read_idx_names_the_file_and_the_fault(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(path)
    assert str(error.value).startswith(str(path))


def test_read_idx_header_with_sizes_beyond_64_bits_is_a_short_file(tmp_path):
    (tmp_path / "x").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    with pytest.raises(ValueError, match=rf"{(2**32 - 1) ** 3} bytes, got 0"):
        read_idx(tmp_path / "x")


# idx_source


NAMES = ("a", "b", "c")


def test_a_split_is_read_from_two_files(tmp_path):
    write_set(tmp_path)
    train = data.sources.idx_source(tmp_path, "train", NAMES)
    test = data.sources.idx_source(tmp_path, "testing", NAMES)
    np.testing.assert_array_equal(train.arrays["image"], IMAGES[..., None])
    np.testing.assert_array_equal(test.arrays["image"], IMAGES[:2, ..., None])
    assert train.arrays["label"].tolist() == [0, 2, 1]
    assert test.arrays["label"].tolist() == [0, 2]
    assert train.arrays["label"].dtype == np.int32
    assert train.class_names == NAMES
    with pytest.raises(ValueError, match="have the splits train and test, got 'val'"):
        data.sources.idx_source(tmp_path, "val")


def test_missing_files_are_listed(tmp_path):
    write_set(tmp_path, train_labels=None, t10k_images=None, t10k_labels=None)
    with pytest.raises(FileNotFoundError, match=r"not found in .*: train-labels-idx1-ubyte \(IDX"):
        data.sources.idx_source(tmp_path)
    with pytest.raises(
        FileNotFoundError, match="t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte"
    ):
        data.sources.idx_source(tmp_path, "test")


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        ({"train_labels": encode(LABELS[:2])}, r"3 images.*train-labels.* 2 labels.*complete"),
        ({"train_images": encode(LABELS)}, r"train-images.*rank 3.*uint8 \(3,\).*swapped"),
        ({"train_labels": encode(IMAGES)}, r"train-labels.*rank 1.*\(3, 2, 4\).*swapped"),
        ({"train_images": encode(IMAGES.view("i1"), 9)}, r"unsigned bytes.*got int8"),
        (
            {"train_labels": encode(np.array([0, 3, 1], np.uint8))},
            r"train-labels-idx1-ubyte: labels must lie in 0 to 2, got 3 at index 1",
        ),
        (
            {"train_labels": encode(np.zeros(3, ">f4"), 0x0D)},
            r"train-labels-idx1-ubyte: labels must be integers",
        ),
    ],
)
def test_the_file_that_does_not_fit_is_named(tmp_path, replaced, message):
    write_set(tmp_path, **replaced)
    with pytest.raises(ValueError, match=message):
        data.sources.idx_source(tmp_path, "train", NAMES)


@pytest.mark.parametrize(
    ("replaced", "message"),
    [
        (
            {"t10k_images": encode(IMAGES[:2, :, :3].copy())},
            r"mnist: .*\(2, 4, 1\) for training and \(2, 3, 1\) for testing",
        ),
        (
            {"t10k_images": encode(IMAGES[:0]), "t10k_labels": encode(LABELS[:0])},
            r"mnist, test split: data holds no examples",
        ),
    ],
)
def test_splits_that_do_not_fit_are_refused(tmp_path, replaced, message):
    write_set(tmp_path / "mnist", **replaced)
    with pytest.raises(ValueError, match=message):
        data.load("mnist", tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_file_of_more_than_the_limit_is_not_read(tmp_path, pack):
    (tmp_path / "x").write_bytes(pack(encode(np.zeros((10, 100, 100), np.uint8))))
    with pytest.raises(ValueError, match=r"100000 bytes, more than max_bytes 99,999"):
        read_idx(tmp_path / "x", max_bytes=99_999)
    assert read_idx(tmp_path / "x", max_bytes=100_000).shape[0] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": LABELS.astype(np.int64)}, r"tiny, train split: 'label' must be int32.*int64"),
        ({"image": IMAGES}, r"'image' must be uint8 of rank 4, got uint8 \(3, 2, 4\)"),
        ({"image": IMAGES[:2, ..., None]}, r"train split: .*image: 2, label: 3"),
    ],
)
def test_check_dataset(change, message):
    split = {"image": IMAGES[..., None], "label": LABELS.astype(np.int32)}
    good = data.Dataset("tiny", split, split, ("a", "b", "c"))
    assert check_dataset(good) is good
    with pytest.raises(ValueError, match=message):
        check_dataset(good._replace(train=split | change))


# digits


def test_digits_values_and_split():
    dataset = data.load("digits")
    train, test = dataset.train, dataset.test
    assert train["image"].shape == (1437, 8, 8, 1)
    assert test["image"].shape == (360, 8, 8, 1)
    # The first image is a zero; its first row in sixteenths is 0 0 5 13 9 1 0 0. Being the first
    # example of its class it is a test example.
    assert test["label"][0] == 0
    assert test["image"][0, 0, :, 0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    assert test["image"].max() == 255
    # Every class is split in the same proportion, to one example.
    all_labels = np.concatenate([train["label"], test["label"]])
    assert len(all_labels) == 1797
    fifth = np.bincount(all_labels) / 5
    assert (abs(np.bincount(test["label"]) - fifth) < 1).all()


def test_digits_splits_do_not_overlap_and_do_not_change():
    first, second = data.load("digits"), data.load("digits")
    np.testing.assert_array_equal(first.train["image"], second.train["image"])
    train, test = (
        {image.tobytes() for image in split["image"]} for split in (first.train, first.test)
    )
    assert not train & test
    assert len(train) + len(test) == 1797


# load


def test_load_reads_idx_from_data_dir(tmp_path):
    write_set(tmp_path / "fashion_mnist")
    dataset = data.load("fashion_mnist", tmp_path)
    assert dataset.train["label"].tolist() == [0, 2, 1]
    assert dataset.class_names[9] == "Ankle boot"


def test_load_digits_needs_no_folder(tmp_path):
    assert len(data.load("digits", tmp_path).test["label"]) == 360


def test_load_reports_half_a_set(tmp_path):
    write_set(tmp_path / "mnist", train_images=None)
    with pytest.raises(FileNotFoundError, match=r"file not found in .*train-images-idx3-ubyte"):
        data.load("mnist", tmp_path)


def test_load_says_where_it_looked(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match=r"no data 'mnist' in '.*': expected one of the names digits, mnist.* by TFDS",
    ):
        data.load("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_load_unknown_name_lists_the_names():
    with pytest.raises(
        FileNotFoundError, match=r"no data 'cifar': expected one of the names digits, mnist, fash"
    ):
        data.load("cifar")


def test_class_names_are_ten_each():
    assert {name: len(set(classes)) for name, classes in CLASS_NAMES.items()} == dict.fromkeys(
        CLASS_NAMES, 10
    )


@pytest.mark.slow
@pytest.mark.data
@real_data
@pytest.mark.parametrize(
    ("name", "mean", "std"), [("fashion_mnist", 0.28604, 0.35302), ("mnist", 0.1307, 0.3081)]
)
def test_real_sets_have_the_published_statistics(name, mean, std):
    dataset = data.load(name, DATA)
    assert dataset.train["image"].shape == (60000, 28, 28, 1)
    assert dataset.test["image"].shape == (10000, 28, 28, 1)
    measured = data.mean_and_std(dataset.train["image"])
    digits = len(str(mean)) - 2
    assert [round(float(value[0]), digits) for value in measured] == [mean, std]
    if name == "fashion_mnist":  # 6,000 of each; the first is an ankle boot
        assert np.bincount(dataset.train["label"]).tolist() == [6000] * 10
        assert dataset.train["label"][0] == 9


def test_import_is_light():
    heavy = "sklearn", "tensorflow_datasets", "array_record", "tensorflow", "requests", "PIL"
    code = f"import sys, jaxdl.data; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
