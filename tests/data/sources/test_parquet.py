"""Parquet, a row group at a time."""

import io
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.combine import labels_of

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (25, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(25) % 3


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path):
    table = pa.table(
        {
            "image": [{"bytes": png(image), "path": "x.png"} for image in IMAGES],
            "label": LABELS,
            "vector": [[float(i), 2.0] for i in range(25)],
            "text": [f"ü{i}" for i in range(25)],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10)
    return tmp_path / "a.parquet"


def test_rows_by_index(path):
    source = pickle.loads(pickle.dumps(data.sources.ParquetSource(path)))
    assert source.row_groups.tolist() == [0, 10, 20, 25]
    batch = source.__getitems__([24, 3, 11, 3])
    np.testing.assert_array_equal(batch["image"], IMAGES[[24, 3, 11, 3]])
    np.testing.assert_array_equal(batch["label"], LABELS[[24, 3, 11, 3]])
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["vector"], [[24, 2], [3, 2], [11, 2], [3, 2]])
    assert batch["text"].tolist() == ["ü24", "ü3", "ü11", "ü3"]
    np.testing.assert_array_equal(labels_of(source), LABELS)
    assert source.__getitems__([])["image"].shape == (0, 6, 5, 3)
    with pytest.raises(IndexError):
        source[25]


def test_a_batch_reads_each_of_its_row_groups_once(path, monkeypatch):
    source = data.sources.ParquetSource(path, {"label": "label"})
    read = []
    original = pq.ParquetFile.read_row_group

    def counted(self, group, **options):
        read.append((group, options["columns"]))
        return original(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    source.__getitems__([21, 1, 22, 2, 23, 3])
    assert read == [(0, ["label"]), (2, ["label"])]  # and no column that was not asked for
    source.__getitems__([0, 20])
    assert len(read) == 2


def test_several_files_are_one_source(path, tmp_path):
    pq.write_table(pq.read_table(path), tmp_path / "b.parquet")
    source = data.sources.ParquetSource(tmp_path)
    assert len(source) == 50
    np.testing.assert_array_equal(source[25]["image"], IMAGES[0])
    assert len(labels_of(source)) == 50


def test_lists_of_different_length_are_not_stacked(tmp_path):
    pq.write_table(pa.table({"tokens": [[1, 2], [3], []]}), tmp_path / "a.parquet")
    source = data.sources.ParquetSource(tmp_path / "a.parquet")
    assert [source[i]["tokens"].tolist() for i in range(3)] == [[1, 2], [3], []]
    with pytest.raises(ValueError, match="cannot be stacked"):
        source.__getitems__([0, 1])


def test_files_that_do_not_fit(path, tmp_path):
    with pytest.raises(ValueError, match=r"no column 'pixels'; it has image, label, vector, text"):
        data.sources.ParquetSource(path, {"pixels": "image"})
    pq.write_table(pa.table({"label": [1, None, 3]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match=r"'label' \(int64\) lacks 1 of 3 .* row 1"):
        data.sources.ParquetSource(tmp_path / "b.parquet")[0]
    with pytest.raises(ValueError, match=r"b\.parquet has the columns \['label'\]"):
        data.sources.ParquetSource(tmp_path)
    (tmp_path / "c.parquet").write_bytes(b"no Parquet")
    with pytest.raises(ValueError, match=r"c\.parquet cannot be read as Parquet"):
        data.sources.ParquetSource(tmp_path / "c.parquet")
    with pytest.raises(FileNotFoundError, match="file not found"):
        data.sources.ParquetSource(tmp_path / "d.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no files that end in \.parquet"):
        data.sources.ParquetSource(tmp_path / "empty")


@pytest.mark.parametrize("cut", [0, 40])
def test_the_error_of_a_broken_image_has_file_and_row(tmp_path, cut):
    images = [{"bytes": png(image), "path": ""} for image in IMAGES[:7]]
    pq.write_table(pa.table({"image": images[:3]}), tmp_path / "a.parquet")
    images[5]["bytes"] = images[5]["bytes"][:cut]
    pq.write_table(pa.table({"image": images[3:]}), tmp_path / "b.parquet", row_group_size=2)
    source = data.sources.ParquetSource(tmp_path)
    np.testing.assert_array_equal(source[6]["image"], IMAGES[6])
    with pytest.raises(ValueError, match=r"b\.parquet, row 2, column 'image'"):
        source[5]
    with pytest.raises(ValueError, match=r"b\.parquet, row 2, column 'image'"):
        list(data.Loader(source, batch_size=7))


def test_missing_numbers_are_nan(tmp_path):
    pq.write_table(pa.table({"x": [1.5, None]}), tmp_path / "a.parquet")
    assert np.isnan(data.sources.ParquetSource(tmp_path / "a.parquet")[1]["x"])
