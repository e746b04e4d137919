"""experiments/autoencode.py on digits."""

import json

import numpy as np
import pytest
from PIL import Image

import autoencode
from jaxdl import data, export
from jaxdl.__main__ import main


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vae", "autoencoder"])
def test_learns_and_draws(tmp_path, model, capsys):
    cfg = autoencode.Config(
        model=model, num_epochs=12, batch_size=64, num_latents=2, workdir=tmp_path / "run"
    )
    autoencode.main(cfg)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert history[-1]["test/loss"] < 0.95 * history[0]["test/loss"]
    pictures = {path.name for path in (tmp_path / "run").glob("*.png")}
    drawn = {"reconstructions.png", "latents.png", "learning_curves.png"}
    if model == "vae":
        drawn |= {"samples.png", "plane.png"}
        assert 0 < history[-1]["test/kl"] < history[-1]["test/loss"]
    assert pictures == drawn
    pixels = np.asarray(Image.open(tmp_path / "run" / "reconstructions.png").convert("L"))
    assert pixels.std() > 20  # something is on it
    images = data.load("digits").test["image"]
    bundle = export.open_model(tmp_path / "run", which="last")
    outputs = bundle.outputs(images)
    found = 1 / (1 + np.exp(-outputs.logits)) if model == "vae" else outputs
    # nearer to the images than their mean is
    error = np.mean((found - images / 255) ** 2)
    assert error < 0.9 * np.mean((images.mean(0) / 255 - images / 255) ** 2)
    assert main(["predict", str(tmp_path / "run"), "image.png"]) == 1
    assert "is not a classifier: it has no class names" in capsys.readouterr().err
