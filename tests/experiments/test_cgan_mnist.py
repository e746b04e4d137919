"""experiments/cgan_mnist.py in small."""

import json

import pytest
from helpers.gan_runs import PICTURES, few_digits, files

import cgan_mnist
from jaxdl import generative


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"players": "book", "batch_size": 1}, {"condition": "concatenate", "batch_size": 30}],
)
def test_classes_are_requested_and_measured(tmp_path, monkeypatch, options):
    reference = generative.make_reference(
        few_digits(None), num_images=40, num_epochs=1, progress=False
    )
    monkeypatch.setattr(cgan_mnist.data, "load", lambda *args: few_digits(60))
    monkeypatch.setattr(cgan_mnist.generative, "make_reference", lambda *args, **_: reference)
    cfg = cgan_mnist.Config(num_epochs=1, num_samples=40, workdir=tmp_path / "run", **options)
    cgan_mnist.main(cfg)
    tables = {"metrics.jsonl", "generator.jsonl"}
    assert files(tmp_path / "run") == PICTURES | {"classes.png"} | tables
    row = json.loads((tmp_path / "run" / "generator.json").read_text())
    assert 0 <= row["conditional_accuracy"] <= 1
