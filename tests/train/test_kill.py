"""kill -9 at random moments, resume, and the weights are bitwise those of a run never killed.

Dropout, BatchNorm, shuffling, augmentation and Adam are on. JAXDL_KILLS sets how often it is killed
(default 3).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from jaxdl import checkpoint

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("epoch_seconds", "eval_seconds", "examples_per_second")
KILLS = int(os.environ.get("JAXDL_KILLS", "3"))


def command(run_dir):
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
    last = ["--save_every_seconds", "0", "--run_dir", run_dir, "--resume"]
    return [str(x) for x in [sys.executable, script, *source, *options.split(), *last]]


def read_rows(run_dir):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: x for name, x in row.items() if name not in TIMES} for row in rows]


def last_checkpoint(run_dir):
    """Every array of the newest checkpoint, as NumPy, without a target to restore into."""
    import orbax.checkpoint as ocp

    with checkpoint.open_manager(run_dir / "checkpoints/last", keep=2) as manager:
        step = manager.latest_step()
        arguments = ocp.args.Composite(
            state=ocp.args.StandardRestore(), content=ocp.args.JsonRestore()
        )
        restored = manager.restore(step, args=arguments)
    return step, restored["content"]["checksum"], restored["state"]["params"]


def test_killed_and_resumed_is_never_killed(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    result = subprocess.run(command(whole), capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    seconds = sum(json.loads(line)["epoch_seconds"] for line in (whole / "metrics.jsonl").open())
    moments = random.Random(0)
    kills = 0
    for _ in range(10 * KILLS):
        if kills == KILLS:
            break
        process = subprocess.Popen(
            command(killed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
        )
        for line in process.stdout:  # until training begins
            if line.startswith("compiled in"):
                break
        time.sleep(moments.uniform(0, seconds / 2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.stdout.close()
        process.wait()
        step = max((int(p.name) for p in (killed / "checkpoints/last").glob("[0-9]*")), default=0)
        print(f"kill {kills}: newest checkpoint at step {step}")
        if process.returncode == 0:  # it was quicker: begin again
            assert read_rows(killed) == read_rows(whole)
            killed = tmp_path / f"killed{kills}"
    assert kills == KILLS
    result = subprocess.run(command(killed), capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr

    step, checksum, params = last_checkpoint(killed)
    expected_step, expected_checksum, expected = last_checkpoint(whole)
    assert (step, checksum) == (expected_step, expected_checksum)
    for module, leaves in expected.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(params[module][name], leaf)
    assert read_rows(killed) == read_rows(whole)
    assert [row["epoch"] for row in read_rows(whole)] == list(range(1, len(read_rows(whole)) + 1))
