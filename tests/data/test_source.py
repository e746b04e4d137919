"""Sources: examples by index, alone and in batches, and how they print."""

import pickle

import jax
import numpy as np
import pytest
from helpers.small_sources import IMAGES, LABELS, Counted, Ragged, numbers

from jaxdl import data
from jaxdl.data.source import (
    check_indices,
    examples_of,
    stack_examples,
    unstack,
)

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
