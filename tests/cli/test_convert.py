"""``python -m jaxdl convert``: the report, the result, the flags, the words for what differs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import __main__ as command
from jaxdl import models, tree
from jaxdl.cli.convert import INPUT_SHAPES, find_model, parse_fields
from jaxdl.interop import params_to_torch, read_variables, write_safetensors
from jaxdl.interop._layouts import entries
from jaxdl.interop.weight_files import read_metadata


@pytest.fixture
def weights(tmp_path):
    """A file with the weights of an MLP 12-4-3 by PyTorch's names, and the variables."""
    model = models.MLP((4, 3))
    variables = model.init(jax.random.key(1), jnp.zeros((1, 2, 2, 3)))
    arrays = {f"module.{name}": array for name, array in params_to_torch(variables).items()}
    write_safetensors(tmp_path / "weights.safetensors", arrays)
    return tmp_path / "weights.safetensors", variables


def convert(path, *flags):
    model = ["--model", "mlp", "--features", "4", "3", "--input_shape", "2", "2", "3"]
    return command.main(["convert", str(path), *model, *flags])


@pytest.mark.slow
def test_the_report_is_printed_and_the_variables_are_written(weights, tmp_path, capsys):
    path, variables = weights
    out = tmp_path / "variables.safetensors"
    assert convert(path, "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert f"{path}: 4 arrays, 67 numbers, float32" in shown
    assert "loaded 4 of 4 leaves (67 numbers)" in shown
    assert "prefix 'module.' taken off" in shown
    assert "not compared with PyTorch:" in shown
    assert f"wrote {out}: 268 bytes of weights" in shown
    jax.tree.map(np.testing.assert_array_equal, read_variables(out), variables)
    metadata = read_metadata(out)
    assert metadata["model"] == "MLP"
    assert metadata["fields"] == '{"features": [4, 3]}'
    assert metadata["source"] == "weights.safetensors"


@pytest.mark.slow
def test_a_new_head_another_dtype_and_new_names(weights, tmp_path, capsys):
    path, variables = weights
    out = tmp_path / "variables.safetensors"
    flags = ("--leave_out", "Dense_1", "--dtype", "bfloat16", "--out", str(out))
    assert convert(path, *flags) == 0
    assert "left out as asked, 4" in capsys.readouterr().out
    found = read_variables(out)["params"]
    expected = variables["params"]["Dense_0"]["kernel"].astype(jnp.bfloat16)
    np.testing.assert_array_equal(found["Dense_0"]["kernel"], np.asarray(expected))
    assert (found["Dense_1"]["kernel"] != variables["params"]["Dense_1"]["kernel"]).all()
    flags = ("--rename", "Dense_0=Dense_2", "--rename", "Dense_1=Dense_0")
    assert convert(path, *flags, "--partial") == 1
    assert "no array of the state_dict fits" in capsys.readouterr().err


def test_what_is_wrong_is_said_without_a_traceback(weights, tmp_path, capsys):
    path, _ = weights
    assert command.main(["convert", str(path), "--model", "resnet19"]) == 1
    message = capsys.readouterr().err
    assert "error: model not found: 'resnet19' (expected one of " in message
    assert command.main(["convert", str(tmp_path / "absent"), "--model", "mlp"]) == 1
    assert "No such file" in capsys.readouterr().err
    assert command.main(["convert", str(path), "--model", "mlp"]) == 1
    assert "Dense_0.weight has shape (4, 12), expected (512, 784)" in capsys.readouterr().err
    assert convert(path, "--input_shape", "-1", "2") == 1
    assert "MLP does not take inputs of shape (1, -1, 2)" in capsys.readouterr().err
    assert convert(path, "--rename", "(=x") == 1
    assert "renames: '(' is not a regular expression" in capsys.readouterr().err
    assert convert(path, "--rename", "abc") == 1
    assert "--rename must be PATTERN=REPLACEMENT, got 'abc'" in capsys.readouterr().err
    for flag in ("--stem", "--feature"):
        with pytest.raises(SystemExit) as exit_:
            convert(path, flag, "3")
        assert exit_.value.code == 2
        assert f"unrecognized arguments: {flag} 3" in capsys.readouterr().err


def test_other_commands_refuse_flags_that_they_do_not_know(capsys):
    with pytest.raises(SystemExit):
        command.main(["doctor", "--stem", "cifar"])
    assert "unrecognized arguments: --stem cifar" in capsys.readouterr().err


def test_fields_have_the_types_of_the_model():
    flags = ["--num_classes", "10", "--batch_norm", "--dropout_rate", "0"]
    assert parse_fields(find_model("vgg11")[1], flags) == {
        "num_classes": 10,
        "batch_norm": True,
        "dropout_rate": 0.0,
    }
    make = find_model("recurrent_classifier")[1]
    flags = ["--cell", "gru", "--dropout_rates", "0", "1"]
    assert parse_fields(make, flags) == {"cell": "gru", "dropout_rates": (0.0, 1.0)}
    for flags in (["--cells", "gru"], ["--num_classes", "ten"]):
        with pytest.raises(SystemExit):
            parse_fields(make, flags)


MODELS = [
    "mlp", "lenet5", "lenet_max_pool", "convnet", "cnn", "mnist_cnn", "batch_norm_convnet",
    "convnet.StridedConvNet", "autoencoder", "vae", "conv_vae", "resnet18", "resnet34", "resnet50",
    "resnet152", "vgg11", "vgg16", "vision_transformer", "recurrent_classifier",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_leaf_of_a_model_has_a_name_in_pytorch(name):
    found, make = find_model(name)
    shape = next(INPUT_SHAPES[start] for start in INPUT_SHAPES if found.startswith(start))
    variables = jax.eval_shape(make().init, jax.random.key(0), jnp.zeros((2, *shape)))
    shapes = {entry.name: entry.shape for entry in entries(variables)}
    assert len(shapes) == len(jax.tree.leaves(variables))
    assert sum(math.prod(shape) for shape in shapes.values()) == tree.count(variables)
