"""The run folder when the disk fails."""

import errno
import os

import jax
import jax.numpy as jnp
import pytest

from jaxdl import tensorboard
from jaxdl.train._run_dir import Record
from jaxdl.types import TrainState


def make_state(step=0):
    return TrainState(jnp.array(step), {"w": jnp.ones(3)}, {}, (), jax.random.key(0))


def make_record(workdir, resume=False):
    return Record(workdir, make_state(), resume=resume, fingerprint={"batch size": 4})


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


MESSAGE = r"the run folder .* cannot be written any more: .*free some space and resume the run"


def test_a_disk_that_fills_up_is_one_clear_error_and_the_run_can_go_on(tmp_path, monkeypatch):
    row = {"epoch": 1, "step": 5, "test/loss": 0.5}
    with make_record(tmp_path) as record:
        record.add_row(row)
        record.save(make_state(5), None)
        record.finish()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=MESSAGE):
                record.add_row({"epoch": 2, "step": 10, "test/loss": 0.4})
    with make_record(tmp_path, resume=True) as record:
        assert record.history == [row]
        assert int(record.state.step) == 5
        assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


def test_a_writer_whose_thread_has_died_raises_instead_of_waiting_for_ever(tmp_path):
    with make_record(tmp_path) as record:
        worker = record.writer.file_writer.event_writer._worker
        worker.stop()  # what a full disk does to it
        with pytest.raises(OSError, match=MESSAGE):
            record.add_row({"epoch": 1, "step": 5, "test/loss": 0.5})
    with pytest.raises(OSError, match="is the disk full"):
        tensorboard.write_scalars(record.writer, {"loss": 1.0}, 1)


def test_without_a_folder_there_is_only_a_history(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make_record(None) as record:
        record.add_row({"epoch": 1, "step": 5})
        record.keep_best(make_state(5), record.history[0])
        record.save(make_state(5), None)
        record.finish()
    assert record.history == [{"epoch": 1, "step": 5}]
    assert list(tmp_path.iterdir()) == []


def test_a_run_killed_while_its_first_checkpoint_was_written_begins_again(tmp_path):
    (tmp_path / "checkpoints/last/5.orbax-checkpoint-tmp/state").mkdir(parents=True)
    with make_record(tmp_path, resume=True) as record:
        assert int(record.state.step) == 0
        assert record.history == []
    assert not list((tmp_path / "checkpoints/last").glob("5*"))
