"""Examples of any form in array_record files."""

import pickle

import numpy as np
import pytest

from jaxdl import data

IMAGES = np.random.default_rng(0).integers(0, 256, (25, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(25) % 3


def test_records_are_read_back(tmp_path):
    tokens = [np.arange(i, dtype=np.int32) for i in range(25)]  # of different length
    elements = [
        {"image": image, "label": np.int32(label), "tokens": row, "text": f"ü{label}"}
        for image, label, row in zip(IMAGES, LABELS, tokens, strict=True)
    ]
    path = data.sources.write_array_record(data.from_grain(elements), tmp_path / "a.array_record")
    source = pickle.loads(pickle.dumps(data.sources.ArrayRecordSource(path)))
    assert len(source) == 25
    for index in (24, 0, -7):
        for name, value in elements[index].items():
            np.testing.assert_array_equal(source[index][name], value)
    images = data.map_source(source, lambda example: {"image": example["image"]})
    np.testing.assert_array_equal(images.__getitems__([7, 2])["image"], IMAGES[[7, 2]])
    assert [path.name for path in tmp_path.iterdir()] == ["a.array_record"]
    with pytest.raises(IndexError):
        source[25]


def test_records_of_another_encoding(tmp_path):
    path = data.sources.write_array_record(data.from_grain([{"x": 1}]), tmp_path / "a.array_record")
    own = data.sources.ArrayRecordSource(path, lambda record: {"size": len(record)})
    assert own[0]["size"] > 0
    with pytest.raises(ValueError, match=r"record 0 cannot be decoded by int: .*tfds_source"):
        data.sources.ArrayRecordSource(path, int)[0]
    (tmp_path / "b").write_bytes(b"no records")
    with pytest.raises(ValueError, match="cannot be read as array_record"):
        data.sources.ArrayRecordSource(tmp_path / "b")[0]
    with pytest.raises(FileNotFoundError, match="file not found"):
        data.sources.ArrayRecordSource(tmp_path / "c")
