"""The run folder: its lock, and a disk that fails."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from jaxdl import tensorboard
from jaxdl.train.run_dir import RunFolder
from jaxdl.types import TrainState


def make_state(step=0):
    return TrainState(jnp.array(step), {"w": jnp.ones(3)}, {}, (), jax.random.key(0))


def make_folder(workdir, resume=False):
    return RunFolder(workdir, make_state(), resume=resume, fingerprint={"batch size": 4})


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


MESSAGE = r"the run folder .* can no longer be written: .*free some space and resume the run"


def test_a_disk_that_fills_up_is_one_clear_error_and_the_run_can_go_on(tmp_path, monkeypatch):
    row = {"epoch": 1, "step": 5, "test/loss": 0.5}
    with make_folder(tmp_path) as folder:
        folder.add_row(row)
        folder.save(make_state(5), None)
        folder.finish()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=MESSAGE):
                folder.add_row({"epoch": 2, "step": 10, "test/loss": 0.4})
    with make_folder(tmp_path, resume=True) as folder:
        assert folder.history == [row]
        assert int(folder.state.step) == 5
        assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 1


def test_a_writer_whose_thread_has_died_raises_instead_of_waiting_for_ever(tmp_path):
    with make_folder(tmp_path) as folder:
        worker = folder.writer.file_writer.event_writer._worker
        worker.stop()  # what a full disk does to it
        with pytest.raises(OSError, match=MESSAGE):
            folder.add_row({"epoch": 1, "step": 5, "test/loss": 0.5})
    with pytest.raises(OSError, match="is the disk full"):
        tensorboard.write_scalars(folder.writer, {"loss": 1.0}, 1)


FULL = """
import resource, signal, sys
import jax, jax.numpy as jnp
from jaxdl.train.run_dir import RunFolder
from jaxdl.types import TrainState

def make_state(step):
    return TrainState(jnp.array(step), {"w": jnp.ones(9999)}, {}, (), jax.random.key(0))

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with RunFolder(sys.argv[1], make_state(0), resume=True, fingerprint={}) as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        for step in range(1, 2000):
            folder.add_row({"epoch": step, "step": step, "test/loss": 0.5})
            if step % 500 == 0:
                folder.save(make_state(step), None)
        folder.finish()
except OSError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [10_000, 80_000])
def test_a_full_disk_is_one_line_without_tracebacks(tmp_path, limit):
    """The first limit stops a checkpoint or TensorBoard's thread, the second ``metrics.jsonl``."""
    result = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path, str(limit)], capture_output=True, text=True
    )
    assert result.returncode == 0
    assert re.fullmatch(MESSAGE + r"\.\n", result.stdout)
    assert result.stderr == ""


def test_a_folder_that_is_moved_away_is_an_error(tmp_path):
    with make_folder(tmp_path / "a") as folder:
        folder.add_row({"epoch": 1, "step": 5})
        (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(OSError, match="was moved or deleted"):
            folder.save(make_state(5), None)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_without_a_folder_there_is_only_a_history(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with make_folder(None) as folder:
        folder.add_row({"epoch": 1, "step": 5})
        folder.keep_best(make_state(5), folder.history[0])
        folder.save(make_state(5), None)
        folder.finish()
    assert folder.history == [{"epoch": 1, "step": 5}]
    assert list(tmp_path.iterdir()) == []


def test_a_run_killed_while_its_first_checkpoint_was_written_begins_again(tmp_path):
    (tmp_path / "checkpoints/last/5.orbax-checkpoint-tmp/state").mkdir(parents=True)
    with make_folder(tmp_path, resume=True) as folder:
        assert int(folder.state.step) == 0
        assert folder.history == []
    deadline = time.monotonic() + 30  # Orbax removes it in a thread
    while list((tmp_path / "checkpoints/last").glob("5*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


# The lock

HOLDER = """
import os, sys, time
import jax, jax.numpy as jnp
from jaxdl.train.run_dir import RunFolder
from jaxdl.types import TrainState

state = TrainState(jnp.array(0), {"w": jnp.ones(3)}, {}, (), jax.random.key(0))
with RunFolder(sys.argv[1], state, resume=True, fingerprint={"batch size": 4}):
    if os.fork() == 0:  # a worker that outlives its parent
        time.sleep(60)
        os._exit(0)
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_another_process_is_refused_until_the_first_has_died(tmp_path):
    workdir = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, workdir], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout.readline() == b"locked\n"
        files = sorted(path.name for path in workdir.iterdir())
        for resume in (False, True):
            with (
                pytest.raises(OSError, match=f"is in use by process {process.pid} on "),
                make_folder(workdir, resume=resume),
            ):
                pass
        assert sorted(path.name for path in workdir.iterdir()) == files
        process.kill()
        process.wait()
        assert (workdir / ".lock").exists()
        with make_folder(workdir, resume=True):
            assert f"process {os.getpid()} on" in (workdir / ".lock").read_text()
        assert not (workdir / ".lock").exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the worker
        process.wait()


def test_two_runs_of_one_process_do_not_share_a_folder(tmp_path):
    with make_folder(tmp_path):
        with (
            pytest.raises(OSError, match=f"in use by process {os.getpid()}"),
            make_folder(tmp_path),
        ):
            pass
        with pytest.raises(OSError, match="in use by"), make_folder(tmp_path):  # still
            pass
    with make_folder(tmp_path):
        pass


def test_a_folder_that_is_refused_is_left_as_it_was(tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="needs about"), make_folder(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


NAMES = ("lr[0.1]", "[!a]", "a\\b", "**", "a*b?", "{x,y}", "~x", "-x", " x ", "ä\u3042")
MORE_NAMES = ("new\nline", "100%", "$HOME", "a:b", "x#y", "a:/b", os.fsdecode(b"latin-\xe4"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES + MORE_NAMES)
def test_any_name_of_a_folder_works(tmp_path, name):
    workdir = tmp_path / name
    for step in (5, 10):
        with make_folder(workdir, resume=True) as folder:
            assert int(folder.state.step) == step - 5
            folder.keep_best(make_state(step), {"step": step})
            folder.add_row({"epoch": step // 5, "step": step, "test/loss": 0.5})
            folder.save(make_state(step), None)
            folder.finish()
            assert int(folder.load_best(step, make_state()).step) == step
    assert len(list(tmp_path.iterdir())) == 1
    assert len(list(workdir.glob("events.*"))) == 2
