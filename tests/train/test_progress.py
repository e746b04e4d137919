"""The unfinished epoch, the best one, the display, and signals."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import types

import jax
import numpy as np
import pytest

from jaxdl.train import _progress
from jaxdl.types import Mean

NAN, INF = float("nan"), float("inf")


def rows(*values):
    return [{"test/loss": value} for value in values]


# Sums of an unfinished epoch


def make_steps(number=200):
    generator = np.random.default_rng(0)
    loss = generator.lognormal(size=number).astype(np.float32)
    return {
        "loss": Mean(loss, np.full(number, 7, np.float32)),
        "confusion": generator.integers(0, 9, (number, 2, 2), np.int32),
    }


STEPS = make_steps()
FORM = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), STEPS)


def start(unfinished=None):
    return _progress.Progress(FORM, 1000, 0, 7.0, enabled=False, unfinished=unfinished)


def add(progress, start, stop):
    progress.add(jax.tree.map(lambda leaf: leaf[start:stop], STEPS), (stop - start) / 64)


def finish_with(*cuts, json_between=False):
    progress = start()
    for first, last in zip((0, *cuts), (*cuts, 200), strict=True):
        add(progress, first, last)
        if json_between:
            progress = start(json.loads(json.dumps(progress.unfinished())))
    return progress.finish(200)


def test_the_row_of_an_epoch_by_hand():
    assert finish_with() == {
        "train/loss": STEPS["loss"].total.astype(float).sum() / 1400,
        "train/confusion": STEPS["confusion"].sum(axis=0).tolist(),
        "epoch_seconds": 3.125,
        "examples_per_second": 448.0,
    }


@pytest.mark.parametrize("json_between", [False, True])
@pytest.mark.parametrize("cuts", [(1,), (199,), (3, 64, 65), tuple(range(1, 200))])
def test_the_row_is_the_same_to_the_bit_however_the_steps_are_cut(cuts, json_between):
    assert finish_with(*cuts, json_between=json_between) == finish_with()


def test_finishing_begins_the_next_epoch():
    progress = start()
    assert progress.unfinished() is None
    add(progress, 0, 50)
    assert progress.unfinished()["seconds"] == 50 / 64
    progress.finish(50)
    assert progress.unfinished() is None
    add(progress, 0, 200)
    assert progress.finish(200) == finish_with()


# The best epoch


@pytest.mark.parametrize(
    ("earlier", "now", "mode", "best"),
    [
        ([], 3.0, "min", True),
        ([2.0], 1.0, "min", True),
        ([2.0], 2.0, "min", False),
        ([1.0, 3.0], 2.0, "min", False),
        ([2.0], 3.0, "max", True),
        ([2.0], 2.0, "max", False),
        ([-2.0], -3.0, "min", True),
        ([-2.0], -3.0, "max", False),
        ([-2.0], -1.0, "max", True),
        ([0.0], -1.0, "min", True),
        ([], NAN, "min", False),
        ([], NAN, "max", False),
        ([NAN], 5.0, "min", True),
        ([NAN], 5.0, "max", True),
        ([1.0], NAN, "max", False),
        ([2.0, NAN], 3.0, "min", False),
        ([None], 5.0, "min", True),
        ([1.0], INF, "max", False),
        ([1.0], -INF, "max", False),
        ([1.0], -INF, "min", False),
        ([INF], 5.0, "min", True),
    ],
)
def test_is_best(earlier, now, mode, best):
    [row] = rows(now)
    assert _progress.Monitor("test/loss", mode).is_best(row, rows(*earlier)) is best


def test_a_monitor_that_is_missing_is_an_error():
    row = {"train/loss": 1.0}
    assert _progress.Monitor("", "min").is_best(row, []) is False
    with pytest.raises(ValueError, match=r"monitor 'test/loss' is not a metric .*'train/loss'"):
        _progress.Monitor("test/loss").is_best(row, [])


@pytest.mark.parametrize(
    ("values", "mode", "patience", "stale"),
    [
        ([], "min", 1, False),
        ([1.0], "min", 1, False),
        ([1.0, 2.0], "min", 1, True),
        ([1.0, 2.0], "min", 2, False),
        ([1.0, 2.0, 1.5], "min", 2, True),
        ([1.0, 2.0, 0.5], "min", 2, False),
        ([1.0, 1.0], "min", 1, True),
        ([1.0, 2.0], "max", 1, False),
        ([2.0, 1.0], "max", 1, True),
        ([-1.0, -2.0], "max", 1, True),
        ([-1.0, -2.0], "min", 1, False),
        ([1.0, NAN], "min", 1, True),
        ([NAN, NAN], "min", 2, True),
        ([NAN, NAN], "min", 3, False),
        ([3.0, 2.0, 1.0, 4.0, 4.0, 4.0], "min", None, False),
    ],
)
def test_is_stale(values, mode, patience, stale):
    assert _progress.Monitor("test/loss", mode, patience).is_stale(rows(*values)) is stale


# The display


ROW = {
    "epoch": 2,
    "step": 64,
    "train/loss": 0.123456,
    "learning_rate": 3e-5,
    "train/confusion": [[1, 2], [3, 4]],
    "epoch_seconds": 1.25,
    "eval_seconds": 0.5,
    "examples_per_second": 1234.5,
}


LINE = "epoch 2/3  train/loss 0.1235  learning_rate 3e-05  1.2 s  1,234 examples/s"


@pytest.mark.parametrize("enabled", [True, False])
def test_a_line_per_epoch(enabled, capsys):
    with _progress.Progress(FORM, 300, 0, 7.0, enabled=enabled) as progress:
        progress.add(STEPS, 1.0)
        progress.row(ROW, "epoch 2/3")
    out, err = capsys.readouterr()
    assert (out, err) == (f"{LINE}\n" if enabled else "", "")


def test_a_file_gets_a_line_after_a_minute_of_silence(capsys, monkeypatch):
    monkeypatch.setattr(_progress, "HEARTBEAT_SECONDS", 0.1)
    with _progress.Progress(FORM, 300, 50, 7.0, enabled=True) as progress:
        time.sleep(0.15)
        progress.add(STEPS, 1.0)
        time.sleep(0.2)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "step 50 of 300"
    assert re.fullmatch(r"step 250 of 300  loss \d\.\d+  0 s left", others[-1])
    assert len(others) <= 3


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with _progress.Progress(FORM, 300, 0, 7.0, enabled=True) as progress:
        progress.add(STEPS, 1.0)
        progress.row(ROW, "epoch 2/3")
    out, err = capsys.readouterr()
    assert out == f"{LINE}\n"
    assert "67%" in err


def test_a_notebook_gets_one_display_that_is_updated(capsys, monkeypatch):
    shown = []

    class Handle:
        def update(self, content, *, raw):
            shown.append(content)

    def display(content, *, raw, display_id):
        shown.append(content)
        return Handle()

    module = types.ModuleType("IPython.display")
    module.display = display
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    monkeypatch.setattr(_progress, "NOTEBOOK_SECONDS", -1)
    with _progress.Progress(FORM, 300, 0, 7.0, enabled=True) as progress:
        progress.line("compiled in 0.1 s")
        progress.add(STEPS, 1.0)
        progress.row(ROW, "epoch 2/3")
    assert capsys.readouterr() == ("", "")
    plain = [content["text/plain"] for content in shown]
    assert plain[:2] == ["step 0 of 300", "compiled in 0.1 s\nstep 0 of 300"]
    assert plain[2].startswith("compiled in 0.1 s\nstep 200 of 300  loss ")
    assert plain[-1] == LINE
    assert shown[-1]["text/html"] == f"<pre>{LINE}</pre>"


# Signals


def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_collected_and_the_handlers_come_back(number):
    before = handlers()
    with _progress.catch_signals() as caught:
        assert caught == []
        os.kill(os.getpid(), number)
        assert caught == [number]
    assert handlers() == before


def test_the_handlers_come_back_after_an_error():
    before = handlers()
    with pytest.raises(ZeroDivisionError), _progress.catch_signals():
        1 / 0  # noqa: B018
    assert handlers() == before


def test_another_thread_catches_nothing():
    before, seen = handlers(), []

    def look():
        with _progress.catch_signals() as caught:
            seen.append((caught, handlers()))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [([], before)]


PROGRAM = """
import os, signal, sys
from jaxdl.train._progress import catch_signals

number = int(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with catch_signals() as caught:
    os.kill(os.getpid(), number)
    print("caught", caught == [number], flush=True)
    os.kill(os.getpid(), number)
    print("went on", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_acts_at_once(number):
    command = [sys.executable, "-c", PROGRAM, str(int(number))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "caught True\n"
    if number == signal.SIGTERM:
        assert result.returncode == -signal.SIGTERM
    else:
        assert result.stderr.endswith("KeyboardInterrupt\n")
