"""kill -9 at random moments, resume, and the weights are bitwise those of a run never killed.

Dropout, BatchNorm, shuffling, augmentation and Adam are on; a second run evaluates two sets,
accumulates gradients and restores its best state. JAXDL_KILLS sets how often each is killed
(default 2).
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
import pytest
from helpers.same import without_times

from jaxdl import checkpoint

pytestmark = pytest.mark.usefixtures("optimized")

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("JAXDL_KILLS", "2"))


def cnn(workdir):
    """The command of a classifier of images."""
    shared = ROOT.parent / "shared" / "data"
    real = (shared / "fashion_mnist").is_dir()
    source = ["--data", "digits", "--num_epochs", "30"]
    if real:
        source = ["--data", "fashion_mnist", "--data_dir", shared, "--num_epochs", "2"]
    options = "--model cnn --dropout_rate 0.3 --optimizer adam --augment shift --batch_size 64"
    script = ROOT / "tests" / "helpers" / "killed_run.py"
    last = ["--workdir", workdir, "--resume"]
    return [str(x) for x in [sys.executable, script, *source, *options.split(), *last]]


TWO_SETS = """
import sys
import jax
from jaxdl import data, losses, metrics, models, optim, train

digits = data.load("digits")
half = {name: array[::2] for name, array in digits.test.items()}
model = models.MLP((64, 10), dropout_rate=0.2)
tx = optim.recipe(optim.adam, 1e-3, accumulate=3, ema=0.99)
scale = lambda images: images / 255.0
loss_fn = train.supervised(
    model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=scale
)
state = train.init_state(model, tx, jax.random.key(0), scale(digits.train["image"][:1]))
state, _ = train.run(
    train.make_step(loss_fn, tx),
    state,
    digits.train,
    num_epochs=15,
    batch_size=64,
    key=1,
    eval_fn=train.make_eval(loss_fn, averaged=True),
    eval_data={"val": half, "test": digits.test},
    eval_every=40,
    restore_best=True,
    workdir=sys.argv[1],
    resume=True,
    save_every_seconds=0,
)
"""


def two_sets(workdir):
    """The command of a script."""
    return [sys.executable, "-c", TWO_SETS, str(workdir)]


def read_rows(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return without_times(rows)


def last_checkpoint(workdir):
    """Step, checksums of all arrays and parameters of the newest checkpoint."""
    contents = checkpoint.describe(workdir / "checkpoints/last")
    variables, _ = checkpoint.restore_weights(contents.folder)
    return contents.step, contents.checksums, variables["params"]


def start(command):
    """A process that has compiled its step and begins to train, or found nothing left to do.

    All processes of a test share their compiled programs.
    """
    folder = Path(command[-2] if command[-1] == "--resume" else command[-1]).parent
    environ = {
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=os.environ | environ,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("compiled in"):
            return process
    assert process.wait() == 0, "".join(lines)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("command", [cnn, two_sets])
def test_killed_and_resumed_is_never_killed(tmp_path, command):
    whole = tmp_path / "whole"
    process = start(command(whole))
    began = time.monotonic()
    process.communicate()
    seconds = time.monotonic() - began
    assert process.returncode == 0

    moments = random.Random(0)
    kills, finished = 0, []
    killed = tmp_path / "killed0"
    while kills < KILLS or not finished:
        process = start(command(killed))
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
        left = (killed / ".lock").exists()  # the next process takes over a lock that is left
        assert not left or process.returncode == -signal.SIGKILL
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
    best = [checkpoint.describe(folder / "checkpoints/best") for folder in (killed, whole)]
    assert best[0].step == best[1].step
    assert best[0].checksums == best[1].checksums
    for module, leaves in expected.items():
        for name, leaf in leaves.items():
            np.testing.assert_array_equal(params[module][name], leaf)
    assert read_rows(killed) == read_rows(whole)
    steps = [row["step"] for row in read_rows(whole)]
    assert steps == [*range(steps[0], steps[-1], steps[0]), steps[-1]]
