"""Stored arrays: damaged npy and npz files, sizes, labels beyond int32."""

import io
import zipfile

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.sources._arrays import read_npy, read_npz, tidy, to_labels


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**63])
def test_labels_beyond_int32_are_refused(value):
    with pytest.raises(ValueError, match=rf"a\.npz must fit into int32, got {value}"):
        to_labels(np.array([0, value], np.uint64 if value > 0 else np.int64), "a.npz")
    assert to_labels(np.array([2**31 - 1], np.uint32), "").dtype == np.int32


def test_no_reader_wraps_a_label(tmp_path):
    h5py = pytest.importorskip("h5py")
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    label = np.array([0, 2**32 + 1])
    np.savez(tmp_path / "a.npz", x=np.zeros(2), label=label)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["label"] = np.zeros(2), label
    pq.write_table(pa.table({"label": label}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(f"label,x\n0,1.5\n{2**32 + 1},2.5\n")
    (tmp_path / "a.tsv").write_text(f"text\tlabel\na b\t0\nc d\t{2**32 + 1}\n")
    example = {"label": np.int64(2**32 + 1)}
    data.sources.write_array_record(data.from_grain([example]), tmp_path / "a.array_record")
    for suffix in ("npz", "h5", "parquet", "csv", "tsv", "array_record"):
        path = tmp_path / f"a.{suffix}"
        with pytest.raises(ValueError, match=r"a\..*(int32|in 0 to 2147483647), got 4294967297"):
            list(data.open(path))


def damaged(kind):
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(1000), label=np.arange(1000))
    content = bytearray(stream.getvalue())
    if kind == "cut":
        return bytes(content[:500])
    if kind == "flipped":
        content[300] ^= 255
        return bytes(content)
    if kind == "not a zip":
        return b"PK\3\4 nothing"
    archive = io.BytesIO()
    if kind == "objects":
        np.savez(archive, x=np.array([{}, 1], object))
    if kind == "records":
        np.savez(archive, x=np.zeros(3, [("a", "f4"), ("b", "i4")]))
    if kind == "long header":
        with zipfile.ZipFile(archive, "w") as file:
            header = io.BytesIO()
            shape = {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
            np.lib.format.write_array_header_1_0(header, shape)
            file.writestr("x.npy", header.getvalue() + bytes(80))
    return archive.getvalue()


KINDS = ["cut", "flipped", "not a zip", "objects", "records", "long header"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_npz_is_one_line(tmp_path, kind):
    path = tmp_path / "a.npz"
    path.write_bytes(damaged(kind))
    with pytest.raises(ValueError, match=r"a\.npz cannot be read as an npz archive") as error:
        data.open(path)
    assert "\n" not in str(error.value)


def test_an_npz_is_measured_before_it_is_decompressed(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(1_000_000, np.uint8))
    assert (tmp_path / "a.npz").stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"take 1,000,128 bytes, more than max_bytes 999,999"):
        read_npz(tmp_path / "a.npz", max_bytes=999_999)
    source = data.sources.npz_source(tmp_path / "a.npz")
    assert len(source) == 1_000_000


def test_what_an_archiver_added_is_not_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("__MACOSX/._x.npy", b"nothing")
    assert list(read_npz(tmp_path / "a.npz")) == ["x"]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}], object), "it holds Python objects"),
        (np.zeros(3, [("a", "f4")]), r"it holds records with the fields \('a',\)"),
        (None, "truncated: the header declares"),
        (b"no array", "cannot be read as an npy array"),
    ],
)
def test_an_npy_that_is_not_numbers_is_one_line(tmp_path, array, message):
    path = tmp_path / "a.npy"
    if isinstance(array, bytes):
        path.write_bytes(array)
    elif array is None:
        np.save(path, np.arange(1000))
        path.write_bytes(path.read_bytes()[:-1])
    else:
        np.save(path, array, allow_pickle=True)
    with pytest.raises(ValueError, match=message) as error:
        data.open(path)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"a\.npy"):
        read_npy(path)


def test_images_get_channels_and_eight_bits():
    deep = np.array([0, 2**15, 2**16 - 1], np.uint16).reshape(1, 1, 3)
    assert tidy("image", deep, "").ravel().tolist() == [0, 128, 255]
    assert tidy("image", np.ones((1, 2, 2), bool), "").tolist() == [[[[255]] * 2] * 2]
    floats = np.zeros((1, 2, 2), np.float32)
    assert tidy("image", floats, "") is floats
    assert tidy("depth", deep, "") is deep
