"""The unfinished epoch, the best one, what is printed, and signals."""

import json
import os
import signal
import subprocess
import sys
import threading

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


def add(epoch, start, stop):
    epoch.add(jax.tree.map(lambda leaf: leaf[start:stop], STEPS), (stop - start) / 64)


def finish_with(*cuts, json_between=False):
    epoch = _progress.Epoch(FORM)
    for start, stop in zip((0, *cuts), (*cuts, 200), strict=True):
        add(epoch, start, stop)
        if json_between:
            epoch = _progress.Epoch(FORM, json.loads(json.dumps(epoch.progress())))
    return epoch.finish(1400)


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
    epoch = _progress.Epoch(FORM)
    assert epoch.progress() is None
    add(epoch, 0, 50)
    assert epoch.progress()["seconds"] == 50 / 64
    epoch.finish(350)
    assert epoch.progress() is None
    add(epoch, 0, 200)
    assert epoch.finish(1400) == finish_with()


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
    assert _progress.is_best(row, rows(*earlier), "test/loss", mode, required=True) is best


def test_a_monitor_that_is_missing_is_an_error_only_where_it_is_required():
    row = {"train/loss": 1.0}
    assert _progress.is_best(row, [], "test/loss", "min", required=False) is False
    with pytest.raises(ValueError, match=r"monitor 'test/loss' is not a metric .*'train/loss'"):
        _progress.is_best(row, [], "test/loss", "min", required=True)


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
    assert _progress.is_stale(rows(*values), "test/loss", mode, patience) is stale


# What is printed


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


@pytest.mark.parametrize("enabled", [True, False])
def test_a_line_an_epoch(enabled, capsys):
    with _progress.Bar(100, 0, 7.0, enabled=enabled) as bar:
        bar.advance(10, STEPS)
        bar.epoch(ROW, 3)
    line = "epoch 2/3  train/loss 0.1235  learning_rate 3e-05  1.2 s  1,234 examples/s\n"
    assert capsys.readouterr().out == (line if enabled else "")


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
from jaxdl.train.progress import catch_signals

number = int(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with catch_signals() as caught:
    os.kill(os.getpid(), number)
    print("caught", caught == [number], flush=True)
    os.kill(os.getpid(), number)
    print("went on", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_acts_at_once(number):
    command = [sys.executable, "-c", PROGRAM, str(int(number))]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.stdout == "caught True\n"
    if number == signal.SIGTERM:
        assert result.returncode == -signal.SIGTERM
    else:
        assert result.stderr.endswith("KeyboardInterrupt\n")
