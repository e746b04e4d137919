"""Sources made of others: views, joined ones, foreign ones, streams."""

import jax
import numpy as np
import pytest
from helpers.small_sources import IMAGES, LABELS, Counted, Ragged, numbers

from jaxdl import data
from jaxdl.data.combine import labels_of, size_in_bytes
from jaxdl.data.source import as_example


def test_a_subset_of_a_subset_reads_the_source_once():
    squares = Counted(9)
    part = data.subset(data.subset(squares, [8, 6, 4, 2]), [3, 0])
    assert part.source is squares
    np.testing.assert_array_equal(part.__getitems__([0, 1])["x"], [4, 64])
    with pytest.raises(IndexError, match="index 4 "):
        data.subset(data.subset(squares, [8, 6, 4, 2]), [4])


def test_a_mapped_source_computes_when_read(source):
    def halve(example):
        return {"image": example["image"][::2], "label": int(example["label"])}

    halved = data.map_source(source, halve)
    assert halved.spec["image"].shape == (2, 5, 3)
    assert halved.class_names == source.class_names
    batch = halved.__getitems__([1, 6])
    np.testing.assert_array_equal(batch["image"], IMAGES[[1, 6], ::2])
    assert batch["label"].dtype == np.int32


def test_joined_sources_come_one_after_the_other():
    joined = data.concatenate(numbers(3), numbers(2), numbers(4))
    assert [int(example["x"]) for example in joined] == [0, 1, 2, 0, 1, 0, 1, 2, 3]
    np.testing.assert_array_equal(joined.__getitems__([8, 0, 3, -2])["x"], [3, 0, 0, 2])


def test_sources_that_do_not_fit_are_not_joined(source):
    other = data.ArraySource({"image": IMAGES, "label": LABELS}, ["a", "b", "x"])
    with pytest.raises(ValueError, match=r"source 1 has the class_names \('a', 'b', 'x'\)"):
        data.concatenate(source, other)
    with pytest.raises(ValueError, match="source 1 has the spec"):
        data.concatenate(numbers(2), data.ArraySource({"x": np.zeros(2)}))
    with pytest.raises(ValueError, match="at least one"):
        data.concatenate()


def test_labels_are_found_without_reading_examples(source):
    squares = Counted(4)
    np.testing.assert_array_equal(labels_of(data.subset(source, [5, 1])), [2, 1])
    np.testing.assert_array_equal(labels_of(data.concatenate(source, source))[7:], LABELS)
    np.testing.assert_array_equal(labels_of(squares, "x"), [0, 1, 4, 9])
    with pytest.raises(ValueError, match="no 'label'; it has 'x'"):
        labels_of(squares)


def test_a_source_becomes_arrays_unless_it_is_too_large(source):
    arrays = data.source_to_arrays(data.map_source(source, dict), block=3)
    np.testing.assert_array_equal(arrays["image"], IMAGES)
    assert size_in_bytes(source) == 7 * (60 + 4)
    with pytest.raises(ValueError, match="takes 448 bytes as arrays, more than max_bytes 447"):
        data.source_to_arrays(data.map_source(source, dict), max_bytes=447)
    with pytest.raises(ValueError, match=r"\(2,\) in examples 1 to 1 and \(1,\) in example 0"):
        data.source_to_arrays(Ragged(), block=1)


def test_elements_by_index_become_examples():
    names = data.from_grain({0: "ann", 1: "bob", 2: "cid", 3: "dan"}, names=["name"])
    assert names.__getitems__([3, 0])["name"].tolist() == ["dan", "ann"]
    hundred = data.from_grain(list(range(100)), names=["number"])
    assert hundred.__getitems__(range(96, 100))["number"].tolist() == [96, 97, 98, 99]
    assert hundred.spec["number"].dtype == np.int32


def test_grains_own_sources_are_read():
    import grain

    squares = grain.MapDataset.source(range(10)).map(lambda i: {"x": np.float32(i * i)})
    source = data.from_grain(squares)
    assert len(source) == 10
    np.testing.assert_array_equal(source.__getitems__([9, 2])["x"], [81, 4])


def test_the_parts_of_an_element_need_names():
    with pytest.raises(ValueError, match=r"got tuple; pass names=\('image', 'label'\)"):
        data.from_grain([(1.0, 2)])[0]
    with pytest.raises(ValueError, match="an element has 2 parts, names has 1"):
        data.from_grain([(1.0, 2)], names=["x"])[0]
    assert as_example((1.0, 2**40), ("x", "y"))["y"].dtype == np.int64


def test_a_toy_data_set_is_arrays():
    """The seven points of the toy network; a length comes from the labels."""
    train, test = data.synthetic.toy_points()
    source = data.ArraySource(train)
    assert (len(source), len(data.ArraySource(test))) == (5, 2)
    np.testing.assert_allclose(source[3]["input"], [2.3, -1.1])
    assert labels_of(source).tolist() == [0, 0, 0, 1, 1]


def test_an_iterable_begins_again_for_every_epoch():
    counted = data.from_iterable(lambda: range(1, 100), names=["number"])
    assert counted.spec["number"] == jax.ShapeDtypeStruct((), np.int32)
    for _ in range(2):
        assert [int(one["number"]) for one in counted] == list(range(1, 100))
    listed = data.from_iterable([{"x": 1.0}, {"x": 2.0}])
    assert [float(one["x"]) for one in listed] == [1, 2]


def test_an_iterator_serves_once_and_loses_nothing_to_the_spec():
    stream = data.from_iterable(iter([(1, 2), (3, 4)]), names=["a", "b"])
    assert stream.spec["b"].dtype == np.int32
    assert [int(one["a"]) for one in stream] == [1, 3]
    with pytest.raises(ValueError, match="the iterator is exhausted; pass a function"):
        next(iter(stream))


def test_an_empty_iterable_has_no_spec():
    for empty in ([], iter([])):
        with pytest.raises(ValueError, match="no first element"):
            data.from_iterable(empty, names=["x"]).spec  # noqa: B018
