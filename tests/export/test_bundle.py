"""Bundles: what comes back is what was saved, what is wrong is named, nothing is run."""

import dataclasses
import functools
import json
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import SMALL, draw_variables
from helpers.small_runs import digits, make_bundle, make_run
from PIL import Image

import jaxdl
from jaxdl import export, interop, models
from jaxdl.export.bundle import make_bundle as make_bundle_of
from jaxdl.export.from_run import read_run
from jaxdl.export.model_card import results_by_class
from jaxdl.export.model_spec import describe_model, make_model
from jaxdl.export.preprocessing import find_images

IMAGES = np.random.default_rng(1).integers(0, 256, (70, 6, 5, 1)).astype(np.uint8)


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "bundle", *make_bundle(tmp_path / "bundle")


def change(path, **values):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, **values}))


# Models as data


@pytest.mark.parametrize("name", SMALL)
def test_every_model_is_made_again_from_its_description(name):
    described = json.loads(json.dumps(describe_model(SMALL[name])))
    assert make_model(described) == SMALL[name]


def test_functions_dtypes_modules_and_partials_travel_as_text():
    model = models.DenseGenerator(
        activation=functools.partial(nn.leaky_relu, negative_slope=0.1),
        output_activation=jnp.tanh,
        dtype=jnp.bfloat16,
    )
    described = describe_model(model)
    assert described["fields"] == {
        "activation": {"function": "leaky_relu", "keywords": {"negative_slope": 0.1}},
        "output_activation": {"function": "tanh"},
        "dtype": {"dtype": "bfloat16"},
    }
    again = make_model(json.loads(json.dumps(described)))
    assert again.activation(-1.0) == pytest.approx(-0.1)
    assert again.dtype == jnp.bfloat16
    resnet = make_model({"name": "ResNet18", "fields": {"num_classes": 3}})
    assert describe_model(resnet)["fields"]["block"] == {"module": "BasicBlock"}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "ResNet19"}, "jaxdl.models has no 'ResNet19'; there are .*ResNet18"),
        ({"name": "os"}, "jaxdl.models has no 'os'"),
        ({"name": "functional_cnn"}, "jaxdl.models has no 'functional_cnn'"),
        ({"name": "MLP", "fields": {"depth": 3}}, "MLP has no field 'depth'; its fields are feat"),
        ({"name": "ResNet", "fields": {}}, "ResNet needs the field 'stage_sizes'"),
        ({"name": "MLP", "fields": {"activation": {"function": "eval"}}}, "MLP.activation: {'func"),
        (
            {"name": "MLP", "fields": {"dtype": {"dtype": "object"}}},
            "MLP.dtype: {'dtype': 'object'",
        ),
        ({"fields": {}}, "a model is described by its name and fields"),
    ],
)
def test_an_unknown_model_or_field_is_named(description, message):
    with pytest.raises(ValueError, match=message):
        make_model(description)


def test_what_cannot_be_written_as_text_is_named():
    with pytest.raises(ValueError, match=r"MLP.activation is <function"):
        describe_model(models.MLP(activation=lambda x: x))
    with pytest.raises(ValueError, match=r"Dense is no model of jaxdl.models"):
        describe_model(nn.Dense(3))


# Preprocessing


def test_preprocessing_is_that_of_training():
    rule = export.Preprocessing((6, 5, 1), mean=(0.25,), std=(0.5,))
    wanted = jaxdl.transforms.normalize([0.25], [0.5])(jnp.asarray(IMAGES))
    np.testing.assert_array_equal(rule(jnp.asarray(IMAGES)), wanted)
    np.testing.assert_allclose(rule(jnp.full((1, 6, 5, 1), 0.75)), 1.0)
    sixteen = dataclasses.replace(rule, scale=16.0)
    np.testing.assert_allclose(sixteen(jnp.full((1, 6, 5, 1), 8, jnp.uint8)), 0.5)
    tokens = jnp.arange(3)
    assert export.Preprocessing((3,), "int32", mean=(9.0,))(tokens) is tokens
    assert export.Preprocessing.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_texts_become_tokens_by_a_vocabulary_that_travels_with_it():
    words = ("<pad>", "<unk>", "a", "fine film", "fine", "film")
    rule = export.Preprocessing((5,), "int32", vocabulary=words, bigrams=True)
    assert export.Preprocessing.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    # words, then pairs of neighbours; of five tokens only
    expected = [[2, 4, 5, 1, 3], [0] * 5]
    for texts in (["A fine FILM", ""], np.array(["A fine FILM", ""])):
        np.testing.assert_array_equal(rule.check(texts), expected)
    np.testing.assert_array_equal(rule.check(np.array(expected)), expected)
    alone = dataclasses.replace(rule, bigrams=False)
    np.testing.assert_array_equal(alone.check(["A fine FILM"]), [[2, 4, 5, 0, 0]])
    for inputs, message in (("a fine film", r"give \[text\]"), ([["a"]], r"give \[text\]")):
        with pytest.raises(ValueError, match=message):
            rule.check(inputs)
    with pytest.raises(ValueError, match="got text, for which there is no vocabulary"):
        export.Preprocessing((5,), "int32").check(["a fine film"])
    for fields in (
        {"shape": (5, 5)},
        {"dtype": "uint8"},
        {"vocabulary": ("a", "b", "c")},
        {"vocabulary": (*words, "film")},
        {"vocabulary": (*words, 3)},
    ):
        with pytest.raises(ValueError, match="a vocabulary is for int32 of shape"):
            dataclasses.replace(rule, **fields)


