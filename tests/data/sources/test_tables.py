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
        (gzip.compress(b"1,2\n" * 999, mtime=0)[:-20], "gzip stream is truncated or damaged"),
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


# CSV as others write it


def test_quoted_numbers_are_numbers(tmp_path):
    path = write(tmp_path / "a.csv", '"label","x","y"\n"1","2.5","3"\n"0","4","5"\n')
    source = data.open(path)
    assert labels_of(source).tolist() == [1, 0]
    assert source[0]["input"].tolist() == [2.5, 3.0]


def test_commas_and_line_ends_in_quoted_names(tmp_path):
    text = 'kind,"size, in cm"\n"cat, small",1\n"dog\n\nlarge",2\n"cat, small",3\n'
    source = data.sources.csv_source(write(tmp_path / "a.csv", text), label="kind")
    assert source.class_names == ("cat, small", "dog\n\nlarge")
    assert labels_of(source).tolist() == [0, 1, 0]
    assert [float(one["input"][0]) for one in source] == [1, 2, 3]
    path = write(tmp_path / "b.csv", text + '"cat, small",x\n')
    with pytest.raises(ValueError, match=r"b\.csv, line 7, column 2: 'x' is not a number"):
        data.sources.csv_source(path, label="kind")


@pytest.mark.parametrize("header", [True, False])
def test_names_of_classes_are_labels(tmp_path, header):
    rows = "5.1,3.5,Iris-setosa\n7.0,3.2,Iris-versicolor\n4.9,3.0,Iris-setosa\n"
    rows += "6.4,3.2,Iris-versicolor\n"
    path = write(tmp_path / "iris.csv", ("a,b,species\n" if header else "") + rows)
    source = data.open(path)
    assert source.class_names == ("Iris-setosa", "Iris-versicolor")
    assert labels_of(source).tolist() == [0, 1, 0, 1]
    assert source.spec["input"].shape == (2,)
    given = data.sources.csv_source(path, label=-1, class_names=source.class_names[::-1])
    assert labels_of(given).tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("index", [False, True])
def test_a_header_of_pandas_without_names(tmp_path, index):
    rows = [["0", "1", "2"], ["1.5", "2", "3"], ["4", "5", "6"]]
    if index:
        rows = [[mark, *row] for mark, row in zip(["", "0", "1"], rows, strict=True)]
    source = data.open(write(tmp_path / "a.csv", lines(rows)))
    assert [one["input"].tolist() for one in source] == [[1.5, 2, 3], [4, 5, 6]]


def test_two_numbers_may_be_a_header_or_not(tmp_path):
    path = write(tmp_path / "a.csv", "0,1\n1,0\n")
    with pytest.raises(ValueError, match=r"line 1 \(0, 1\) may be a header .* header=True or"):
        data.open(path)
    assert len(data.open(path, header=False)) == 2
    assert len(data.open(path, header=True)) == 1


def test_columns_of_text_are_not_dropped(tmp_path):
    path = write(tmp_path / "a.csv", "label,x,name\n1,2,ann\n0,3,bob\n")
    with pytest.raises(ValueError, match=r"which of the columns .* are the text and the label"):
        data.open(path)
    with pytest.raises(ValueError, match=r"column 'name' holds text .'ann'., not numbers"):
        data.sources.csv_source(path, label="label")
    assert data.open(path, text="name")[1]["text"].item() == "bob"


def test_a_gzip_table_is_measured_as_it_is_read(tmp_path):
    path = write(tmp_path / "a.csv.gz", gzip.compress(b"1,2\n" * 100_000))
    with pytest.raises(ValueError, match=r"the file has more than 399,999 bytes"):
        data.sources.csv_source(path, max_bytes=399_999)
    assert len(data.sources.csv_source(path, max_bytes=400_000)) == 100_000


# TSV


def test_columns_by_name_and_number(tmp_path):
    path = write(
        tmp_path / "a.tsv", "id\tsentence\tlabel\r\n1\tso \"good\t1\r\n\r\n2\tänd 'so\t0\n"
    )
    for options in ({"text": "sentence", "label": "label"}, {"text": 1, "label": -1}):
        source = data.sources.tsv_source(path, **options)
        assert [one["text"].item() for one in source] == ['so "good', "änd 'so"]
        assert labels_of(source).tolist() == [1, 0]
    with pytest.raises(ValueError, match="no column 'kind'; it has the columns id, sentence, lab"):
        data.sources.tsv_source(path, text="kind")
    with pytest.raises(ValueError, match="no column 'absent'"):
        data.sources.tsv_source(path, text="sentence", label="absent")


@pytest.mark.parametrize(
    "text",
    [
        "phrase\tsentiment\ngood film\t1\nbad film\t0\n",
        "satz\twert\ngood film\t1\nbad film\t0\n",  # names above numbers
        "sentiment\tphrase\n1\tgood film\n0\tbad film\n",  # the label first
        "1\tgood film\n0\tbad film\n",
        "good film\t1\nbad film\t0\n",
    ],
)
def test_header_and_columns_are_found(tmp_path, text):
    source = data.open(write(tmp_path / "a.tsv", text))
    assert [one["text"].item() for one in source] == ["good film", "bad film"]
    assert labels_of(source).tolist() == [1, 0]


def test_names_of_classes_in_text_files(tmp_path):
    rows = "so good it is\tyes\nas bad as that\tno\nall is quite fine\tyes\nor is it not\tno\n"
    source = data.open(write(tmp_path / "a.tsv", rows))
    assert source.class_names == ("no", "yes")
    assert labels_of(source).tolist() == [1, 0, 1, 0]
    assert len(data.open(write(tmp_path / "b.tsv", "phrase\tsentiment\n" + rows))) == 4


def test_a_header_that_is_open_is_asked_for(tmp_path):
    path = write(tmp_path / "a.tsv", "satz\tgefühl\ngut so\tfroh\nso so\ttraurig\n")
    with pytest.raises(ValueError, match=r"line 1 \(satz, gefühl\) may be a header"):
        data.sources.tsv_source(path, text=0, label=1)
    source = data.sources.tsv_source(path, text=0, label=1, header=True)
    assert source.class_names == ("froh", "traurig")
    assert len(data.sources.tsv_source(path, text=0, label=1, header=False)) == 3


def test_labels_are_numbers_or_names(tmp_path):
    numbers = "text\tlabel\n" + "".join(f"t{n} x\t{n}\n" for n in (10, 2, 0))
    source = data.open(write(tmp_path / "a.tsv", numbers))
    assert labels_of(source).tolist() == [10, 2, 0]
    path = write(tmp_path / "b.tsv", "text\tlabel\nx y\tjoy\nz w\t \n")
    with pytest.raises(ValueError, match=r"b\.tsv, line 3: the label is blank"):
        data.open(path)
    path = write(tmp_path / "c.tsv", "text\tlabel\nx y\t-1\n")
    with pytest.raises(ValueError, match=r"c\.tsv, line 2: labels must be class indices .* got -1"):
        data.open(path)


def test_text_that_looks_like_a_number(tmp_path):
    path = write(tmp_path / "a.tsv", "text\tlabel\n1984\t1\ninf\t0\nwords\t0\n")
    source = data.sources.tsv_source(path, text="text", label="label")
    assert [one["text"].item() for one in source] == ["1984", "inf", "words"]


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
