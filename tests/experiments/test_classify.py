"""The main job from the command line: what it leaves behind, and what it says of mistakes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import classify
from jaxdl import config, data, export

SCRIPT = Path(classify.__file__)


def call(arguments, monkeypatch):
    """The command line in this process."""
    monkeypatch.setattr(sys, "argv", ["classify.py", *map(str, arguments)])
    config.main(classify.main, classify.Config, description=classify.__doc__)


@pytest.mark.slow
def test_without_flags_it_classifies_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call([], monkeypatch)
    out = capsys.readouterr().out
    (workdir,) = (tmp_path / "runs").iterdir()
    assert out.rstrip().endswith(f"run folder: runs/{workdir.name}")
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test/accuracy"] > 0.97
    assert rows[-1].keys() >= {
        "epoch", "step", "train/loss", "test/loss", "test/accuracy", "learning_rate",
        "epoch_seconds",
    }  # fmt: skip
    saved = json.loads((workdir / "config.json").read_text())
    assert saved["config"]["data"] == "digits"
    assert saved["versions"].keys() >= {"jax", "flax", "optax"}
    bundle, test = export.open_model(workdir, which="last"), data.load("digits").test
    right = bundle.predict(test["image"]).argmax(-1) == test["label"]
    assert right.mean() == pytest.approx(rows[-1]["test/accuracy"])
    recalled = sum(number * recall for _, number, recall, *_ in bundle.config["by_class"])
    assert recalled == pytest.approx(right.sum())
    for name in ("learning_curves", "predictions", "confusion_matrix"):
        picture = np.asarray(Image.open(workdir / f"{name}.png").convert("L"))
        assert min(picture.shape) > 300
        assert picture.std() > 10
    events = EventAccumulator(str(workdir), size_guidance={"scalars": 0}).Reload()
    points = events.Scalars("test/accuracy")
    assert [point.step for point in points] == [row["step"] for row in rows]
    np.testing.assert_allclose([p.value for p in points], [r["test/accuracy"] for r in rows])
    assert [point.step for point in events.Scalars("step/loss")] == list(range(50, 451, 50))


@pytest.fixture
def quick():
    return ["--data", "digits", "--num_epochs", "2", "--workdir"]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "adamw"])
def test_models_and_optimizers(model, optimizer, quick, tmp_path, monkeypatch):
    schedule = {"sgd": "constant", "momentum": "cosine", "adam": "one_cycle", "adamw": "constant"}
    flags = ["--model", model, "--optimizer", optimizer, "--schedule", schedule[optimizer]]
    flags += ["--weight_decay", "1e-3", "--augment", "shift_flip"]
    call([*quick, tmp_path / "run", *flags], monkeypatch)
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[1]["train/loss"] < rows[0]["train/loss"]


@pytest.mark.slow
def test_resume_goes_on_with_the_runs_own_configuration(quick, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    call([*quick, workdir, "--model", "cnn", "--optimizer", "momentum"], monkeypatch)
    call(["--workdir", workdir, "--resume", "--num_epochs", "3"], monkeypatch)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert json.loads((workdir / "config.json").read_text())["config"]["model"] == "cnn"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bacth_size", "3"], "--batch_size"),
        (["--data", "fasion_mnist"], "fashion_mnist"),
        (["--batch_size", "many"], "batch_size"),
    ],
)
def test_a_mistyped_flag_is_named_with_what_was_expected(flags, message, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        call(flags, monkeypatch)
    assert exit_.value.code == 2
    printed = capsys.readouterr()
    assert flags[-1 if message != "--batch_size" else 0] in printed.err + printed.out
    assert message in printed.err + printed.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch_size", "0"], "batch_size must lie in 1 to 1437"),
        (["--batch_size", "5000"], "batch_size must lie in 1 to 1437"),
        (["--data", "mnist", "--data_dir", "nowhere"], "no data 'mnist' in 'nowhere'"),
        (["--dropout_rate", "1.5"], "dropout_rate must lie in 0 to 1"),
        (["--optimizer", "sgd", "--learning_rate", "1e6"], "stopped being finite at step"),
        (["--config", "missing.json"], "configuration file not found: missing.json"),
        (["--resume"], "--resume needs --workdir"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        call(flags, monkeypatch)
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    if "finite" not in message:
        assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_resuming_with_another_model_names_the_flag(quick, tmp_path, monkeypatch, capsys):
    call([*quick, tmp_path / "run"], monkeypatch)
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(SystemExit):
        call(["--workdir", tmp_path / "run", "--resume", "--model", "cnn"], monkeypatch)
    assert "was trained with --model mlp, got --model cnn" in capsys.readouterr().err
    assert (tmp_path / "run" / "config.json").read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, SCRIPT, "--num_epochs", "3000", "--workdir", tmp_path / "run"]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            break
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert f"resume it from {tmp_path / 'run'}" in error
    assert list((tmp_path / "run" / "checkpoints" / "last").glob("[0-9]*"))