@pytest.mark.parametrize(
    ("mode", "size", "resize", "note"),
    [
        ("L", (5, 6), "none", ""),
        ("RGB", (5, 6), "none", "RGB to gray"),
        ("P", (10, 12), "stretch", "palette to gray, 10x12 to 5x6 (stretched)"),
        ("RGBA", (20, 12), "crop", "RGBA on white to gray, 20x12 to 5x6 (middle)"),
    ],
)
def test_image_files_are_converted_as_the_rule_says(mode, size, resize, note, tmp_path):
    # white to the left of the middle, black to the right
    array = np.zeros((size[1], size[0]), np.uint8)
    array[:, : size[0] // 2] = 255
    Image.fromarray(array).convert(mode).save(tmp_path / "image.png")
    rule = export.Preprocessing((6, 5, 1), resize=resize)
    image, words = rule.read(tmp_path / "image.png")
    assert words == note
    assert image.shape == (6, 5, 1)
    assert image.dtype == np.uint8
    assert (image[:, :2] > 250).all()
    assert (image[:, 3:] < 50).all()


def test_a_crop_keeps_the_middle_and_its_proportions(tmp_path):
    array = np.zeros((4, 12, 3), np.uint8)
    array[:, 4:8, 0] = 200
    Image.fromarray(array).save(tmp_path / "wide.png")
    image, words = export.Preprocessing((4, 4, 3), resize="crop").read(tmp_path / "wide.png")
    assert (image == [200, 0, 0]).all()
    assert words == "12x4 to 4x4 (middle)"
    with pytest.raises(ValueError, match=r"wide.png has 12x4 pixels, the model takes 4x4"):
        export.Preprocessing((4, 4, 3), resize="none").read(tmp_path / "wide.png")


def test_files_that_are_no_images_are_named(tmp_path):
    rule = export.Preprocessing((6, 5, 1))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text.png cannot be read as an image"):
        rule.read(tmp_path / "text.png")
    Image.fromarray(np.full((6, 5), 2**15, np.uint16)).save(tmp_path / "deep.png")
    image, note = rule.read(tmp_path / "deep.png")
    assert (image == 128).all()
    assert note == "16-bit gray to gray"
    Image.fromarray(np.zeros((6, 5), np.float32)).save(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match=r"deep\.tif holds floating point, whose range is unknown"):
        rule.read(tmp_path / "deep.tif")
    with pytest.raises(ValueError, match="which is no image file"):
        export.Preprocessing((7,), "float32").read(tmp_path / "text.png")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        find_images([tmp_path / "absent.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no images"):
        find_images([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shape": [0]}, "shape must hold positive integers"),
        ({"shape": [3], "std": [0]}, "std must be greater than 0"),
        ({"shape": [3], "dtype": "int8"}, "dtype must be uint8, float32 or int32"),
        ({"shape": [3], "resize": "magic"}, 'resize must be "stretch"'),
        ({"shape": [3], "scale": 0}, "scale must be greater than 0"),
        ({"shape": [3], "crop": 1}, "has the unknown field 'crop'"),
        ({"mean": [1]}, "lacks the shape"),
        ([3], "must be an object of fields"),
    ],
)
def test_preprocessing_that_cannot_be_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        export.Preprocessing.from_json(values)


# There and back


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


def test_the_card_says_use_data_results_and_limits(saved):
    path, *_ = saved
    card = (path / "README.md").read_text()
    sections = [line for line in card.splitlines() if line.startswith("#")]
    assert sections == [
        "# MLP pets", "## Intended use", "## Model", "## Data", "## Preprocessing", "## Results",
        "## Limits", "## Versions",
    ]  # fmt: skip
    assert (
        "Assigns one of 3 classes to grey images of 5x6 pixels that resemble those of pets." in card
    )
    assert "`jaxdl.models.MLP(features=[4, 3])`, 139 parameters, 556 bytes" in card
    assert "| cat     |       10 |  80.0% |     66.7% | dog (2)              |" in card
    assert "| bird    |       10 |  50.0% |    100.0% | cat (3)              |" in card
    assert "| **all** |       30 |  73.3% |           |                      |" in card
    assert "- test/accuracy: 0.75" in card
    assert "- Drawings were not tried." in card
    assert "- Weakest class: bird, recall 50.0%, most often taken for cat." in card


def test_results_of_classes_without_examples_are_left_open():
    empty, other = results_by_class([[0, 0], [0, 3]], ["a", "b"])
    assert (empty.recall, empty.precision, empty.confused) == (None, None, None)
    assert (other.recall, other.precision) == (1.0, 1.0)
    with pytest.raises(ValueError, match="must be 2x2"):
        results_by_class([[1]], ["a", "b"])


def test_half_precision_and_models_without_classes(tmp_path):
    model = models.Autoencoder((8,), 3, (4, 4, 1))
    variables = draw_variables(model, jnp.zeros((1, 4, 4, 1)))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    export.save_bundle(tmp_path / "b", model, half, preprocessing=export.Preprocessing((4, 4, 1)))
    bundle = jaxdl.load_bundle(tmp_path / "b")
    assert {leaf.dtype for leaf in jax.tree.leaves(bundle.variables)} == {jnp.dtype("bfloat16")}
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    expected = model.apply(variables, images / np.float32(255))
    np.testing.assert_allclose(bundle.predict(images), expected, atol=0.05)
    assert "outputs to grey images of 4x4 pixels" in (tmp_path / "b" / "README.md").read_text()


# What goes wrong


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((6, 5, 1), np.uint8), r"got one input \(6, 5, 1\): give inputs\[None\]"),
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
        with pytest.raises(ValueError, match=r"not the file that was saved \(sha256\)"):
            jaxdl.load_bundle(path)
    (path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="its weights were not copied"):
        jaxdl.load_bundle(path)
    (path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        jaxdl.load_bundle(path)
    (path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"is no bundle: expected config.json, model.safe"):
        jaxdl.load_bundle(path)
    with pytest.raises(FileNotFoundError, match="found no folder"):
        jaxdl.load_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"name": "MLP", "fields": {"features": [5, 3]}}}, r"expected \[30, 5\], got \["),
        ({"model": {"name": "LeNet"}}, "jaxdl.models has no 'LeNet'"),
        ({"class_names": ["cat"]}, r"1 class names, but the model's output has shape \(1, 3\)"),
        ({"preprocessing": {}}, "preprocessing lacks the shape"),
        ({"version": 2}, "has version 2, this jaxdl knows version 1"),
        ({"format": "other"}, "is not that of a bundle"),
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
        export.save_bundle(path, model, variables, preprocessing=rule)
    wrong = {"params": {"Dense_0": variables["params"]["Dense_0"]}}
    with pytest.raises(ValueError, match=r"Dense_1/kernel: expected \[4, 3\], got nothing"):
        export.save_bundle(tmp_path / "new", model, wrong, preprocessing=rule)
    with pytest.raises(ValueError, match="needs the model's variables and its preprocessing"):
        export.save_bundle(tmp_path / "new", model)
    data = {"name": object()}
    with pytest.raises(TypeError, match="not JSON serializable"):
        export.save_bundle(tmp_path / "new", model, variables, preprocessing=rule, data=data)
    assert [each.name for each in tmp_path.iterdir()] == ["bundle"]


