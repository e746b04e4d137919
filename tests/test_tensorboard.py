"""Event files as TensorBoard itself reads them."""

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jaxdl import tensorboard


def read(directory):
    """(step, value) of every scalar by tag; nothing is sampled away."""
    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in tags}


def write(directory, steps, *, resume_step=None):
    with tensorboard.open_writer(directory, resume_step=resume_step) as writer:
        for step in steps:
            tensorboard.write_scalars(writer, {"test/loss": step + (resume_step or 0) / 64}, step)


def test_scalars_come_back_with_tag_step_and_value(tmp_path):
    with tensorboard.open_writer(tmp_path / "runs" / "a") as writer:
        tensorboard.write_scalars(writer, {"test/loss": 0.5, "test/accuracy": 1}, 10)
        tensorboard.write_scalars(writer, {"test/loss": 0.25}, 20)
    assert read(tmp_path / "runs" / "a") == {
        "test/loss": [(10, 0.5), (20, 0.25)],
        "test/accuracy": [(10, 1.0)],
    }


def test_numbers_of_numpy_are_written_and_what_is_no_number_is_left_out(tmp_path):
    row = {
        "float32": np.float32(0.5),
        "float64": np.float64(0.25),
        "int64": np.int64(3),
        "flag": True,
        "confusion": [[1, 2], [3, 4]],
        "name": "run",
        "nothing": None,
    }
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, row, 1)
    expected = {"float32": [(1, 0.5)], "float64": [(1, 0.25)], "int64": [(1, 3.0)]}
    assert read(tmp_path) == expected


def test_nan_and_infinity_are_written(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, {"a": float("nan"), "b": float("inf")}, 1)
    values = read(tmp_path)
    assert np.isnan(values["a"][0][1])
    assert values["b"] == [(1, float("inf"))]


def test_a_thousand_points_are_all_kept(tmp_path):
    write(tmp_path, range(1000))
    assert [step for step, _ in read(tmp_path)["test/loss"]] == list(range(1000))


def test_what_a_killed_run_wrote_after_its_checkpoint_is_not_drawn_twice(tmp_path):
    write(tmp_path, range(1, 11))
    write(tmp_path, range(6, 9), resume_step=5)
    old = [(step, float(step)) for step in range(1, 6)]
    new = [(step, step + 5 / 64) for step in range(6, 9)]
    assert read(tmp_path)["test/loss"] == old + new


@pytest.mark.parametrize("times", [2, 12])
def test_resuming_within_a_second_loses_nothing(times, tmp_path):
    write(tmp_path, [1])
    for step in range(1, times):
        write(tmp_path, [step + 1], resume_step=step)
    assert [step for step, _ in read(tmp_path)["test/loss"]] == list(range(1, times + 1))
