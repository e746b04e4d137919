"""Bundles: saved and loaded; damaged ones are refused."""

import dataclasses
import json
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import draw_variables
from helpers.small_runs import make_bundle

import jaxdl
from jaxdl import export, interop, models

IMAGES = np.random.default_rng(1).integers(0, 256, (70, 6, 5, 1)).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "bundle", *make_bundle(tmp_path / "bundle")


def change(path, **values):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.slow
def test_a_bundle_gives_what_the_model_gives(saved):
    path, model, variables = saved
    bundle = jaxdl.load_bundle(path)
    assert bundle.class_names == ("cat", "dog", "bird")
    x = (jnp.asarray(IMAGES, jnp.float32) / 255 - 0.25) / 0.5
    logits = model.apply(variables, x)
    np.testing.assert_allclose(bundle.outputs(IMAGES), logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bundle.predict(IMAGES), jax.nn.softmax(logits), atol=1e-6)
    # batches change nothing, nor does an image on the scale 0 to 1
    np.testing.assert_allclose(
        bundle.predict(IMAGES, batch_size=3), bundle.predict(IMAGES), atol=1e-6
    )
    pixels = IMAGES.astype(np.float32) / 255
    np.testing.assert_allclose(bundle.predict(pixels), bundle.predict(IMAGES), atol=1e-6)
    assert bundle.predict(IMAGES[:0]).shape == (0, 3)
    for before, after in zip(
        jax.tree.leaves(variables), jax.tree.leaves(bundle.variables), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_it_runs_in_one_line_in_another_process(saved, tmp_path):
    path, *_ = saved
    moved = path.rename(tmp_path / "elsewhere")
    line = f"import jaxdl, numpy; print(jaxdl.load_bundle({str(moved)!r}).predict("
    line += "numpy.full((1, 6, 5, 1), 7, numpy.uint8)).tolist())"
    output = subprocess.run(
        [sys.executable, "-c", line], check=True, capture_output=True, text=True, timeout=300
    ).stdout
    expected = jaxdl.load_bundle(moved).predict(np.full((1, 6, 5, 1), 7, np.uint8))
    np.testing.assert_allclose(json.loads(output), expected, atol=1e-6)


def test_a_bundle_is_one_safetensors_file_and_text(saved, tmp_path):
    path, _, variables = saved
    assert sorted(each.name for each in path.iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    jax.tree.map(
        np.testing.assert_array_equal, interop.read_variables(path / "model.safetensors"), variables
    )
    text = (path / "config.json").read_text() + (path / "README.md").read_text()
    assert "/home/me" not in text
    assert "epoch_seconds" not in text
    # saved again it is the same
    export.save_bundle(
        tmp_path / "again", jaxdl.load_bundle(path), limits="Drawings were not tried."
    )
    for name in ("config.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (path / name).read_bytes()


class Halves(nn.Module):
    """A network outside of jaxdl.models with two outputs."""

    @nn.compact
    def __call__(self, x, train=False):
        return {"sum": x.sum((1, 2, 3)), "dense": nn.Dense(2)(x.reshape(x.shape[0], -1))}


def test_a_network_of_another_module_is_saved_as_a_program(tmp_path):
    model, rule = Halves(), export.Preprocessing((6, 5, 1), mean=(0.25,), std=(0.5,))
    variables = draw_variables(model, jnp.zeros((1, 6, 5, 1)))
    export.save_bundle(tmp_path / "b", export.make_bundle(model, variables, rule))
    bundle = jaxdl.load_bundle(tmp_path / "b")
    assert bundle.model is None
    assert bundle.config["model"]["class"].endswith(":Halves")
    outputs, expected = bundle.outputs(IMAGES), model.apply(variables, rule(jnp.asarray(IMAGES)))
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-3)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), bundle.variables)
    smaller = dataclasses.replace(bundle, variables=half)
    np.testing.assert_allclose(smaller.outputs(IMAGES)["sum"], expected["sum"], rtol=1e-4)


