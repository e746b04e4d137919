"""``python -m jaxdl export``: every format, from a run and from a bundle."""

import json

import jax
import numpy as np
import pytest
from helpers.small_runs import NAMES, digits, make_bundle, make_run

import jaxdl
from jaxdl import __main__ as command
from jaxdl.export import load_exported, write_evaluation
from jaxdl.export import onnx as onnx_export
from jaxdl.interop import params_from_torch, read_variables, read_weights
from jaxdl.interop.weight_files import read_metadata

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *make_run(folder)


def test_a_run_becomes_a_bundle_with_a_card(run, tmp_path, capsys):
    folder, state, history, _ = run
    arguments = ["export", str(folder), "--to", "bundle", "--out", str(tmp_path / "b")]
    arguments += ["--checkpoint", "last", "--intended_use", "Reads digits.", "--limits", "Tiny."]
    assert command.main(arguments) == 0
    shown = capsys.readouterr().out
    accuracy = history[-1]["test/accuracy"]
    assert f"360 test images of digits: accuracy {accuracy:.4f}" in shown
    bundle = jaxdl.load_bundle(tmp_path / "b")
    jax.tree.map(np.testing.assert_array_equal, bundle.variables["params"], state.params)
    assert bundle.class_names == tuple(NAMES)
    assert bundle.config["step"] == int(state.step)
    assert bundle.config["metrics"]["test/loss"] == pytest.approx(history[-1]["test/loss"])
    assert sum(row[1] for row in bundle.config["by_class"]) == 360
    card = (tmp_path / "b" / "README.md").read_text()
    for text in ("Reads digits.", "- Tiny.", "- training images: 1,437", "| digit 3 |       36 |"):
        assert text in card
    # as it is there already
    assert command.main(arguments) == 1
    assert "exists already; choose a new folder" in capsys.readouterr().err


@pytest.mark.slow
def test_without_the_data_the_stored_evaluation_counts(run, tmp_path, capsys):
    folder, state, *_ = run
    description = json.loads((folder / "model.json").read_text())
    changed = {**description, "data": {"name": "mnist", "data_dir": str(tmp_path / "absent")}}
    (folder / "model.json").write_text(json.dumps(changed))
    try:
        arguments = ["export", str(folder), "--to", "bundle", "--checkpoint", "last", "--out"]
        assert command.main([*arguments, str(tmp_path / "a")]) == 0
        assert "no results by class in the card: add --data_dir" in capsys.readouterr().out
        write_evaluation(folder, int(state.step), np.eye(10))
        assert command.main([*arguments, str(tmp_path / "b")]) == 0
        assert "no results by class" not in capsys.readouterr().out
        assert "| digit 3 |        1 | 100.0% |" in (tmp_path / "b" / "README.md").read_text()
        assert command.main([*arguments, str(tmp_path / "c"), "--data_dir", str(tmp_path)]) == 1
        assert "no data 'mnist' in" in capsys.readouterr().err
    finally:
        (folder / "model.json").write_text(json.dumps(description))


def test_stablehlo_of_a_run(run, capsys):
    folder, *_ = run
    assert command.main(["export", str(folder), "--to", "stablehlo"]) == 0
    assert "takes uint8 (B, 8, 8, 1), returns logits; at batch 1, 7 and 64 within" in (
        capsys.readouterr().out
    )
    exported = load_exported(folder / "model.stablehlo")
    assert exported.info["class_names"] == NAMES
    assert exported.info["preprocessing"]["inside"] is True
    images = digits().test["image"][:3]
    expected = jaxdl.export.open_model(folder).outputs(images)
    np.testing.assert_allclose(exported.call(images), expected, atol=1e-5)


def test_weights_for_flax_and_for_pytorch(tmp_path, capsys):
    model, variables = make_bundle(tmp_path / "bundle")
    for to in ("safetensors", "torch"):
        assert command.main(["export", str(tmp_path / "bundle"), "--to", to]) == 0
    assert "model_torch.safetensors: " in capsys.readouterr().out
    arrays = read_weights(tmp_path / "bundle" / "model_torch.safetensors")
    assert arrays["Dense_0.weight"].shape == (4, 30)
    jax.tree.map(np.testing.assert_array_equal, params_from_torch(arrays, variables), variables)
    own = tmp_path / "bundle" / "variables.safetensors"
    jax.tree.map(np.testing.assert_array_equal, read_variables(own), variables)
    assert read_metadata(own)["model"] == type(model).__name__
    # the bundle itself is left as it was
    weights = str(tmp_path / "bundle" / "model.safetensors")
    arguments = ["export", str(tmp_path / "bundle"), "--to", "torch", "--out", weights]
    assert command.main(arguments) == 1
    assert "is a file of the model itself; choose another --out" in capsys.readouterr().err
    jaxdl.load_bundle(tmp_path / "bundle")


def test_what_is_wrong_is_one_line(run, tmp_path, monkeypatch, capsys):
    folder = str(run[0])
    monkeypatch.setattr(onnx_export, "PACKAGES", ("jaxdl_has_no_such_package",))
    for arguments, message in (
        ([folder, "--to", "onnx"], "ONNX needs jaxdl_has_no_such_package: pip install"),
        ([folder, "--to", "torch", "--gradients"], "--gradients is for --to stablehlo"),
        ([str(tmp_path), "--to", "onnx"], "is not a bundle: expected config.json"),
        ([str(tmp_path / "absent"), "--to", "onnx"], "is not a bundle"),
    ):
        assert command.main(["export", *arguments]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["export", folder, "--to", "keras"])
