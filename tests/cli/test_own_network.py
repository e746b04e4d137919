"""A network that only its script knows goes through every command, without its code."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import own_network
from helpers.small_runs import digits
from PIL import Image

import jaxdl
from jaxdl import checkpoint, interop
from jaxdl.__main__ import main
from jaxdl.export import load_exported

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder written by another process, in which the class was ``__main__.Net``."""
    folder = tmp_path_factory.mktemp("own") / "run"
    subprocess.run([sys.executable, own_network.__file__, str(folder)], check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def expected(run):
    """Logits of the test images by the code of the network."""
    images = digits().test["image"]
    variables, _ = checkpoint.restore_weights(run / "checkpoints" / "best")
    rule = jaxdl.transforms.normalize(*jaxdl.data.mean_and_std(digits().train["image"]))
    return np.asarray(own_network.Net().apply(variables, rule(images), train=False))


def test_the_run_describes_its_model(run):
    description = json.loads((run / "model.json").read_text())
    assert description["model"] == {"class": "__main__:Net", "fields": {}}
    assert description["preprocessing"] == {"shape": [8, 8, 1], "dtype": "uint8"}
    assert description["class_names"] == [str(digit) for digit in range(10)]
    assert (run / "forward.stablehlo").stat().st_size < 20_000  # without weights


def test_predict_and_inspect(run, expected, tmp_path, capsys):
    images, labels = digits().test["image"][:5], digits().test["label"][:5]
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / "images" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(folder / f"{index}.png")
    out = str(tmp_path / "picture.png")
    assert main(["predict", str(run), str(tmp_path / "images"), "--out", out]) == 0
    right = int((expected[:5].argmax(-1) == labels).sum())
    assert f"{right} of 5 images" in capsys.readouterr().out
    assert main(["inspect", str(run)]) == 0
    assert "__main__:Net" in capsys.readouterr().out


def test_a_bundle_runs_without_the_code(run, expected, tmp_path):
    assert main(["export", str(run), "--to", "bundle", "--out", str(tmp_path / "bundle")]) == 0
    np.save(tmp_path / "images.npy", digits().test["image"])
    code = f"""
import numpy, jaxdl
bundle = jaxdl.load_bundle({str(tmp_path / "bundle")!r})
assert bundle.model is None
numpy.save({str(tmp_path / "out.npy")!r}, bundle.outputs(numpy.load("images.npy")))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-4)
    bundle = jaxdl.load_bundle(tmp_path / "bundle")
    accuracy = (expected.argmax(-1) == digits().test["label"]).mean()
    measured = bundle.evaluate(digits().test["image"], digits().test["label"]).config["metrics"]
    assert measured["test/accuracy"] == pytest.approx(accuracy)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "Runs from its StableHLO program, without its code." in card
    # the bundle of a bundle is the same
    jaxdl.export.save_bundle(tmp_path / "again", bundle)
    for name in ("config.json", "model.safetensors", "forward.stablehlo", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes()


@pytest.mark.slow
def test_stablehlo_and_safetensors(run, expected, tmp_path):
    images = digits().test["image"]
    program, weights = tmp_path / "model.stablehlo", tmp_path / "variables.safetensors"
    assert main(["export", str(run), "--to", "stablehlo", "--out", str(program)]) == 0
    np.testing.assert_allclose(load_exported(program).call(images), expected, rtol=1e-4, atol=1e-4)
    assert main(["export", str(run), "--to", "safetensors", "--out", str(weights)]) == 0
    variables = interop.read_variables(weights)
    rule = jaxdl.transforms.normalize(*jaxdl.data.mean_and_std(digits().train["image"]))
    ours = own_network.Net().apply(variables, rule(images), train=False)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_parts_of_other_models_are_refused(run, tmp_path, capsys):
    out = tmp_path / "bundle"
    assert main(["export", str(run), "--to", "bundle", "--out", str(out)]) == 0
    (out / "forward.stablehlo").unlink()
    for content, message in (
        (None, "is incomplete: forward.stablehlo was not copied"),
        (b"", "is not a StableHLO file"),
    ):
        if content is not None:
            (out / "forward.stablehlo").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            jaxdl.load_bundle(out)
    capsys.readouterr()
    assert main(["export", str(run), "--to", "stablehlo", "--gradients"]) == 1
    assert "keeps no gradients" in capsys.readouterr().err