def test_half_precision_and_models_without_classes(tmp_path):
    model = models.Autoencoder((8,), 3, (4, 4, 1))
    variables = draw_variables(model, jnp.zeros((1, 4, 4, 1)))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    bundle = export.make_bundle(model, half, export.Preprocessing((4, 4, 1)))
    export.save_bundle(tmp_path / "b", bundle)
    bundle = jaxdl.load_bundle(tmp_path / "b")
    assert {leaf.dtype for leaf in jax.tree.leaves(bundle.variables)} == {jnp.dtype("bfloat16")}
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    expected = model.apply(variables, images / np.float32(255))
    np.testing.assert_allclose(bundle.predict(images), expected, atol=0.05)
    assert "outputs to gray images of 4x4 pixels" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((6, 5, 1), np.uint8), r"got one input \(6, 5, 1\): pass inputs\[None\]"),
        (np.zeros((2, 28, 28, 1), np.uint8), r"expected inputs of shape \('B', 6, 5, 1\), got"),
        (np.zeros((2, 6, 5, 1), np.int64), "expected uint8 inputs, got int64"),
        (np.full((2, 6, 5, 1), 255.0), r"must lie in \[0, 1\], got 255 to 255"),
        (np.zeros((2, 6, 5, 3), np.uint8), "expected inputs of shape"),
    ],
)
def test_inputs_of_another_kind_teach(inputs, message, saved):
    with pytest.raises(ValueError, match=message):
        jaxdl.load_bundle(saved[0]).predict(inputs)


def test_damaged_bundles_are_refused(saved, tmp_path):
    path, *_ = saved
    content = (path / "model.safetensors").read_bytes()
    for position in (20, len(content) // 2, len(content) - 1):
        flipped = bytearray(content)
        flipped[position] ^= 1
        (path / "model.safetensors").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"not the file that was saved \(its sha256 differs\)"):
            jaxdl.load_bundle(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is incomplete: model.safetensors was not copied"):
        jaxdl.load_bundle(path)
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        jaxdl.load_bundle(path)
    (path / "config.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"is not a bundle: expected config.json, model.safe"
    ):
        jaxdl.load_bundle(path)
    with pytest.raises(FileNotFoundError, match="found no folder"):
        jaxdl.load_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"name": "MLP", "fields": {"features": [5, 3]}}}, r"expected \[30, 5\], got \["),
        ({"model": {"name": "LeNet"}}, "unknown model 'LeNet'"),
        ({"class_names": ["cat"]}, r"1 class names, but the model's output has shape \(1, 3\)"),
        ({"preprocessing": {}}, "preprocessing: field 'shape' is missing"),
        ({"version": 2}, "has version 2, expected version 1"),
        ({"format": "other"}, "is not the configuration of a bundle"),
    ],
)
def test_a_bundle_whose_parts_do_not_fit_is_refused(values, message, saved):
    path, *_ = saved
    change(path, **values)
    with pytest.raises(ValueError, match=message):
        jaxdl.load_bundle(path)


def test_nothing_half_written_is_left_and_nothing_is_overwritten(saved, tmp_path):
    path, model, variables = saved
    rule = export.Preprocessing((6, 5, 1))
    with pytest.raises(ValueError, match="exists already"):
        export.save_bundle(path, export.make_bundle(model, variables, rule))
    wrong = {"params": {"Dense_0": variables["params"]["Dense_0"]}}
    with pytest.raises(ValueError, match=r"Dense_1/kernel: expected \[4, 3\], got nothing"):
        export.make_bundle(model, wrong, rule)
    bundle = export.make_bundle(model, variables, rule, data={"name": object()})
    with pytest.raises(TypeError, match="not JSON serializable"):
        export.save_bundle(tmp_path / "new", bundle)
    assert [each.name for each in tmp_path.iterdir()] == ["bundle"]
