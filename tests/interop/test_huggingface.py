"""Names of transformers' classifiers; the live comparison stands in tests/parity."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import draw_variables

from jaxdl import models
from jaxdl.interop import params_to_torch, write_safetensors
from jaxdl.interop.huggingface import make_classifier, read_classifier, torchvision_names

VIT = {
    "model_type": "vit", "image_size": 8, "patch_size": 4, "hidden_size": 6, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 5, "id2label": {"0": "cat", "1": "dog"},
    "layer_norm_eps": 1e-5,
}  # fmt: skip
TO_TORCHVISION = {
    "layers_encoder_layer.": "layers.encoder_layer_",
    ".ln.": ".ln_",
    "encoder.ln_": "encoder.ln.",
    "heads_head": "heads.head",
}
TO_VIT = {
    "class_token": "vit.embeddings.cls_token",
    "encoder.pos_embedding": "vit.embeddings.position_embeddings",
    "conv_proj.": "vit.embeddings.patch_embeddings.projection.",
    "encoder.ln.": "vit.layernorm.",
    "heads.head.": "classifier.",
    "encoder.layers.encoder_layer_": "vit.encoder.layer.",
    ".self_attention.out_proj.": ".attention.output.dense.",
    ".ln_1.": ".layernorm_before.",
    ".ln_2.": ".layernorm_after.",
    ".mlp.0.": ".intermediate.dense.",
    ".mlp.3.": ".output.dense.",
}
TO_FIVE = {
    "vit.encoder.layer.": "vit.layers.",
    ".attention.attention.query.": ".attention.q_proj.",
    ".attention.attention.key.": ".attention.k_proj.",
    ".attention.attention.value.": ".attention.v_proj.",
    ".attention.output.dense.": ".attention.o_proj.",
    ".intermediate.dense.": ".mlp.fc1.",
    ".output.dense.": ".mlp.fc2.",
}


def spell(arrays, table):
    result = {}
    for name, array in arrays.items():
        for old, new in table.items():
            name = name.replace(old, new)
        result[name] = array
    return result


def as_transformers(variables):
    """A state_dict of ViTForImageClassification, queries, keys and values apart."""
    names = spell(params_to_torch(variables), TO_TORCHVISION)
    result = {}
    for name, array in names.items():
        if "in_proj_" not in name:
            result[name] = array
            continue
        module, kind = name.split(".self_attention.in_proj_")
        for part, piece in zip(("query", "key", "value"), np.split(array, 3), strict=True):
            result[f"{module}.attention.attention.{part}.{kind}"] = piece
    return spell(result, TO_VIT)


@pytest.mark.slow
@pytest.mark.parametrize("table", [{}, TO_FIVE], ids=["transformers 4", "transformers 5"])
def test_a_vit_is_read_under_both_spellings(table, tmp_path):
    model, size = make_classifier(VIT)
    assert (model.eps, model.num_classes, size) == (1e-5, 2, 8)
    variables = draw_variables(model, jnp.zeros((1, 8, 8, 3)))
    state = spell(as_transformers(variables), table)
    assert len(state) == len(jax.tree.leaves(variables)) + 2 * 2 * 2
    assert all(name.startswith(("vit.", "classifier.")) for name in state)
    write_safetensors(tmp_path / "model.safetensors", state)
    (tmp_path / "config.json").write_text(json.dumps(VIT))
    again, loaded, config = read_classifier(tmp_path)
    assert again == model
    assert config["id2label"]["1"] == "dog"
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_a_resnet_of_a_configuration():
    config = {"model_type": "resnet", "layer_type": "basic", "depths": [2, 2, 2, 2]}
    config |= {"hidden_sizes": [64, 128, 256, 512], "id2label": {str(i): "" for i in range(1000)}}
    assert make_classifier(config) == (models.ResNet18(), 224)
    names = torchvision_names(
        {
            "resnet.embedder.embedder.normalization.running_mean": 1,
            "resnet.encoder.stages.0.layers.1.layer.0.convolution.weight": 2,
            "resnet.encoder.stages.3.layers.0.layer.2.normalization.bias": 3,
            "resnet.encoder.stages.3.layers.0.shortcut.normalization.weight": 4,
            "classifier.1.bias": 5,
        }
    )
    assert names == {
        "bn1.running_mean": 1,
        "layer1.1.conv1.weight": 2,
        "layer4.0.bn3.bias": 3,
        "layer4.0.downsample.1.weight": 4,
        "fc.bias": 5,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, 'model_type must be "resnet" or "vit", got \'bert\''),
        ({"model_type": "vit", "hidden_act": "relu"}, "hidden_act must be 'gelu', got 'relu'"),
        ({"model_type": "vit", "qkv_bias": False}, "qkv_bias must be True, got False"),
        ({"model_type": "resnet", "downsample_in_bottleneck": True}, "must be False, got True"),
        ({"model_type": "resnet", "hidden_sizes": [64, 512]}, "hidden_sizes must double from 256"),
    ],
)
def test_variants_that_are_not_here_are_named(config, message):
    with pytest.raises(ValueError, match=message):
        make_classifier(config)


def test_other_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got names that start with \['bert'\]"):
        torchvision_names({"bert.embeddings": 0})
    with pytest.raises(ValueError, match=r"self_attention.key.weight is missing"):
        torchvision_names({"vit.layers.0.attention.q_proj.weight": np.zeros((2, 2))})
    with pytest.raises(FileNotFoundError, match=r"config.json \(save_pretrained writes it\)"):
        read_classifier(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": "large"}, "field 'image_size' must be an integer, got 'large'"),
        ({"id2label": ["cat"]}, "field 'id2label' must be an object of fields or null"),
        ({"num_hidden_layers": 10**6}, "more layers than the weights have arrays"),
        ({"patch_size": 0}, "does not describe a model"),
        ({"num_attention_heads": 4}, "does not describe a model"),
        ({"hidden_size": 12}, "does not fit the model"),
    ],
)
def test_a_configuration_that_is_not_of_these_weights_is_refused(changes, message, tmp_path):
    model, _ = make_classifier(VIT)
    variables = draw_variables(model, jnp.zeros((1, 8, 8, 3)))
    write_safetensors(tmp_path / "model.safetensors", as_transformers(variables))
    (tmp_path / "config.json").write_text(json.dumps(VIT | changes))
    with pytest.raises(ValueError, match=message):
        read_classifier(tmp_path)
