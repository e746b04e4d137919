"""ONNX by jax2onnx and onnxruntime, and StableHLO, of every classifier; needs the extra onnx.

CI runs this folder in a separate environment; the test command does not.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.small_models import draw_variables
from helpers.small_runs import make_bundle

from jaxdl import __main__ as command
from jaxdl import models
from jaxdl.export import Preprocessing, load_exported, open_model, write_onnx, write_stablehlo
from jaxdl.export import onnx as onnx_export

GRAY, COLOR = (28, 28, 1), (32, 32, 3)
CLASSIFIERS = {
    "MLP": (models.MLP(), GRAY),
    "LeNet-5": (models.LeNet5(), GRAY),
    "M12 ConvNet": (models.ConvNet(), GRAY),
    "M13 MnistCNN": (models.MnistCNN(), GRAY),
    "M16 BatchNormConvNet": (models.BatchNormConvNet(), GRAY),
    "CNN": (models.CNN(), GRAY),
    "LSTM": (models.RecurrentClassifier(), GRAY),
    "GRU": (models.RecurrentClassifier(cell="gru"), GRAY),
    # the depth of the original, narrower: what is converted is the same
    "ResNet-18": (models.ResNet18(10, stem="cifar", width=8), COLOR),
    "VGG-16": (models.VGG16(10, width=4, hidden=16), COLOR),
    "ViT": (models.VisionTransformer(10, 8, 32, 2, 4, 64), COLOR),
}


def function_of(model, shape):
    rule = Preprocessing(shape, mean=(0.4,) * shape[2], std=(0.3,) * shape[2])
    variables = draw_variables(model, jnp.zeros((1, *shape)))
    return lambda images: model.apply(variables, rule(images), train=False)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_onnx_and_stablehlo_agree_with_jax_at_batch_1_7_and_64(name, tmp_path):
    """Both writers compare at these sizes themselves; here the files are read once more."""
    model, shape = CLASSIFIERS[name]
    function = function_of(model, shape)
    differences = (
        write_onnx(tmp_path / "a.onnx", function, shape),
        write_stablehlo(tmp_path / "a.stablehlo", function, shape),
    )
    print(f"{name}: ONNX {differences[0]:.1e}, StableHLO {differences[1]:.1e}")
    assert max(differences) <= 1e-5
    images = np.random.default_rng(1).integers(0, 256, (3, *shape)).astype(np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    (theirs,) = session.run(["outputs"], {"inputs": images})
    ours = load_exported(tmp_path / "a.stablehlo").call(images)
    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(theirs, ours, atol=1e-5 * np.abs(theirs).max())


def test_the_command_writes_raw_images_and_class_names(tmp_path, capsys):
    make_bundle(tmp_path / "bundle")
    path = tmp_path / "model.onnx"
    arguments = ["export", str(tmp_path / "bundle"), "--to", "onnx", "--out", str(path)]
    assert command.main(arguments) == 0
    assert "takes uint8 (B, 6, 5, 1), returns logits; at batch 1, 7 and 64 within" in (
        capsys.readouterr().out
    )
    model = onnx.load(path)
    entry = model.graph.input[0]
    sizes = [axis.dim_param or axis.dim_value for axis in entry.type.tensor_type.shape.dim]
    assert (entry.name, sizes) == ("inputs", ["B", 6, 5, 1])
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    metadata = {each.key: each.value for each in model.metadata_props}
    assert json.loads(metadata["class_names"]) == ["cat", "dog", "bird"]
    images = np.random.default_rng(1).integers(0, 256, (2, 6, 5, 1)).astype(np.uint8)
    (outputs,) = onnxruntime.InferenceSession(str(path)).run(None, {"inputs": images})
    np.testing.assert_allclose(outputs, open_model(tmp_path / "bundle").outputs(images), atol=1e-5)


def test_what_cannot_be_converted_says_so_and_stablehlo_does_it(tmp_path):
    layer = nn.RNN(nn.LSTMCell(5))
    variables = layer.init(jax.random.key(0), jnp.zeros((1, 4, 3)))

    def function(inputs):
        return layer.apply(variables, inputs)

    with pytest.raises(ValueError, match=r"jax2onnx cannot convert .* Export it to StableHLO"):
        write_onnx(tmp_path / "a.onnx", function, (4, 3), "float32")
    assert list(tmp_path.iterdir()) == []
    assert write_stablehlo(tmp_path / "a.stablehlo", function, (4, 3), "float32") < 1e-6


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    convert = onnx_export._convert
    monkeypatch.setattr(
        onnx_export,
        "_convert",
        lambda function, *rest: convert(lambda x: function(x) * 1.001, *rest),
    )
    with pytest.raises(ValueError, match=r"differs by 1.0e-03 of the largest output at batch 1, "):
        write_onnx(tmp_path / "a.onnx", lambda x: 2.0 * x, (3,), "float32")
    assert list(tmp_path.iterdir()) == []
