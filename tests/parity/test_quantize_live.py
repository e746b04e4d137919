"""Quantization and pruning beside live PyTorch."""

import jax.numpy as jnp
import numpy as np
import torch
from torch.nn.utils import prune

from jaxdl.export import quantization

WEIGHTS = np.random.default_rng(0).normal(size=(6, 3, 3, 8)).astype(np.float32)


def test_int8_is_that_of_quantize_per_channel():
    small = quantization.quantize({"kernel": jnp.asarray(WEIGHTS)})["kernel"]
    scales = torch.from_numpy(np.array(small.scale.reshape(8)))
    theirs = torch.quantize_per_channel(
        torch.from_numpy(WEIGHTS), scales, torch.zeros(8, dtype=torch.int32), 3, torch.qint8
    )
    np.testing.assert_array_equal(small.values, theirs.int_repr().numpy())
    wide = quantization.dequantize({"kernel": small})["kernel"]
    np.testing.assert_array_equal(wide, theirs.dequantize().numpy())


def test_pruning_is_that_of_l1_unstructured_and_global_unstructured():
    def modules():
        layers = [torch.nn.Linear(40, 30), torch.nn.Linear(30, 10)]
        for seed, layer in enumerate(layers):
            values = np.random.default_rng(seed).normal(size=layer.weight.shape) * (seed + 1)
            layer.weight.data = torch.from_numpy(values.astype(np.float32))
        return layers

    params = {
        str(n): {"kernel": jnp.asarray(layer.weight.detach().numpy())}
        for n, layer in enumerate(modules())
    }
    for per_layer in (False, True):
        layers = modules()
        if per_layer:
            for layer in layers:
                prune.l1_unstructured(layer, "weight", 0.37)
        else:
            pairs = [(layer, "weight") for layer in layers]
            prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.37)
        pruned, _ = quantization.prune(params, 0.37, per_layer=per_layer)
        for n, layer in enumerate(layers):
            expected = layer.weight.detach().numpy()
            np.testing.assert_array_equal(pruned[str(n)]["kernel"], expected)
