"""Layouts of Linen's layers that PyTorch arranges otherwise."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.state_dicts import draw

from jaxdl import nn
from jaxdl.interop import params_from_torch, params_to_torch
from jaxdl.interop._layouts import entries
from jaxdl.nn import recurrent


@pytest.mark.slow
def test_linens_attention_is_stacked_or_apart():
    attention = linen.MultiHeadDotProductAttention(num_heads=2, qkv_features=4)
    target = {"params": {"attn": attention.init(jax.random.key(0), jnp.zeros((1, 5, 6)))["params"]}}
    stacked = {
        "attn.in_proj_weight": (12, 6),
        "attn.in_proj_bias": (12,),
        "attn.out_proj.weight": (6, 4),
        "attn.out_proj.bias": (6,),
    }
    assert {entry.name: entry.shape for entry in entries(target)} == stacked
    arrays = draw(stacked)
    params = params_from_torch(arrays, target)["params"]["attn"]
    # row 4 + 2·1 + 1 of the stack: the key's head 1, feature 1
    weight, bias = arrays["attn.in_proj_weight"], arrays["attn.in_proj_bias"]
    np.testing.assert_array_equal(params["key"]["kernel"][:, 1, 1], weight[7])
    assert params["value"]["bias"][1, 0] == bias[10]
    out = arrays["attn.out_proj.weight"]
    np.testing.assert_array_equal(params["out"]["kernel"][1, 0], out[:, 2])
    back = params_to_torch({"params": {"attn": params}}, arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)

    apart = {
        f"attn.{part}.{leaf}": piece
        for leaf, stack in (("weight", weight), ("bias", bias))
        for part, piece in zip(("query", "key", "value"), np.split(stack, 3), strict=True)
    } | {"attn.out.weight": out, "attn.out.bias": arrays["attn.out_proj.bias"]}
    jax.tree.map(
        np.testing.assert_array_equal, params_from_torch(apart, target)["params"]["attn"], params
    )
    assert params_to_torch({"params": {"attn": params}}, apart).keys() == apart.keys()


def test_one_dimensional_convolutions_called_query_and_key_are_no_attention():
    names = ("query", "key", "value", "out")
    target = {"params": {"attn": {name: {"kernel": jnp.zeros((1, 4, 4))} for name in names}}}
    assert {e.name: e.shape for e in entries(target)}["attn.query.weight"] == (4, 4, 1)


def test_linens_transposed_convolution_is_flipped_and_bilinear_ends_in_its_outputs():
    target = {
        "params": {
            "ConvTranspose_0": {"kernel": jnp.zeros((3, 5, 2, 4))},
            "Bilinear_0": {"kernel": jnp.zeros((3, 3, 5))},
        }
    }
    arrays = draw({"ConvTranspose_0.weight": (2, 4, 3, 5), "Bilinear_0.weight": (5, 3, 3)})
    params = params_from_torch(arrays, target)["params"]
    kernel = params["ConvTranspose_0"]["kernel"]
    assert kernel[0, 1, 1, 3] == arrays["ConvTranspose_0.weight"][1, 3, 2, 3]
    assert params["Bilinear_0"]["kernel"][1, 2, 4] == arrays["Bilinear_0.weight"][4, 1, 2]
    back = params_to_torch({"params": params}, arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_a_dense_layer_behind_a_convolution_has_pytorchs_rows():
    maps = jnp.arange(12.0).reshape(1, 2, 2, 3)
    weight = np.zeros((1, 12), np.float32)
    weight[0, 4 * 2 + 2 * 1 + 0] = 1  # channel 2, row 1, column 0
    target = {"params": {"kernel": jnp.zeros((12, 1))}}
    kernel = params_from_torch({"weight": weight}, target)["params"]["kernel"]
    assert (nn.flatten(maps) @ kernel).item() == maps[0, 1, 0, 2]


@pytest.mark.parametrize("cell", [recurrent.LSTM, recurrent.GRU])
def test_recurrent_layers_have_pytorchs_names(cell):
    layer = cell(4, num_layers=2, bidirectional=True)
    target = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros((1, 2, 3)))
    shapes = {entry.name: entry.shape for entry in entries(target)}
    gates = 16 if cell is recurrent.LSTM else 12
    assert shapes["weight_ih_l0"] == (gates, 3)
    assert shapes["weight_hh_l1_reverse"] == (gates, 4)
    assert shapes["weight_ih_l1"] == (gates, 8)
    assert len(shapes) == 16
