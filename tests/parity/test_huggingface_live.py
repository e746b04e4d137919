"""Classifiers as transformers' PyTorch classes save them, with random weights."""

import jax
import numpy as np
import pytest
import torch
import transformers
from helpers.oracle import compare

from jaxdl.interop import load_state_dict, read_classifier
from jaxdl.interop.huggingface import torchvision_names

RESNETS = {
    "ResNet-18": {
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
        "hidden_sizes": [64, 128, 256, 512],
    },
    "bottlenecks": {
        "depths": [1, 2],
        "layer_type": "bottleneck",
        "embedding_size": 8,
        "hidden_sizes": [32, 64],
    },
}
VITS = {
    "ViT-S/16, 4 layers": {
        "hidden_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "intermediate_size": 1536,
        "image_size": 64,
    },
    "small": {
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 20,
        "image_size": 16,
        "patch_size": 8,
    },
}


def make(name):
    torch.manual_seed(0)
    labels = {"id2label": {i: f"class {i}" for i in range(7)}}
    if name in RESNETS:
        config = transformers.ResNetConfig(**RESNETS[name], **labels)
        module, size = transformers.ResNetForImageClassification(config), 64
    else:
        config = transformers.ViTConfig(**VITS[name], **labels)
        module, size = transformers.ViTForImageClassification(config), config.image_size
    for key, tensor in module.state_dict().items():
        if key.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif key.endswith(("running_mean", "cls_token", "position_embeddings", ".bias")):
            tensor.normal_(0.0, 0.1)
    return module.eval(), size


@pytest.mark.parametrize("name", [*RESNETS, *VITS])
def test_what_save_pretrained_wrote_gives_the_same_logits(name, tmp_path):
    module, size = make(name)
    module.save_pretrained(tmp_path)
    model, variables, config = read_classifier(tmp_path)
    assert config["id2label"]["3"] == "class 3"
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).logits.numpy()
    compare(f"transformers, {name}", jax.jit(model.apply)(variables, images), expected)
    # from memory too, where transformers 5 uses other names
    again, _ = load_state_dict(torchvision_names(module.state_dict()), variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
