"""``python -m jaxdl convert``: the report, the result, the flags, the words for what differs."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import __main__ as command
from jaxdl import models, tree
from jaxdl.cli._convert import MODELS, parse_fields
from jaxdl.interop import params_to_torch, read_variables, write_safetensors
from jaxdl.interop._layouts import entries
from jaxdl.interop.verify import Difference, describe
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
    assert metadata["model"] == "mlp"
    assert metadata["fields"] == '{"features": [4, 3]}'
    assert metadata["source"] == "weights.safetensors"


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
    assert "error: there is no model 'resnet19'; there are mlp, lenet5" in message
    assert command.main(["convert", str(tmp_path / "absent"), "--model", "mlp"]) == 1
    assert "No such file" in capsys.readouterr().err
    assert command.main(["convert", str(path), "--model", "mlp"]) == 1
    assert "Dense_0.weight has shape (4, 12), expected (512, 784)" in capsys.readouterr().err
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
    assert parse_fields("vgg11", flags) == {
        "num_classes": 10,
        "batch_norm": True,
        "dropout_rate": 0.0,
    }
    assert parse_fields("lstm", ["--dropout_rates", "0", "1"]) == {"dropout_rates": (0.0, 1.0)}
    for flags in (["--cell", "gru"], ["--num_classes", "ten"]):
        with pytest.raises(SystemExit):
            parse_fields("lstm", flags)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_the_table_has_a_name_in_pytorch_for_every_leaf(name):
    choice = MODELS[name]
    model = choice.make(**dict(choice.fixed))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *choice.shape)))
    shapes = {entry.name: entry.shape for entry in entries(variables)}
    assert len(shapes) == len(jax.tree.leaves(variables))
    assert sum(math.prod(shape) for shape in shapes.values()) == tree.count(variables)


def test_the_first_layer_that_differs_is_named_with_its_usual_cause():
    good = [Difference("conv1", "Conv2d", 2e-7), Difference("qkv", "Linear", None, " (1,), here 3")]
    output = Difference("output", "Net", 1e-7)
    text, agrees = describe([*good, output], 1e-4)
    assert agrees
    assert text.splitlines() == [
        "conv1        2.0e-07  Conv2d",
        "qkv     not compared  Linear (1,), here 3",
        "output       1.0e-07  Net",
        "All layers agree to 1e-04 of their largest output.",
    ]
    bad = [Difference("up", "ConvTranspose2d", 0.5), Difference("fc", "Linear", float("nan"))]
    text, agrees = describe([*good, *bad, output], 1e-4)
    assert not agrees
    assert "The first layer that differs is up. The usual cause: padding or output_padding" in text
    assert text.count("<- differs") == 2
    text, agrees = describe([*good, Difference("output", "Net", 0.5)], 1e-4)
    assert not agrees
    assert "a softmax or sigmoid" in text
    assert not describe(good, 1e-4)[1]
