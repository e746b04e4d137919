"""The text experiment from the command line: what it leaves behind, what it says of mistakes."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from helpers.same import assert_same, without_times
from PIL import Image

import jaxdl
import text_classification
from jaxdl import config, data
from jaxdl.__main__ import main
from jaxdl.tree import max_difference

GOOD, BAD = ["a fine film", "lovely and warm", "not dull"], ["a dull film", "cold", "not fine"]


def call(arguments, monkeypatch):
    """The command line in this process."""
    monkeypatch.setattr(sys, "argv", ["text_classification.py", *map(str, arguments)])
    config.main(
        text_classification.main,
        text_classification.Config,
        description=text_classification.__doc__,
    )


@pytest.fixture
def data_dir(tmp_path):
    """Sentences that need bigrams: "not dull" is good and "not fine" is bad."""
    rows = [f"{sentence}\t{label}" for label, part in ((1, GOOD), (0, BAD)) for sentence in part]
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    (folder / "train.tsv").write_text("\n".join(rows * 8) + "\n")
    (folder / "dev.tsv").write_text("\n".join(rows) + "\n")
    return folder.parent


def flags(data_dir, workdir, **options):
    options = {"batch_size": 8, "learning_rate": 0.03, "num_epochs": 10, **options}
    listed = [part for name, value in options.items() for part in (f"--{name}", value)]
    return ["--data_dir", data_dir, "--workdir", workdir, *listed]


@pytest.mark.slow
def test_it_learns_bigrams_and_leaves_pictures_and_sentences(
    data_dir, tmp_path, monkeypatch, capsys
):
    workdir = tmp_path / "run"
    call(flags(data_dir, workdir), monkeypatch)
    out = capsys.readouterr().out
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test/accuracy"] == 1.0
    # train alone gives the same numbers, and writes nothing
    splits = {
        split: data.source_to_arrays(data.open(data_dir / "sst2", split=split))
        for split in ("train", "dev")
    }
    cfg = dataclasses.replace(
        config.load(text_classification.Config, workdir / "config.json"), workdir=None
    )
    _, history = text_classification.train(cfg, splits)
    assert without_times(history) == without_times(rows)
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]
    assert "6 dev sentences: accuracy 1.0000" in out
    assert json.loads((workdir / "config.json").read_text())["config"]["bigrams"] is True
    lines = (workdir / "sentences.txt").read_text().splitlines()
    assert [line.split("positive  ")[1] for line in lines] == GOOD + BAD
    shares = [float(line.split()[1].rstrip("%")) for line in lines]
    assert min(shares[:3]) > 50 > max(shares[3:])
    assert lines[0] in out
    for name in ("learning_curves", "confusion_matrix"):
        picture = np.asarray(Image.open(workdir / f"{name}.png").convert("L"))
        assert min(picture.shape) > 300
        assert picture.std() > 10
    # the bundle has the vocabulary: texts in, probabilities out
    arguments = ["export", str(workdir), "--to", "bundle", "--checkpoint", "last"]
    assert main([*arguments, "--out", str(tmp_path / "b")]) == 0
    assert "6 test sentences of sst2: accuracy 1.0000" in capsys.readouterr().out
    positive = jaxdl.load_bundle(tmp_path / "b").predict(GOOD + BAD)[:, 1]
    np.testing.assert_allclose(100 * positive, shares, atol=0.051)
    assert main(["predict", str(tmp_path / "b"), "Not dull", "cold"]) == 0
    header, good, bad = capsys.readouterr().out.splitlines()
    assert header.split() == ["text", "1.", "2."]
    assert good.split()[2] == "positive"
    assert bad.split()[1] == "negative"


@pytest.mark.slow
def test_another_seed_draws_other_weights_and_another_order(monkeypatch):
    monkeypatch.setattr(
        text_classification, "run", lambda step, state, data, *, key, **_: (state, key)
    )
    splits = {"train": {"text": np.array(GOOD + BAD), "label": np.array([1, 1, 1, 0, 0, 0])}}
    splits["dev"] = splits["train"]
    first, again, other = (
        text_classification.train(text_classification.Config(batch_size=2, seed=seed), splits)
        for seed in (0, 0, 1)
    )
    assert_same(first, again)
    assert max_difference(first[0].params, other[0].params)["Embed_0/embedding"] > 0
    assert first[1] != other[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "pass --data_dir DIR with DIR/sst2/train.tsv"),
        (["--data_dir", "nowhere"], "no data 'nowhere/sst2'"),
        (
            ["--word_dropout_rate", "1.5", "--batch_size", "8"],
            "word_dropout_rate must lie in 0 to 1",
        ),
        (["--batch_size", "100"], "batch_size must lie in 1 to 48"),
        (["--max_tokens", "0"], "shape must be positive integers"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    arguments, message, data_dir, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if arguments and arguments[0] != "--data_dir":
        arguments = ["--data_dir", data_dir, *arguments]
    with pytest.raises(SystemExit) as exit_:
        call(arguments, monkeypatch)
    assert exit_.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()