# Run folders


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *make_run(folder, ema=0.9)


def test_a_run_becomes_a_bundle_with_the_weights_that_were_evaluated(trained):
    folder, state, history, description = trained
    run = read_run(folder, which="last")
    averaged = jaxdl.optim.averaged_params(state.opt_state)
    jax.tree.map(np.testing.assert_array_equal, run.variables["params"], averaged)
    assert run.step == int(state.step)
    assert run.metrics["test/accuracy"] == history[-1]["test/accuracy"]
    assert run.confusion_matrix is None
    assert run.description == json.loads(json.dumps(description))
    bundle = export.open_model(folder, which="last")
    test = digits().test
    accuracy = (bundle.predict(test["image"]).argmax(-1) == test["label"]).mean()
    assert accuracy == pytest.approx(history[-1]["test/accuracy"])


def test_results_by_class_are_those_of_the_same_weights(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    step, matrix = int(trained[1].step), np.diag(np.arange(1, 11))
    export.write_evaluation(folder, step, matrix)
    by_class = export.open_model(folder, which="last").config["by_class"]
    assert by_class[3] == ["digit 3", 4, 1.0, 1.0, None]
    export.write_evaluation(folder, step - 1, matrix)
    assert export.open_model(folder, which="last").config["by_class"] == []


def test_a_run_that_does_not_say_what_its_model_is(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    (folder / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model.json, which says what model"):
        export.open_model(folder)
    with pytest.raises(ValueError, match="lacks 'preprocessing'"):
        make_bundle_of({"model": {"name": "MLP"}}, {})
