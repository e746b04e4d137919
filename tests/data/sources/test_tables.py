"""CSV and npz: values, headers, and the line that is wrong."""

import gzip

import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.combine import labels_of
from jaxdl.data.sources._table_reader import Format, read_table

RNG = np.random.default_rng(0)


def read_csv(path, delimiter=","):
    return read_table([path], Format(delimiter))[:2]


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mnist_rows(number):
    rows = RNG.integers(0, 256, (number, 785))
    rows[:, 0] %= 10
    return rows


def lines(rows, end="\n"):
    return end.join(",".join(map(str, row)) for row in rows) + end


@pytest.mark.parametrize(
    ("header", "packed", "number"),
    [(True, False, 1003), (False, True, 103)],  # 1003: more than one block of lines
)
def test_mnist_as_csv(tmp_path, header, packed, number):
    rows = mnist_rows(number)
    names = "label," + ",".join(f"pixel{i}" for i in range(784)) + "\r\n"
    text = ((names if header else "") + lines(rows, "\r\n")).encode()
    path = write(tmp_path / "mnist.csv", gzip.compress(text) if packed else text)
    source = data.open(path)
    assert (len(source), source.class_names) == (number, tuple("0123456789"))
    assert source.spec["image"].shape == (28, 28, 1)
    for index in (0, 9, 17, 100, number - 1):
        assert source[index]["label"] == rows[index, 0]
        np.testing.assert_array_equal(source[index]["image"].ravel(), rows[index, 1:])
    assert source[0]["image"].dtype == np.uint8
    assert source[0]["label"].dtype == np.int32


def test_a_row_of_the_wrong_length_is_named_by_its_line(tmp_path):
    rows = [list(row) for row in mnist_rows(1200)]
    del rows[1099][-1]
    path = write(tmp_path / "mnist.csv", "\n" + lines(rows))  # line 1 is blank
    with pytest.raises(ValueError, match=r"mnist\.csv, line 1101: expected 785 columns .* got 784"):
        data.open(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected rows of values, got an empty file"),
        ("\n\n", "expected rows of values, got an empty file"),
        ("label,b\n", "got only a header"),
        ("a,b\n", r"line 1 \(a, b\) may be a header or a row of values; pass header=True"),
        ("1,2\n3,x\n", r"line 2, column 2: 'x' is not a number"),
        ("1,2\n3\n", r"line 2: expected 2 columns .*, as in line 1, got 1"),
        ("a,b\n1,2\n3,4,5\n", r"line 3: expected 2 columns .*, got 3"),
        ("1,2\n3,\n", r"line 2, column 2: a missing value is not a number"),
        (gzip.compress(b"1,2\n" * 999, mtime=0)[:-20], "gzip stream is cut short or damaged"),
    ],
)
def test_a_table_that_is_not_one(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_csv(write(tmp_path / "a.csv", text))


def test_integers_stay_integers_and_columns_have_names(tmp_path):
    names, values = read_csv(write(tmp_path / "a.csv", "\ufeffa,b\n1,2\n3,4\n"))
    assert (names, values.dtype, values.tolist()) == (("a", "b"), np.uint8, [[1, 2], [3, 4]])
    names, values = read_csv(write(tmp_path / "b.csv", "1;2.5\n3;nan\n"), delimiter=";")
    assert (names, values.dtype) == (None, np.float64)
    assert np.isnan(values[1, 1])
    large = [[-1, 255], [2**31 - 1, 0], [2**40, 1]]
    for number, dtype in ((2, np.int32), (3, np.int64)):
        path = write(tmp_path / "c.csv", lines(large[:number]))
        assert read_csv(path)[1].dtype == dtype
        assert read_csv(path)[1].tolist() == large[:number]
    with pytest.raises(FileNotFoundError, match="file not found"):
        read_csv(tmp_path / "absent.csv")


def test_a_table_with_a_label_column(tmp_path):
    path = write(tmp_path / "iris.csv", "a,b,label\n5.1,3.5,0\n4.9,3.0,2\n")
    source = data.sources.csv_source(path, label="label", class_names=["x", "y", "z"])
    np.testing.assert_allclose(source[1]["input"], [4.9, 3.0])
    assert labels_of(source).tolist() == [0, 2]
    assert labels_of(data.sources.csv_source(path, label=-1)).tolist() == [0, 2]
    assert data.sources.csv_source(path, label=None).spec["input"].shape == (3,)
    with pytest.raises(ValueError, match=r"no column 'kind'; it has the columns a, b, label"):
        data.sources.csv_source(path, label="kind")
    with pytest.raises(ValueError, match=r"no column 3; it has 3"):
        data.sources.csv_source(path, label=3)
    with pytest.raises(ValueError, match=r"line 2: labels must .* in 0 to 2147483647, got 5.09"):
        data.sources.csv_source(path, label=0)
    with pytest.raises(ValueError, match=r"line 3: labels must .* in 0 to 1, got 2"):
        data.sources.csv_source(path, label="label", class_names=["x", "y"])


def test_pixels_are_bytes_and_fill_the_image(tmp_path):
    path = write(tmp_path / "a.csv", "1,0,255,3,4\n0,9,256,1,2\n")
    with pytest.raises(ValueError, match=r"integers from 0 to 255, got int32 from 0 to 256"):
        data.sources.csv_source(path, image_shape=(2, 2, 1))
    with pytest.raises(ValueError, match=r"take 9 columns, got 4 beside the label"):
        data.sources.csv_source(path, image_shape=(3, 3, 1))


# npz


def test_npz_under_other_names(tmp_path):
    x, y = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8), np.arange(6)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:2])
    source = data.sources.npz_source(tmp_path / "a.npz", {"x_train": "image", "y_train": "label"})
    assert source.spec["image"].shape == (5, 4, 1)
    np.testing.assert_array_equal(source[4]["image"][..., 0], x[4])
    assert source[4]["label"].dtype == np.int32


def test_npz_files_that_do_not_fit(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros(3), y=np.zeros(4))
    with pytest.raises(ValueError, match=r"has no array 'image'; it has x, y"):
        data.sources.npz_source(path, {"image": "image"})
    with pytest.raises(ValueError, match=r"one length.*Choose with names="):
        data.sources.npz_source(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.npz cannot be read as an npz archive"):
        data.sources.npz_source(path)
    np.savez(path, x=np.array([{}], object))
    with pytest.raises(ValueError, match="cannot be read as an npz archive"):
        data.sources.npz_source(path)
    with pytest.raises(FileNotFoundError, match="file not found"):
        data.sources.npz_source(tmp_path / "b.npz")
