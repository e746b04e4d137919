"""Image classifiers of Hugging Face transformers.

============================ ================================================================
``ResNetForImageClassification``  :class:`jaxdl.models.ResNet` with the "imagenet" stem
``ViTForImageClassification``     :class:`jaxdl.models.VisionTransformer`, ``eps=1e-12``
============================ ================================================================

Needs neither transformers nor torch.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import models
from jaxdl._files import read_json
from jaxdl.interop.state_dict import load_state_dict
from jaxdl.interop.transfer import to_numpy
from jaxdl.interop.weight_files import read_weights
from jaxdl.models.resnet import BasicBlock, Bottleneck
from jaxdl.types import PyTree

RESNET = (
    (r"^resnet\.embedder\.embedder\.convolution\.", "conv1."),
    (r"^resnet\.embedder\.embedder\.normalization\.", "bn1."),
    *((rf"^resnet\.encoder\.stages\.{i}\.layers\.", f"layer{i + 1}.") for i in range(4)),
    *((rf"^(layer\d\.\d+)\.layer\.{i}\.convolution\.", rf"\1.conv{i + 1}.") for i in range(3)),
    *((rf"^(layer\d\.\d+)\.layer\.{i}\.normalization\.", rf"\1.bn{i + 1}.") for i in range(3)),
    (r"^(layer\d\.\d+)\.shortcut\.convolution\.", r"\1.downsample.0."),
    (r"^(layer\d\.\d+)\.shortcut\.normalization\.", r"\1.downsample.1."),
    (r"^classifier\.1\.", "fc."),
)
"""Patterns of ``ResNetForImageClassification``'s names, applied in this order."""


VIT = (
    (r"^vit\.embeddings\.cls_token$", "class_token"),
    (r"^vit\.embeddings\.position_embeddings$", "encoder.pos_embedding"),
    (r"^vit\.embeddings\.patch_embeddings\.projection\.", "conv_proj."),
    # transformers 5 names its layers so in memory; files keep the names of transformers 4
    (r"^vit\.(encoder\.layer|layers)\.(\d+)\.", r"encoder.layers.encoder_layer_\2."),
    (r"\.attention\.attention\.query\.|\.attention\.q_proj\.", ".self_attention.query."),
    (r"\.attention\.attention\.key\.|\.attention\.k_proj\.", ".self_attention.key."),
    (r"\.attention\.attention\.value\.|\.attention\.v_proj\.", ".self_attention.value."),
    (r"\.attention\.output\.dense\.|\.attention\.o_proj\.", ".self_attention.out_proj."),
    (r"\.layernorm_before\.", ".ln_1."),
    (r"\.layernorm_after\.", ".ln_2."),
    (r"\.intermediate\.dense\.|\.mlp\.fc1\.", ".mlp.0."),
    (r"(encoder_layer_\d+)\.output\.dense\.|(encoder_layer_\d+)\.mlp\.fc2\.", r"\1\2.mlp.3."),
    (r"^vit\.layernorm\.", "encoder.ln."),
    (r"^classifier\.", "heads.head."),
)
"""Patterns of ``ViTForImageClassification``'s names, older ones and those of transformers 5."""


FORM = {
    "model_type": str,
    "id2label?": (dict, None),
    "num_labels?": int,
    "num_channels?": int,
    "layer_type?": str,
    "depths?": [int],
    "hidden_sizes?": [int],
    "embedding_size?": int,
    "patch_size?": int,
    "hidden_size?": int,
    "num_hidden_layers?": int,
    "num_attention_heads?": int,
    "intermediate_size?": int,
    "layer_norm_eps?": float,
    "image_size?": int,
}
"""Fields of ``config.json`` that are read; see :func:`jaxdl._files.check_form`."""


