"""Event files as TensorBoard itself reads them."""

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import accumulate, values
from helpers.event_files import scalars as read
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from jaxdl import tensorboard


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
        "jax": jnp.float32(0.125),
        "bfloat16": jnp.bfloat16(2.0),
        "vector": jnp.zeros(1),
        "jax_flag": jnp.array(True),
    }
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, row, 1)
    expected = {"float32": [(1, 0.5)], "float64": [(1, 0.25)], "int64": [(1, 3.0)]}
    expected |= {"jax": [(1, 0.125)], "bfloat16": [(1, 2.0)]}
    assert read(tmp_path) == expected


def test_what_is_gathered_is_one_event_a_step(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, {"kind": 1.0}, 0)
        with tensorboard.writer.one_event(writer) as gathered:
            tensorboard.write_scalars(gathered, {"a": 1.0, "b": 2.0}, 3)
            tensorboard.write_histogram(gathered, "weights", [1.0, 2.0, 2.0], 3)
            tensorboard.write_scalars(gathered, {"a": 5.0}, 4)
            with pytest.raises(ValueError, match="'kind' already holds scalars"):
                tensorboard.write_histogram(gathered, "kind", [1.0], 3)
        with contextlib.suppress(RuntimeError), tensorboard.writer.one_event(writer) as gathered:
            tensorboard.write_scalars(gathered, {"lost": 1.0}, 5)
            raise RuntimeError  # all of an event, or nothing
    (path,) = tmp_path.glob("events.*")
    events = [
        (event.step, [value.tag for value in event.summary.value])
        for event in LegacyEventFileLoader(str(path)).Load()
        if event.summary.value
    ]
    assert events == [(0, ["kind"]), (3, ["a", "b", "weights"]), (4, ["a"])]
    assert accumulate(tmp_path).Histograms("weights")[0].histogram_value.num == 3


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


def test_flush_leaves_nothing_in_the_queue(tmp_path):
    writer = tensorboard.open_writer(tmp_path, flush_seconds=3600)
    for step in range(300):
        tensorboard.write_scalars(writer, {"loss": step / 4}, step)
    writer.flush()
    assert read(tmp_path)["loss"] == [(step, step / 4) for step in range(300)]
    tensorboard.write_scalars(writer, {"loss": 1.0}, 300)
    tensorboard.close_writer(writer)
    assert len(read(tmp_path)["loss"]) == 301
    assert len(list(tmp_path.iterdir())) == 1


def test_one_thread_flushes_while_another_writes(tmp_path):
    with tensorboard.open_writer(tmp_path, flush_seconds=3600) as writer:
        flushed = []  # how many of this thread's own were in the file after each

        def write_all():
            for step in range(600):
                tensorboard.write_scalars(writer, {"loss": step / 4}, step)
            return step

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write_all)
            while not writing.done():
                tensorboard.write_scalars(writer, {"flush": 1.0}, len(flushed))
                writer.flush()
                flushed.append(len(values(tmp_path)["flush"]))
        assert writing.result() == 599
        assert flushed == list(range(1, len(flushed) + 1))
        writer.flush()
        assert read(tmp_path)["loss"] == [(step, step / 4) for step in range(600)]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_flush_that_the_thread_does_not_live_to_see_is_an_error(tmp_path):
    def fail():
        raise OSError("No space left on device")

    with tensorboard.open_writer(tmp_path) as writer:
        writer.file_writer.event_writer._ev_writer.flush = fail
        tensorboard.write_scalars(writer, {"loss": 1.0}, 0)
        with pytest.raises(OSError, match="is the disk full"):
            writer.flush()


def test_a_tag_keeps_its_spaces_and_letters(tmp_path):
    tags = ["Learning Rate", "größe/50% (a+b) #1?"]
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, dict.fromkeys(tags, 0.5), 1)
    assert set(read(tmp_path)) == set(tags)


@pytest.mark.parametrize("tag", ["", "/loss", "loss/", "a//b", " loss", "a/ b", "a\nb", "a\tb", 3])
def test_an_odd_tag_is_named(tag, tmp_path):
    with (
        tensorboard.open_writer(tmp_path) as writer,
        pytest.raises(ValueError, match=r"a tag must be printable text such as 'test/loss'"),
    ):
        tensorboard.write_scalars(writer, {tag: 1.0}, 1)


def test_a_tag_that_holds_scalars_holds_no_histogram(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_scalars(writer, {"fc1": 1.0}, 1)
        message = r"'fc1' already holds scalars; choose another one for histograms"
        with pytest.raises(ValueError, match=message):
            tensorboard.write_histogram(writer, "fc1", np.ones(3), 1)
        tensorboard.write_scalars(writer, {"fc1": 2.0}, 2)
    assert read(tmp_path)["fc1"] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("step", [-1, 0.5])
@pytest.mark.parametrize("write", [tensorboard.write_scalars, tensorboard.write_embedding])
def test_a_step_is_a_whole_number_from_0(write, step, tmp_path):
    content = ({"loss": 1.0},) if write is tensorboard.write_scalars else ("fc1", np.ones((3, 2)))
    message = f"step must be a whole number of 0 or more, in updates, got {step}"
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        write(writer, *content, step)
    assert not (tmp_path / "projector").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"log folder .*file/run cannot be written \(Not a directory"):
        tensorboard.open_writer(tmp_path / "file" / "run")


def test_a_closed_writer_says_so(tmp_path):
    writer = tensorboard.open_writer(tmp_path)
    tensorboard.close_writer(writer)
    tensorboard.close_writer(writer)
    with pytest.raises(ValueError, match="the writer is closed"):
        tensorboard.write_scalars(writer, {"loss": 1.0}, 1)


def test_a_dead_thread_is_an_error_and_never_waited_for(tmp_path):
    message = r"could not be written \(is the disk full"
    with tensorboard.open_writer(tmp_path, max_queue=1) as writer:
        writer.file_writer.event_writer._worker.stop()  # what a full disk does to it
        with pytest.raises(OSError, match=message):
            tensorboard.write_histogram(writer, "weights", np.ones(3), 1)
        with pytest.raises(OSError, match=message):
            writer.flush()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_while_the_queue_is_full_is_not_waited_for(tmp_path):
    def fail(event):
        raise OSError("No space left on device")

    def write_on(writer):
        for step in range(5):
            tensorboard.write_scalars(writer, {"loss": 1.0}, step)

    with tensorboard.open_writer(tmp_path, max_queue=1) as writer:
        writer.file_writer.event_writer._ev_writer.write_event = fail
        with pytest.raises(OSError, match="is the disk full"):
            write_on(writer)


@pytest.mark.slow
def test_tensorboardx_is_imported_with_the_first_writer():
    code = "import sys, jaxdl, jaxdl.tensorboard; sys.exit('tensorboardX' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
