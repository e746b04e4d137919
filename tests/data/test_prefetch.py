"""Worker processes: the same batches, errors that reach the caller, and nothing left behind."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.streaming_script import NameSharedMemory

from jaxdl import data


class Numbers(data.BaseSource):
    """Example i is i, in 1,000 places."""

    def __init__(self, number, bad=None):
        self.number, self.bad = number, bad

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        if index == self.bad:
            raise KeyError(f"example {index} is bad")
        return {"x": np.full(1000, index, np.float32), "worker": np.int32(os.getpid())}


MEMORY = NameSharedMemory(f"w{os.getpid()}")
OPTIONS = {"batch_size": 4, "multiprocessing_context": "spawn", "worker_init_fn": MEMORY}


def nothing_is_left():
    """Grain frees shared memory in another thread."""
    deadline = time.monotonic() + 10
    while MEMORY.left() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not multiprocessing.active_children() and not MEMORY.left()


@pytest.mark.slow
def test_processes_give_the_batches_and_the_error_of_one_and_leave_nothing():
    options = {"shuffle": True, "key": 3}
    bad = int(data.RandomSampler(30, key=3).order(0)[21])
    processes = data.Loader(Numbers(30, bad), num_workers=2, **options, **OPTIONS)
    seen = []
    with pytest.raises(KeyError, match=f"example {bad} is bad") as caught:
        seen.extend(processes)
    assert 'raise KeyError(f"example {index} is bad")' in caught.value.__notes__[0]
    assert len(seen) == 5  # all before the bad one
    expected = data.Loader(Numbers(30), batch_size=4, **options).epoch(0)
    for batch, one in zip(seen, expected, strict=False):
        np.testing.assert_array_equal(batch["x"], one["x"])
        assert type(batch["x"]) is np.ndarray
    workers = [set(batch["worker"].tolist()) for batch in seen]
    assert workers[0] == workers[2] != workers[1] == workers[3]
    assert os.getpid() not in workers[0] | workers[1]
    assert nothing_is_left()


@pytest.mark.slow
def test_a_loop_that_is_left_leaves_no_process():
    batches = data.Loader(Numbers(40), num_workers=1, **OPTIONS).epoch(0, start=7)
    assert next(batches)["x"][0, 0] == 28
    assert MEMORY.left()  # what was read ahead
    assert len(multiprocessing.active_children()) == 1
    del batches
    assert nothing_is_left()


class Dies(Numbers):
    """Example 9 ends its process in some way."""

    def __init__(self, way):
        super().__init__(16)
        self.way = way

    def __getitem__(self, index):
        if index == 9:
            if self.way == "SystemExit":
                sys.exit(0)
            if self.way == "KeyboardInterrupt":
                raise KeyboardInterrupt
            if self.way == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0 if self.way == "exit code 0" else 3)
        return super().__getitem__(index)


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("SystemExit", "a worker of the loader raised SystemExit: 0"),
        ("KeyboardInterrupt", "a worker of the loader raised KeyboardInterrupt"),
        ("exit code 0", "ended with exit code 0 before it had read its batches"),
        ("exit code 3", "terminated unexpectedly with exit code 3"),
        ("killed", "terminated unexpectedly with exit code -9"),
    ],
)
def test_a_worker_that_ends_is_an_error(way, message):
    """Shared memory of a process that is killed lasts until Python's resource tracker ends."""
    options = {**OPTIONS, "worker_init_fn": None}
    seen = []
    with pytest.raises(RuntimeError, match=message):
        seen.extend(data.Loader(Dies(way), num_workers=2, **options))
    assert len(seen) <= 2
    assert not multiprocessing.active_children()


def quit_at_once(index):
    sys.exit(0)


def refuse(index):
    raise ValueError(f"no license for worker {index}")


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (quit_at_once, RuntimeError, "a worker of the loader raised SystemExit"),
        (refuse, ValueError, "no license for worker 0"),
    ],
)
def test_a_worker_that_does_not_begin_is_an_error(function, error, message):
    options = {**OPTIONS, "worker_init_fn": function}
    with pytest.raises(error, match=message):
        list(data.Loader(Numbers(8), num_workers=1, **options))
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_script_without_a_main_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from jaxdl import data\n"
        "options = {'num_workers': 1, 'multiprocessing_context': 'spawn'}\n"
        "print(list(data.Loader([{'x': 1}], **options)))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    assert "under `if __name__ == '__main__':`, or use threads" in result.stderr
    threads = script.read_text().replace(", 'multiprocessing_context': 'spawn'", "")
    script.write_text(threads)
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    assert "array([1]" in result.stdout


@pytest.mark.slow
def test_two_processes_see_the_batches_of_one():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    script = Path(__file__).parents[1] / "helpers" / "two_processes.py"
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(port), str(index)], stdout=subprocess.PIPE, text=True
        )
        for index in range(2)
    ]
    seen = [
        json.loads(process.communicate(timeout=200)[0].splitlines()[-1]) for process in processes
    ]
    source = data.ArraySource({"x": np.arange(22)})
    loader = data.Loader(source, batch_size=8, shuffle=True, key=6, pad_last=True)
    expected = [{name: x.tolist() for name, x in batch.items()} for batch in loader]
    assert seen == [expected, expected]