def torchvision_names(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Renames the arrays of a transformers classifier to torchvision's names.

    Queries, keys and values, which transformers keeps apart, become one ``in_proj`` as in
    ``torch.nn.MultiheadAttention``.

    Args:
        state_dict: arrays or tensors of ``ResNetForImageClassification`` or
            ``ViTForImageClassification`` by name.

    Returns:
        arrays by name; :func:`jaxdl.interop.load_state_dict` takes them.

    Raises:
        ValueError: another architecture, two names that become one, an attention without bias or
            with a part missing.

    >>> list(torchvision_names({"resnet.encoder.stages.1.layers.0.layer.1.convolution.weight": 0}))
    ['layer2.0.conv2.weight']
    """
    heads = {name.split(".")[0] for name in state_dict}
    tables = [table for head, table in {"resnet": RESNET, "vit": VIT}.items() if head in heads]
    if len(tables) != 1:
        raise ValueError(
            "expected the names of transformers' ResNetForImageClassification (resnet.…) or "
            f"ViTForImageClassification (vit.…), got names that start with {sorted(heads)[:10]}."
        )
    result: dict[str, Any] = {}
    for name, array in state_dict.items():
        new = name
        for pattern, replacement in tables[0]:
            new = re.sub(pattern, replacement, new)
        if new in result:
            raise ValueError(f"two arrays would be {new}; {name} is one of them.")
        result[new] = array
    return _stack_attention(result)


def read_classifier(path: Path | str) -> tuple[nn.Module, PyTree, dict[str, Any]]:
    r"""Reads an image classifier saved with ``save_pretrained`` of transformers.

    Args:
        path: folder with ``config.json`` and the weights.

    Returns:
        The Linen model, its variables, and the configuration, whose ``"id2label"`` contains the
        class names.

    Raises:
        ValueError: an unsupported architecture or variant, or weights that do not match it.
        FileNotFoundError: ``config.json`` does not exist.

    Source: ``AutoModelForImageClassification.from_pretrained``.

    >>> import json, tempfile
    >>> from jaxdl.interop import params_to_torch, write_safetensors
    >>> config = {"model_type": "resnet", "layer_type": "basic", "embedding_size": 4,
    ...           "depths": [1], "hidden_sizes": [4], "num_labels": 3}
    >>> init = jax.jit(make_classifier(config)[0].init)
    >>> variables = init(jax.random.key(0), jnp.ones((1, 32, 32, 3)))
    >>> def transformers_name(name):
    ...     for old, new in (("conv1", "resnet.embedder.embedder.convolution"),
    ...                      ("bn1", "resnet.embedder.embedder.normalization"),
    ...                      ("layer1.0", "resnet.encoder.stages.0.layers.0"),
    ...                      ("fc", "classifier.1")):
    ...         name = re.sub(f"^{old}", new, name)
    ...     name = re.sub(r"0\.conv(\d)", lambda m: f"0.layer.{int(m[1]) - 1}.convolution", name)
    ...     return re.sub(r"0\.bn(\d)", lambda m: f"0.layer.{int(m[1]) - 1}.normalization", name)
    >>> arrays = {transformers_name(n): a for n, a in params_to_torch(variables).items()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "config.json").write_text(json.dumps(config))
    ...     _ = write_safetensors(Path(folder) / "model.safetensors", arrays)
    ...     model, loaded, _ = read_classifier(folder)
    >>> bool((loaded["params"]["fc"]["kernel"] == variables["params"]["fc"]["kernel"]).all())
    True
    """
    path = Path(path)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            f"file not found: {path / 'config.json'} (save_pretrained writes it)."
        )
    config = read_json(path / "config.json", FORM)
    arrays = torchvision_names(read_weights(path))
    if _num_layers(config) > len(arrays):  # before a model of a million layers is traced
        raise ValueError(f"{path}: config.json has more layers than the weights have arrays.")
    try:
        model, size = make_classifier(config)
        example = jax.ShapeDtypeStruct((1, size, size, config.get("num_channels", 3)), jnp.float32)
        target = jax.eval_shape(model.init, jax.random.key(0), example)
    except (ValueError, TypeError, ArithmeticError, flax.errors.FlaxError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: config.json does not describe a model: {reason}") from error
    return model, load_state_dict(arrays, target)[0], config


def make_classifier(config: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """The Linen model of a transformers configuration, and the side of its images in pixels.

    Args:
        config: ``config.json``.

    Raises:
        ValueError: another architecture, or a variant that jaxdl does not have.
    """
    labels = config.get("id2label")
    num_classes = len(labels) if labels else config.get("num_labels", 2)
    kind = config.get("model_type")
    if kind == "resnet":
        required = {"downsample_in_bottleneck": False, "downsample_in_first_stage": False}
        _check(config, {**required, "hidden_act": "relu"})
        basic = config.get("layer_type", "bottleneck") == "basic"
        sizes = config.get("hidden_sizes", [256, 512, 1024, 2048])
        width = config.get("embedding_size", 64)
        factor = 1 if basic else 4
        if list(sizes) != [factor * width * 2**i for i in range(len(sizes))]:
            raise ValueError(f"hidden_sizes must double from {factor * width}, got {sizes[:8]}.")
        block = BasicBlock if basic else Bottleneck
        depths = tuple(config.get("depths", (3, 4, 6, 3)))
        return models.ResNet(depths, block, num_classes, width=width), 224
    if kind == "vit":
        _check(config, {"hidden_act": "gelu", "qkv_bias": True})
        model = models.VisionTransformer(
            num_classes,
            patch_size=config.get("patch_size", 16),
            hidden_size=config.get("hidden_size", 768),
            num_layers=config.get("num_hidden_layers", 12),
            num_heads=config.get("num_attention_heads", 12),
            mlp_size=config.get("intermediate_size", 3072),
            eps=config.get("layer_norm_eps", 1e-12),
        )
        return model, config.get("image_size", 224)
    raise ValueError(f'model_type must be "resnet" or "vit", got {kind!r}.')


def _num_layers(config: Mapping[str, Any]) -> int:
    return max(config.get("num_hidden_layers", 0), sum(config.get("depths", ())))


def _check(config: Mapping[str, Any], required: Mapping[str, object]) -> None:
    for name, value in required.items():
        if config.get(name, value) != value:
            raise ValueError(f"{name} must be {value!r}, got {config[name]!r}.")


def _stack_attention(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """``query``, ``key`` and ``value`` as one ``in_proj``, in their place."""
    result = {}
    for name, array in arrays.items():
        module, _, kind = name.rpartition(".self_attention.query.")
        if not module:
            if not re.search(r"\.self_attention\.(key|value)\.", name):
                result[name] = array
            continue
        names = [f"{module}.self_attention.{part}.{kind}" for part in ("query", "key", "value")]
        missing = [each for each in names if each not in arrays]
        if missing:
            raise ValueError(f"{missing[0]} is missing; there is {name}.")
        parts = [to_numpy(arrays[each], each) for each in names]
        result[f"{module}.self_attention.in_proj_{kind}"] = np.concatenate(parts)
    return result
