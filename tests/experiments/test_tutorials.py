"""The small experiments at their real size: what they reach and what they leave behind."""

import json
import sys

import jax
import linear_regression
import logistic_regression
import numpy as np
import pytest
import sine_fit
import toy_network
from PIL import Image

from jaxdl import config
from jaxdl.data import synthetic


def call(script, workdir, **fields):
    """History and run folder of an experiment."""
    history = script.main(script.Config(workdir=workdir, **fields))
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows == history
    assert config.load(script.Config, workdir / "config.json").workdir == workdir
    return history


def assert_picture(path, *colors):
    """A PNG with ink in each of these colors."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    for color in colors:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(pixels - rgb).sum(axis=1) < 12).sum() > 50, f"no {color} in {path.name}"


# Linear regression


@pytest.mark.slow
def test_linear_regression_stops_at_the_first_check_below_one(tmp_path, capsys):
    history = call(linear_regression, tmp_path / "run")
    loss = [row["train/loss"] for row in history]
    iteration = len(history) - 1
    assert iteration % 20 == 0
    assert 40 <= iteration <= 200
    assert loss[-1] < 1 <= min(loss[:-20:20])
    printed = capsys.readouterr().out
    assert printed.count("iteration") == iteration // 20 + 1
    assert f"iteration {iteration}: loss {loss[-1]:.4f}" in printed
    assert_picture(tmp_path / "run" / "fit.png", "#0072B2", "#D55E00", "#333333")


@pytest.mark.slow
def test_linear_regression_ends_on_the_least_squares_line(tmp_path, capsys):
    history = call(linear_regression, tmp_path / "run", stop_below=0.0, seed=3)
    data_key = jax.random.split(jax.random.key(3), 4)[0]
    points = synthetic.line(data_key)
    x, y = (np.asarray(points[name], np.float64) for name in ("input", "target"))
    slope, intercept = np.polyfit(x, y, 1)
    best = 0.5 * ((slope * x + intercept - y) ** 2).mean()
    assert len(history) == 1000
    assert history[-1]["train/loss"] == pytest.approx(best, rel=1e-3)
    line = f"{slope:.2f} x + {intercept:.2f}"
    printed = capsys.readouterr().out
    assert f"after 1000 steps: {line}\nleast squares: {line}\n" in printed


@pytest.mark.slow
def test_linear_regression_with_too_high_a_rate_says_so(tmp_path, monkeypatch, capsys):
    flags = ["--learning_rate", "0.1", "--workdir", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["linear_regression.py", *flags])
    with pytest.raises(SystemExit) as exit_:
        config.main(linear_regression.main, linear_regression.Config)
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert "stopped being finite at step" in error
    assert "Lower the learning rate" in error


# Logistic regression


@pytest.mark.slow
def test_logistic_regression_stops_above_99_percent(tmp_path):
    history = call(logistic_regression, tmp_path / "run")
    accuracy = [row["train/accuracy"] for row in history]
    assert len(history) % 20 == 1
    assert len(history) < 1000
    assert accuracy[-1] >= 0.995
    assert max(accuracy[:-20:20]) <= 0.99
    assert history[-1]["train/loss"] < 0.1 < history[0]["train/loss"]
    assert_picture(tmp_path / "run" / "boundary.png", "#0072B2", "#009E73", "#D55E00")
    assert (tmp_path / "run" / "learning_curves.png").exists()


@pytest.mark.slow
def test_logistic_regression_of_clouds_that_no_line_parts_ends_with_its_steps(tmp_path):
    history = call(logistic_regression, tmp_path / "run", seed=3, max_steps=400)
    assert len(history) == 400
    assert 0.97 < history[-1]["train/accuracy"] <= 0.99


@pytest.mark.parametrize("bias", [-3.0, 0.0, 2.0])
def test_the_log_odds_are_zero_on_the_boundary(bias):
    params = {"kernel": np.array([[-1.5], [0.01]]), "bias": np.array([bias])}
    x1, x2 = logistic_regression.boundary(params)
    np.testing.assert_allclose(-1.5 * x1 + 0.01 * x2 + bias, 0, atol=1e-9)
    assert np.hypot(np.diff(x1), np.diff(x2)) == pytest.approx(200)


# Sine fit


@pytest.mark.slow
def test_sine_fit_comes_near_the_best_quartic(tmp_path):
    history = call(sine_fit, tmp_path / "run")
    assert [row["step"] for row in history] == list(range(2000, 30_001, 2000))
    data_key = jax.random.split(jax.random.key(0), 3)[0]
    points = synthetic.sine(data_key)
    x, y = (np.asarray(points[name], np.float64) for name in ("input", "target"))
    floor = ((np.polyval(np.polyfit(x, y, 4), x) - y) ** 2).mean()
    assert floor < history[-1]["loss"] < floor + 0.006
    assert 0.004756 < history[-1]["clean_loss"] < 0.0095  # PyTorch on the clean sine: 0.0089
    loss = [row["loss"] for row in history]
    assert loss == sorted(loss, reverse=True)
    assert_picture(tmp_path / "run" / "fit.png", "#0072B2", "#D55E00", "#333333")


@pytest.mark.slow
def test_sine_fit_counts_its_steps_to_the_last(tmp_path):
    history = call(sine_fit, tmp_path / "run", num_steps=50, report_every=20, noise=0.0)
    assert [row["step"] for row in history] == [20, 40, 50]
    assert all(row["loss"] == row["clean_loss"] for row in history)


# Toy network


@pytest.mark.slow
def test_the_toy_network_separates_its_points(tmp_path, capsys):
    history = call(toy_network, tmp_path / "run")
    assert [row["step"] for row in history] == [3, 6, 9]  # three steps see all five points
    assert history[-1]["test/accuracy"] == 1
    assert history[-1]["train/loss"] < 0.1 < history[0]["train/loss"]
    assert "1.00 of the training points, 1.00 of the test points" in capsys.readouterr().out
    assert_picture(tmp_path / "run" / "regions.png", "#0072B2", "#009E73")


# All


@pytest.mark.parametrize("script", [linear_regression, logistic_regression, sine_fit, toy_network])
def test_the_docstring_begins_with_a_summary_and_the_command(script):
    lines = script.__doc__.splitlines()
    assert lines[0].endswith(".")
    assert lines[2] == f"    python experiments/tutorials/{script.__name__}.py"
    assert "Source: " in script.__doc__


@pytest.mark.parametrize(
    ("script", "fields", "message"),
    [
        (linear_regression, {"max_steps": 0}, "num_epochs must be at least 1"),
        (linear_regression, {"num_points": 0}, "num_points must be at least 1"),
        (logistic_regression, {"num_per_class": 0}, "num_per_class must be at least 1"),
        (sine_fit, {"num_steps": 0}, "num_steps must be greater than 0"),
        (sine_fit, {"report_every": 0}, "report_every must be greater than 0"),
        (toy_network, {"batch_size": 6}, "batch_size must lie in 1 to 5"),
    ],
)
def test_wrong_sizes_are_refused(script, fields, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        script.main(script.Config(workdir=tmp_path / "run", **fields))
    assert not (tmp_path / "run").exists()
