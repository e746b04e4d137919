"""kill -9 at random moments, resume, and the weights are bitwise those of a run never killed.

Dropout, BatchNorm, shuffling, augmentation and Adam are on. JAXDL_KILLS sets how often it is killed
(default 3).
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from helpers.same import without_times

from jaxdl import checkpoint

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("JAXDL_KILLS", "3"))


def command(workdir):
    shared = ROOT.parent / "shared" / "data"
    real = (shared / "fashion_mnist").is_dir()
    source = (
        [
            "--data",
            "fashion_mnist",
            "--data_dir",
            shared,
            "--num_train",
            "3000",
            "--num_epochs",
            "4",
        ]
        if real
        else ["--data", "digits", "--num_epochs", "30"]
    )
    options = "--model cnn --dropout_rate 0.3 --optimizer adam --augment shift --batch_size 64"
    script = ROOT / "experiments" / "classify.py"
    last = ["--save_every_seconds", "0", "--workdir", workdir, "--resume"]
    return [str(x) for x in [sys.executable, script, *source, *options.split(), *last]]


def read_rows(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return without_times(rows)


def last_checkpoint(workdir):
    """Step, checksums of all arrays and parameters of the newest checkpoint."""
    contents = checkpoint.describe(workdir / "checkpoints/last")
    variables, _ = checkpoint.restore_weights(contents.folder)
    return contents.step, contents.checksums, variables["params"]


def start(workdir):
    """A process that has compiled its step and begins to train, or found nothing left to do."""
    process = subprocess.Popen(
        command(workdir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=workdir.parent,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("compiled in"):
            return process
    assert process.wait() == 0, "".join(lines)
    return process


def test_killed_and_resumed_is_never_killed(tmp_path):
    whole = tmp_path / "whole"
    process = start(whole)
    began = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - began
    assert process.returncode == 0

    moments = random.Random(0)
    kills, finished = 0, []
    killed = tmp_path / "killed0"
    while kills < KILLS or not finished:
        process = start(killed)
        if kills < KILLS:
            # the moments lie in training, evaluation, saving and drawing; a run that is resumed
            # again and again comes to its end, and then another one begins
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=moments.uniform(0, seconds / 2))
        else:
            process.communicate()
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        process.stdout.close()
        steps = sorted(p.name for p in (killed / "checkpoints/last").glob("[0-9]*"))
        print(f"{kills} kills, {killed.name}: checkpoints {steps}, exit {process.returncode}")
        if process.returncode == 0:
            finished.append(killed)
            killed = tmp_path / f"killed{len(finished)}"

    for workdir in finished:
        check_same(workdir, whole)


def check_same(killed, whole):
    step, checksums, params = last_checkpoint(killed)
    expected_step, expected_checksums, expected = last_checkpoint(whole)
    assert (step, checksums) == (expected_step, expected_checksums)
    for module, leaves in expected.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(params[module][name], leaf)
    assert read_rows(killed) == read_rows(whole)
    assert [row["epoch"] for row in read_rows(whole)] == list(range(1, len(read_rows(whole)) + 1))
