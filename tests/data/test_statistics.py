"""Statistics of data sets: exact means and standard deviations, summaries counted by hand."""

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.statistics import summarize


def test_mean_and_std_by_hand():
    # One row a pixel, one column a channel; 255 is 1 and 51 is .2.
    image = np.array([[0, 51, 0], [0, 51, 51], [255, 51, 102], [255, 51, 255]], np.uint8)
    mean, std = data.mean_and_std(image.reshape(2, 2, 1, 3))
    np.testing.assert_allclose(mean, [0.5, 0.2, 0.4], rtol=1e-15)
    # (.16 + .04 + 0 + .36) / 4 = .14
    np.testing.assert_allclose(std, [0.5, 0, np.sqrt(0.14)], rtol=1e-15)


def test_mean_and_std_in_chunks_equals_all_at_once(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (50, 5, 7, 3), dtype=np.uint8)
    whole = data.mean_and_std(images)
    monkeypatch.setattr(
        "jaxdl.data.statistics._CHUNK", 3 * 5 * 7 * 3
    )  # three images, 50 = 16·3 + 2
    for chunked, at_once in zip(data.mean_and_std(images), whole, strict=True):
        np.testing.assert_allclose(chunked, at_once, rtol=1e-14)
    np.testing.assert_allclose(whole[0], images.mean((0, 1, 2)) / 255, rtol=1e-14)
    np.testing.assert_allclose(whole[1], images.std((0, 1, 2)) / 255, rtol=1e-14)


def test_mean_and_std_of_floats_is_not_scaled_and_does_not_cancel():
    offset = np.float32(4096.0)
    images = offset + np.array([0, 1, 0, 1], np.float32).reshape(1, 2, 2, 1)
    mean, std = data.mean_and_std(images)
    assert (mean[0], std[0]) == (4096.5, 0.5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 3, 3), np.uint8), r"\(N, H, W, C\), got uint8 \(2, 3, 3\)"),
        (np.zeros((2, 3, 3, 1), np.int32), r"uint8 or floating point.*got int32"),
        (np.zeros((0, 3, 3, 1), np.uint8), r"at least one value, got shape \(0, 3, 3, 1\)"),
        (np.full((1, 1, 1, 1), np.nan, np.float32), r"finite, got a mean of \[nan\]"),
    ],
)
def test_mean_and_std_errors(images, message):
    with pytest.raises(ValueError, match=message):
        data.mean_and_std(images)


def batches(kind):
    """Batches of different sizes and images of different heights, three channels."""
    generator = np.random.default_rng(1)
    parts = [
        generator.integers(0, 256, (n, h, 5, 3), dtype=np.uint8)
        for n, h in ((7, 4), (1, 9), (0, 3), (16, 2))
    ]
    return parts if kind == "uint8" else [1000 + 10 * (part / np.float32(255)) for part in parts]


@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_stream_of_batches_equals_all_its_pixels_in_float64(kind):
    parts = batches(kind)
    pixels = np.concatenate([part.reshape(-1, 3) for part in parts]).astype(np.float64)
    scale = 255 if kind == "uint8" else 1
    for stream in (
        iter(parts),
        ({"image": part, "label": 0} for part in parts),
        (image for part in parts for image in part),
        reversed(parts),
    ):
        mean, std = data.mean_and_std(stream)
        np.testing.assert_allclose(mean, pixels.mean(0) / scale, rtol=1e-13)
        np.testing.assert_allclose(std, pixels.std(0) / scale, rtol=1e-12)


def test_a_source_counts_its_images():
    images = np.random.default_rng(2).integers(0, 256, (9, 4, 3, 5), dtype=np.uint8)

    class Reversed(data.BaseSource):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            return {"image": images[len(images) - 1 - index], "label": np.int32(0)}

    for ours, theirs in zip(data.mean_and_std(Reversed()), data.mean_and_std(images), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_uint8_is_exact_where_squares_would_cancel():
    # Variance of a million pixels, all 255 but one 254: (n − 1) / n² levels².
    images = np.full((1, 1000, 1000, 1), 255, np.uint8)
    images[0, 3, 4] = 254
    mean, std = data.mean_and_std(images)
    assert mean[0] == (255 * 10**6 - 1) / (255 * 10**6)
    np.testing.assert_allclose(std[0], np.sqrt((10**6 - 1) / 10**12) / 255, rtol=1e-15)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ([], r"at least one value\."),
        ([np.zeros((2, 3), np.uint8)], r"every batch must be images .*got uint8 \(2, 3\)"),
        ([np.zeros((2, 3, 1), np.int64)], r"uint8 or floating point, got int64"),
        (
            [np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3, 3), np.uint8)],
            r"one dtype and number of channels, got uint8, 1 channels and uint8, 3 channels",
        ),
        (
            [np.zeros((2, 3, 1), np.uint8), np.zeros((2, 3, 1), np.float32)],
            r"got uint8, 1 channels and floating point, 1 channels",
        ),
    ],
)
def test_stream_errors(stream, message):
    with pytest.raises(ValueError, match=message):
        data.mean_and_std(stream)


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
    """The toy set with one point labeled 0 and 1, and two that repeat."""
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
