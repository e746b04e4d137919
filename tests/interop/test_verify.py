"""The conversion's report, and the words for what differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import models
from jaxdl.interop import params_to_torch, write_safetensors
from jaxdl.interop.verify import Difference, convert, describe


@pytest.fixture
def weights(tmp_path):
    """A file with the weights of an MLP 12-4-3 by PyTorch's names, the model, the variables."""
    model = models.MLP((4, 3))
    variables = model.init(jax.random.key(1), jnp.zeros((1, 2, 2, 3)))
    write_safetensors(tmp_path / "weights.safetensors", params_to_torch(variables))
    return tmp_path / "weights.safetensors", model, variables


def test_a_conversion_reports_what_was_loaded(weights):
    path, model, variables = weights
    report = convert(path, model, (2, 2, 3))
    jax.tree.map(np.testing.assert_array_equal, report.variables, variables)
    assert report.agrees
    assert report.differences is None
    assert str(report).splitlines() == [
        f"{path}: 4 arrays, 67 numbers, float32",
        "loaded 4 of 4 leaves (67 numbers)",
        "not compared with PyTorch: no torch_module was given.",
    ]


def test_options_of_loading_are_passed_on(weights):
    path, model, variables = weights
    report = convert(path, model, (2, 2, 3), leave_out="Dense_1", dtype=jnp.bfloat16)
    found = report.variables["params"]
    assert found["Dense_0"]["kernel"].dtype == jnp.bfloat16
    assert (found["Dense_1"]["kernel"] != variables["params"]["Dense_1"]["kernel"]).all()
    with pytest.raises(ValueError, match=r"MLP does not take inputs of shape \(1, -1\)"):
        convert(path, model, (-1,))


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
    assert describe([], 1e-4) == ("No layer could be compared.", False)
