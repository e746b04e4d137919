"""Sources: examples by index, alone and in batches; views of them; streams."""

import pickle

import jax
import numpy as np
import pytest

from jaxdl import data
from jaxdl.data.combine import labels_of, size_in_bytes
from jaxdl.data.source import (
    as_example,
    check_index,
    check_indices,
    examples_of,
    stack_examples,
    unstack,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)


@pytest.fixture
def source():
    return data.ArraySource({"image": IMAGES, "label": LABELS}, ["a", "b", "c"])


class Counted(data.BaseSource):
    """Square numbers; counts how often an example is read."""

    def __init__(self, length):
        self.length, self.read = length, 0

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        self.read += 1
        return {"x": np.float32(check_index(index, self.length) ** 2)}


class Ragged(data.BaseSource):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"tokens": np.arange(check_index(index, 3) + 1)}


def numbers(length):
    return data.ArraySource({"x": np.arange(length)})


# The contract


def test_everything_here_is_a_source(source):
    for one in (source, Counted(2), data.subset(source, [1]), data.map_source(source, dict)):
        assert isinstance(one, data.Source)
    assert not isinstance([1, 2], data.Source)
    assert not isinstance({"x": np.zeros(3)}, data.Source)


def test_an_array_source_gives_rows_and_batches(source):
    assert len(source) == 7
    assert source.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(source[3]["image"], IMAGES[3])
    assert source[-1]["label"] == LABELS[-1]
    batch = source.__getitems__([6, 0, 0])
    np.testing.assert_array_equal(batch["image"], IMAGES[[6, 0, 0]])
    assert source.spec == {
        "image": jax.ShapeDtypeStruct((4, 5, 3), np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    assert source.__getitems__([])["image"].shape == (0, 4, 5, 3)


@pytest.mark.parametrize("index", [7, -8, 10**12])
def test_an_index_out_of_range_is_never_clamped(source, index):
    views = [
        source,
        data.subset(source, np.arange(7)),
        data.map_source(source, dict),
        data.concatenate(data.subset(source, [0, 1, 2]), data.subset(source, [3, 4, 5, 6])),
        data.from_grain([{"x": 1}] * 7),
    ]
    for view in views:
        with pytest.raises(IndexError, match=rf"index {index} .*out of range .* 7 examples"):
            view[index]
        with pytest.raises(IndexError, match=rf"index {index} \(at position 1\)"):
            view.__getitems__([0, index])


@pytest.mark.parametrize(
    ("indices", "message"),
    [([0.0], "float64"), ([True, False], "bool.*flatnonzero"), ([[0]], r"\(1, 1\)")],
)
def test_indices_are_integers_of_rank_one(indices, message):
    with pytest.raises(TypeError, match=message):
        check_indices(indices, 2)


def test_plain_iteration_ends(source):
    assert [int(example["label"]) for example in source] == LABELS.tolist()


def test_a_subclass_needs_a_length_and_an_example():
    squares = Counted(5)
    assert squares.spec == {"x": jax.ShapeDtypeStruct((), np.float32)}
    np.testing.assert_array_equal(squares.__getitems__([4, -5, 2])["x"], [16, 0, 4])
    assert squares.read == 4  # once for the spec
    with pytest.raises(ValueError, match="Counted is empty"):
        Counted(0).spec  # noqa: B018


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"axis of one length.*'x': \(3,\), 'y': \(4,\)"):
        data.ArraySource({"x": np.zeros(3), "y": np.zeros(4)})
    with pytest.raises(ValueError, match=r"leading example axis .*'x': \(\)"):
        data.ArraySource({"x": np.zeros(())})


def test_examples_that_cannot_be_stacked_name_their_numbers():
    with pytest.raises(ValueError, match=r"'tokens' has shape \(3,\) in example 2 .* example 0"):
        Ragged().__getitems__([0, 2])
    lengths = [len(one["tokens"]) for one in examples_of(Ragged(), [2, 0])]
    assert lengths == [3, 1]
    with pytest.raises(ValueError, match=r"example 1 has the arrays \['b'\]"):
        stack_examples([{"a": np.zeros(1)}, {"b": np.zeros(1)}])


def test_unstacking_undoes_stacking(source):
    batch = source.__getitems__([1, 2])
    again = stack_examples(unstack(batch))
    for name in batch:
        np.testing.assert_array_equal(again[name], batch[name])


def test_sources_travel_to_another_process(source, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    part = data.subset(
        data.ArraySource({"image": mapped, "tail": mapped[2:].repeat(2, 0)[:7]}), [5]
    )
    message = pickle.dumps(data.ArraySource({"image": mapped}))
    assert len(message) < IMAGES.nbytes  # the name of the file, not its content
    again = pickle.loads(message)
    assert isinstance(again.arrays["image"], np.memmap)
    np.testing.assert_array_equal(again[3]["image"], IMAGES[3])
    # A view of a mapped file cannot be opened again at its place: it is sent.
    view = pickle.loads(pickle.dumps(data.ArraySource({"image": mapped[2:]})))
    np.testing.assert_array_equal(view[0]["image"], IMAGES[2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(part))[0]["image"], IMAGES[5])


@pytest.mark.parametrize("kind", ["array", "subset", "mapped", "joined", "foreign", "stream"])
def test_a_source_prints_in_one_line(source, kind):
    made = {
        "array": source,
        "subset": data.subset(source, [0, 1]),
        "mapped": data.map_source(source, dict),
        "joined": data.concatenate(source, source),
        "foreign": data.from_grain([{"x": 1}]),
        "stream": data.from_iterable([{"x": 1}]),
    }[kind]
    text = repr(made)
    assert "\n" not in text
    assert len(text) < 120
    assert ("() int32" in text) or ("(4, 5, 3) uint8" in text)
    if kind == "subset":
        assert text == (
            "Subset: 2 examples, image (4, 5, 3) uint8, label () int32; 3 classes: a, b, c"
        )


def test_a_source_that_cannot_be_read_can_be_printed():
    def fail(example):
        raise KeyError("broken")

    text = repr(data.map_source(numbers(3), fail))
    assert text == "Mapped: 3 examples, unreadable ('broken')"


def test_a_data_set_prints_in_three_lines():
    assert repr(data.load("digits")).splitlines() == [
        "Dataset digits; 10 classes: 0, 1, 2, 3, 4, …",
        "  train  1,437 examples, image (8, 8, 1) uint8, label () int32",
        "  test   360 examples, image (8, 8, 1) uint8, label () int32",
    ]


# Views


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


# Foreign objects: D02, D12, D18, D19


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


# Streams: D13


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
