"""Models as JSON."""

import functools
import json
import pydoc

import flax.linen as nn
import jax.numpy as jnp
import pytest
from helpers.small_models import SMALL

from jaxdl import models
from jaxdl.models.spec import model_from_json, model_to_json


@pytest.mark.parametrize("name", SMALL)
def test_every_model_is_made_again_from_its_description(name):
    described = json.loads(json.dumps(model_to_json(SMALL[name])))
    assert model_from_json(described) == SMALL[name]


def test_functions_dtypes_modules_and_partials_travel_as_text():
    model = models.DenseGenerator(
        activation=functools.partial(nn.leaky_relu, negative_slope=0.1),
        output_activation=jnp.tanh,
        dtype=jnp.bfloat16,
    )
    described = model_to_json(model)
    assert described["fields"] == {
        "activation": {"function": "leaky_relu", "keywords": {"negative_slope": 0.1}},
        "output_activation": {"function": "tanh"},
        "dtype": {"dtype": "bfloat16"},
    }
    again = model_from_json(json.loads(json.dumps(described)))
    assert again.activation(-1.0) == pytest.approx(-0.1)
    assert again.dtype == jnp.bfloat16
    resnet = model_from_json({"name": "ResNet18", "fields": {"num_classes": 3}})
    assert model_to_json(resnet)["fields"]["block"] == {"module": "BasicBlock"}


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"name": "ResNet19"}, "unknown model 'ResNet19'; expected one of .*ResNet18"),
        ({"name": "os"}, "unknown model 'os'"),
        ({"name": "functional_cnn"}, "unknown model 'functional_cnn'"),
        (
            {"name": "MLP", "fields": {"depth": 3}},
            "MLP: unknown field 'depth'; expected one of feat",
        ),
        (
            {"name": "ResNet", "fields": {}},
            "ResNet: field 'stage_sizes' is missing and has no default",
        ),
        (
            {"name": "MLP", "fields": {"activation": {"function": "eval"}}},
            "MLP.activation: unknown function, module or dtype {'func",
        ),
        (
            {"name": "MLP", "fields": {"dtype": {"dtype": "object"}}},
            "MLP.dtype: unknown function, module or dtype {'dtype': 'object'",
        ),
        ({"fields": {}}, "the model: field 'name' is missing"),
    ],
)
def test_an_unknown_model_or_field_is_named(description, message):
    with pytest.raises(ValueError, match=message):
        model_from_json(description)


def test_what_cannot_be_written_as_text_is_named():
    with pytest.raises(ValueError, match=r"MLP.activation is <function"):
        model_to_json(models.MLP(activation=lambda x: x))


@pytest.mark.parametrize(
    "name", ["LeNetMaxPool", "ResNet18", "ResNet34", "ResNet50", "ResNet152", "VGG11", "VGG16"]
)
def test_named_sizes_are_documented_constructors(name):
    constructor = getattr(models, name)
    text = pydoc.plain(pydoc.render_doc(constructor))
    assert f"{name}(num_classes: int" in text
    assert "Args:" in text
    assert "Source:" in text
    assert "functools.partial" not in text
    model = constructor(num_classes=3)
    assert model == model_from_json({"name": name, "fields": {"num_classes": 3}})
    assert model == model_from_json(model_to_json(model))
