"""The summary of a set, against numbers counted by hand."""

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.statistics import summarize


def test_images_are_measured_by_channel():
    images = np.random.default_rng(0).integers(0, 256, (700, 3, 4, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(3), [500, 150, 50]).astype(np.int32)
    summary = summarize(data.ArraySource({"image": images, "label": labels}, "abc"))
    image = summary["arrays"]["image"]
    np.testing.assert_allclose(image["mean"], images.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(image["std"], images.std((0, 1, 2)) / 255, rtol=1e-12)
    assert (image["min"], image["max"], image["missing"], image["sizes"]) == (0, 255, 0, 1)
    assert summary["classes"] == {0: 500, 1: 150, 2: 50}
    assert (summary["length"], summary["read"]) == (700, 700)
    assert summary["bytes"] == 700 * (36 + 4)
    assert (summary["duplicates"], summary["conflicts"]) == (0, 0)


def test_duplicates_and_conflicts_are_counted():
    """The toy set with one point labelled 0 and 1, and two that repeat."""
    points = np.array([[2.6, -1.6], [0.2, 1.1], [2.6, -1.6], [0.2, 1.1], [0.2, 1.1]], np.float32)
    summary = summarize({"input": points, "label": np.array([0, 1, 1, 1, 1])})
    assert (summary["duplicates"], summary["conflicts"]) == (3, 1)
    text = data.describe({"input": points, "label": np.array([0, 1, 1, 1, 1])})
    assert "3 examples equal an earlier one (60.00%), 1 with another label" in text


def test_missing_numbers_are_counted_and_left_out():
    x = np.array([[1.0, np.nan], [3.0, 5.0]])
    column = summarize({"x": x})["arrays"]["x"]
    assert column["missing"] == 1
    assert (column["min"], column["max"], column["mean"]) == (1, 5, [3.0])
    assert "1 missing (NaN)" in data.describe({"x": x})
    nothing = summarize({"x": np.full(3, np.nan)})["arrays"]["x"]
    assert (nothing["missing"], nothing["std"]) == (3, [0.0])


def test_texts_are_measured_by_their_characters():
    texts = np.array(["one two", "", "ü"], object)
    column = summarize({"text": texts})["arrays"]["text"]
    expected = {"min": 0, "median": 1.0, "max": 7, "missing": 1, "first": "one two"}
    assert {name: column[name] for name in expected} == expected
    assert "0 to 7 characters, median 1, 1 empty, first 'one two'" in data.describe({"text": texts})


def test_a_large_set_is_sampled_evenly():
    summary = summarize({"x": np.arange(1001.0)}, max_examples=11)
    assert (summary["length"], summary["read"]) == (1001, 11)
    assert summary["arrays"]["x"]["mean"] == [500.0]
    assert "of 11, evenly spaced" in data.describe({"x": np.arange(1001.0)}, max_examples=11)


def test_examples_of_several_shapes():
    ragged = data.from_grain([{"tokens": np.arange(n)} for n in (3, 1, 3, 2)])
    column = summarize(ragged)["arrays"]["tokens"]
    assert (column["sizes"], column["min"], column["max"]) == (3, 0, 2)
    np.testing.assert_allclose(column["mean"], [7 / 9])
    assert "(3) and 2 other shapes" in data.describe(ragged)


def test_an_empty_class_shows():
    source = data.ArraySource({"x": np.arange(3.0), "label": np.array([0, 2, 2])}, "abc")
    lines = data.describe(source).splitlines()
    assert lines[3:7] == ["classes: 3, 0 to 2 each", "  a  1", "  b  0", "  c  2"]


def test_no_examples():
    with pytest.raises(ValueError, match="no examples"):
        summarize({"x": np.zeros((0, 2))})


def test_skipped_files_are_counted(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    source = data.sources.image_source(tmp_path, labels=None, skip_broken=True)
    assert summarize(source)["skipped"] == [str(tmp_path / "b.png")]
    line = f"skipped: 1 files that cannot be read, the first {tmp_path / 'b.png'}"
    assert data.describe(source).splitlines()[-1] == line
