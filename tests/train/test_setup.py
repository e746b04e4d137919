"""The length, batches and evaluation sets of a run, checked before it starts."""

import numpy as np
import pytest
from helpers.streaming_script import Images

from jaxdl import data
from jaxdl.data.source import stack_examples
from jaxdl.train import _setup
from jaxdl.train._setup import Length, make_length, prepare_evaluation

ARRAYS = {"x": np.zeros((70, 2), np.float32)}


def test_an_epoch_is_a_row_unless_rows_are_steps():
    epochs = make_length(ARRAYS, 16, 0, 3, None, None)
    assert epochs == Length(total=15, num_batches=5, every=5, in_epochs=True)
    assert [epochs.next_row(done) for done in (0, 4, 5, 14)] == [5, 5, 10, 15]
    assert epochs.position(10) == "epoch 2/3"
    steps = make_length(ARRAYS, 16, 0, None, 1234, 100)
    assert (steps.total, steps.every, steps.num_epochs) == (1234, 100, 247)
    assert [steps.next_row(done) for done in (99, 100, 1200)] == [100, 200, 1234]
    assert steps.position(1200) == "step 1,200/1,234"
    assert [steps.epoch(done) for done in (5, 7)] == [1, 1.4]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((3, 3, None), "pass either num_epochs or num_steps"),
        ((None, None, None), "pass either num_epochs or num_steps"),
        ((1.5, None, None), r"num_epochs must be an integer, got 1\.5"),
        ((3, None, 0), "eval_every must be at least 1, got 0"),
    ],
)
def test_lengths_that_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        make_length(ARRAYS, 16, 0, *sizes)


@pytest.mark.parametrize(("batch_size", "key"), [(None, 0), (16, None)])
def test_arrays_need_a_batch_size_and_a_key(batch_size, key):
    with pytest.raises(ValueError, match="needs batch_size and key"):
        make_length(ARRAYS, batch_size, key, 3, None, None)


def test_a_state_beyond_the_end_is_refused():
    assert Length(15, 5, 5, True).check_position(15) == 15
    with pytest.raises(ValueError, match="at step 16 already, 3 epochs end at step 15"):
        Length(15, 5, 5, True).check_position(16)
    with pytest.raises(ValueError, match="at step 16 already, num_steps is 15"):
        Length(15, 5, 5, False).check_position(16)


def test_of_several_sets_test_is_kept_for_the_end():
    evaluate = lambda state, batch: {}  # noqa: E731
    alone = prepare_evaluation(evaluate, {"test": ARRAYS}, None, print)
    assert (list(alone.sets), list(alone.final)) == (["test"], [])
    both = prepare_evaluation(evaluate, {"val": ARRAYS, "test": ARRAYS}, 32, print)
    assert (list(both.sets), list(both.final)) == (["val"], ["test"])
    assert both.first[1] == 32
    assert prepare_evaluation(None, None, None, print).first is None


def test_a_small_source_is_resident_by_itself_and_a_mapped_one_is_not(monkeypatch):
    array = data.ArraySource({"x": np.zeros((10, 4), np.float32)})
    said = []
    assert _setup.resident_arrays(data.Loader(array), said.append) is not None
    assert len(said) == 1
    part = data.subset(array, [0, 1])
    assert len(_setup.resident_arrays(data.Loader(part), said.append)["x"]) == 2
    others = [
        data.Loader(data.map_source(array, dict)),  # its function may draw at random
        data.Loader(Images()),  # whatever a user's own source does
        data.Loader(array, resident=False),
        data.Loader(array, collate_fn=stack_examples),
        data.Loader(data.from_iterable([{"x": 1}])),
    ]
    assert [_setup.resident_arrays(loader, said.append) for loader in others] == [None] * 5
    with pytest.raises(ValueError, match="resident=True and collate_fn are mutually exclusive"):
        _setup.resident_arrays(others[3].replace(resident=True), print)
    monkeypatch.setattr(_setup, "device_memory", lambda: (1000, None))
    assert _setup.resident_arrays(data.Loader(array), print) is None


def test_many_windows_stay_as_small_as_their_tokens():
    tokens = np.zeros(1_115_394, np.int32)
    tokens[-1] = 64
    loader = data.Loader(data.sources.Windows(tokens, 256, stride=1), batch_size=64)
    arrays, _ = _setup.compact_arrays(loader, lambda text: None)
    assert sum(array.nbytes for array in arrays.values()) == 1_115_394
    assert _setup.compact_arrays(loader.replace(resident=False), print) is None
    plain = data.Loader(data.ArraySource({"x": np.arange(5)}))
    assert _setup.compact_arrays(plain, print) is None
