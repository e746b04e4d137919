"""The main job from the command line: what it leaves behind, and what it says of mistakes."""

import json
import signal
import subprocess
import sys
import typing
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import classify
from jaxdl import config, data, export

SCRIPT = Path(classify.__file__)
HINTS = typing.get_type_hints(classify.Config)


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


@pytest.mark.slow
def test_every_option_trains_and_a_run_is_resumed_with_its_own(tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    flags = {
        "num_epochs": 2, "batch_size": 64, "optimizer": "momentum", "learning_rate": 0.05,
        "schedule": "plateau", "weight_decay": 1e-3, "clip_norm": 5, "accumulate": 2, "ema": 0.5,
        "dropout_rate": 0.1, "label_smoothing": 0.1, "augment": "shift_flip", "mix": "mixup",
        "precision": "bfloat16", "patience": 5, "workdir": workdir,
    }  # fmt: skip
    call([part for name, value in flags.items() for part in (f"--{name}", value)], monkeypatch)
    call(["--workdir", workdir, "--resume", "--num_epochs", "3"], monkeypatch)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[2]["train/loss"] < rows[0]["train/loss"]
    saved = (workdir / "config.json").read_bytes()
    assert json.loads(saved)["config"]["mix"] == "mixup"
    # the average is what is evaluated, exported and drawn
    bundle, test = export.open_model(workdir, which="last"), data.load("digits").test
    right = bundle.predict(test["image"]).argmax(-1) == test["label"]
    assert right.mean() == pytest.approx(rows[-1]["test/accuracy"], abs=0.006)
    with pytest.raises(SystemExit):
        call(["--workdir", workdir, "--resume", "--model", "cnn"], monkeypatch)
    assert "was trained with --model mlp, got --model cnn" in capsys.readouterr().err
    assert (workdir / "config.json").read_bytes() == saved


@pytest.mark.slow
@pytest.mark.parametrize("model", typing.get_args(HINTS["model"]))
def test_every_model_gives_a_logit_per_class(model):
    network = classify.make_model(classify.Config(model=model), 7)
    images = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    logits, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    assert logits.shape == (2, 7)


@pytest.mark.parametrize("optimizer", typing.get_args(HINTS["optimizer"]))
def test_a_kernel_decays_and_a_bias_does_not(optimizer):
    """Without gradients only weight decay is left; where it is decoupled it is 1 - 0.1 · 0.5."""
    cfg = classify.Config(optimizer=optimizer, learning_rate=0.1, weight_decay=0.5)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    tx = classify.make_optimizer(cfg, 10)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    # SGD: rate times decay; with Nesterov momentum 1.9 times that; Adam divides by its size
    expected = {"sgd": 0.05, "momentum": 0.095, "adam": 0.1, "adamw": 0.05}[optimizer]
    np.testing.assert_allclose(updates["kernel"], -expected, rtol=1e-4)
    np.testing.assert_array_equal(updates["bias"], 0)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("plateau", [1, 1, 1, 1]),
        ("step", [1, 0.1, 0.01, 0.01]),
        ("cosine", [1, 0.5, 0.1464, 0.0062]),
        ("one_cycle", [0.04, 0.7169, 0.1883, 0.0]),
    ],
)
def test_a_schedule_covers_all_updates_of_the_run(schedule, expected):
    """2 epochs of 19 batches, two a step: 20 updates, of which 0, 10, 15 and 19 are looked at."""
    cfg = classify.Config(
        schedule=schedule, optimizer="sgd", learning_rate=1.0, num_epochs=2, accumulate=2
    )
    rates = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classify.optim, "recipe", lambda _, rate, **options: rates.append(rate))
        classify.make_optimizer(cfg, 19)
    (rate,) = rates
    found = [float(rate(step)) if callable(rate) else rate for step in (0, 10, 15, 19)]
    np.testing.assert_allclose(found, expected, atol=1e-3)


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
        (["--accumulate", "0"], "accumulate must be at least 1, got 0"),
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
