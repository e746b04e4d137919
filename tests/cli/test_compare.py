"""``python -m jaxdl compare``."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxdl.__main__ import main
from jaxdl.cli.compare import config_differences, metric_table, read_runs


def write(folder, config, rows):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def folders(tmp_path):
    def row(epoch, loss, accuracy, **more):
        return {
            "epoch": epoch, "step": 10 * epoch, "test/loss": loss, "test/accuracy": accuracy,
            "epoch_seconds": 1.5, "eval_seconds": 0.25, "confusion": [[1, 0]], **more,
        }  # fmt: skip

    first = {"config": {"learning_rate": 0.1, "layers": [3, 4], "seed": 0}, "versions": {"jax": 1}}
    second = {
        "config": {"learning_rate": 0.2, "layers": [3, 4], "ema": None},
        "versions": {"jax": 2},
    }
    return [
        write(tmp_path / "a/run", first, [row(1, 0.9, 0.5), row(2, 0.4, 0.75), row(3, 0.6, 0.7)]),
        write(
            tmp_path / "b/run", second, [row(1, 0.8, 0.625), row(2, None, 0.5, learning_rate=0.1)]
        ),
    ]


def test_differences_of_configuration_and_versions(folders):
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["a/run", "b/run"]
    assert config_differences(runs) == {
        "learning_rate": ["0.1", "0.2"],
        "seed": ["0", "–"],
        "ema": ["–", "null"],
        "jax": ["1", "2"],
    }


def test_last_and_best_metrics_lengths_and_seconds(folders):
    assert metric_table(read_runs(folders)) == {
        "learning_rate, last": ["–", "0.1"],
        "epochs": ["3", "2"],
        "steps": ["30", "20"],
        "seconds": ["5.2", "3.5"],
        "test/loss, last": ["0.6", "nan"],
        "test/loss, best": ["0.4 (epoch 2)", "0.8 (epoch 1)"],
        "test/accuracy, last": ["0.7", "0.5"],
        "test/accuracy, best": ["0.75 (epoch 2)", "0.625 (epoch 1)"],
    }


def test_the_command_prints_and_draws(folders, tmp_path, capsys):
    out = tmp_path / "picture.png"
    assert main(["compare", *map(str, folders), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "| learning_rate | 0.1   | 0.2   |" in printed
    assert "| test/accuracy, best | 0.75 (epoch 2) | 0.625 (epoch 1) |" in printed
    picture = np.asarray(Image.open(out).convert("L"))
    assert picture.shape[1] > 900
    assert picture.std() > 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, tmp: [a], "expected two or more runs, got 1"),
        (lambda a, tmp: [a, a.parent / "." / "run"], "is given twice"),
        (lambda a, tmp: [a, tmp / "nothing"], r"nothing \(folder not found\)"),
        (lambda a, tmp: [a, a / "metrics.jsonl"], r"metrics.jsonl \(a file\)"),
        (
            lambda a, tmp: [tmp, a.parent],
            r"another kind of folder\), .*a \(it holds the runs run",
        ),
    ],
)
def test_what_is_no_run_is_named(make, message, folders, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_runs(make(folders[0], tmp_path))


def test_a_broken_line_is_named(folders, tmp_path, capsys):
    with (folders[1] / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "te\n')
    assert main(["compare", *map(str, folders), "--out", str(tmp_path / "x.png")]) == 1
    assert "metrics.jsonl, line 3, is not valid JSON" in capsys.readouterr().err
    assert not (tmp_path / "x.png").exists()
