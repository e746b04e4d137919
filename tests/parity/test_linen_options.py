"""The options of Linen's layers that the docstring of jaxdl.nn names give PyTorch's numbers."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl import nn

IMAGES = 1000 + np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
ROWS = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
PAIRS = {
    "LayerNorm(epsilon=1e-5, use_fast_variance=False)": (
        linen.LayerNorm(epsilon=1e-5, use_fast_variance=False),
        torch.nn.LayerNorm(6),
        IMAGES,
    ),
    "GroupNorm(num_groups, epsilon=1e-5, use_fast_variance=False)": (
        linen.GroupNorm(3, epsilon=1e-5, use_fast_variance=False),
        torch.nn.GroupNorm(3, 6),
        IMAGES,
    ),
    "InstanceNorm(epsilon=1e-5, use_scale=False, use_bias=False, use_fast_variance=False)": (
        linen.InstanceNorm(epsilon=1e-5, use_scale=False, use_bias=False, use_fast_variance=False),
        torch.nn.InstanceNorm2d(6),
        IMAGES,
    ),
    "RMSNorm(epsilon=jnp.finfo(jnp.float32).eps)": (
        linen.RMSNorm(epsilon=jnp.finfo(jnp.float32).eps),
        torch.nn.RMSNorm(8),
        1e-4 * ROWS,
    ),
    "PReLU(negative_slope_init=0.25)": (
        linen.PReLU(negative_slope_init=0.25),
        torch.nn.PReLU(),
        ROWS,
    ),
    "gelu(x, approximate=False)": (
        lambda x: linen.gelu(x, approximate=False),
        torch.nn.GELU(),
        ROWS,
    ),
}


def theirs(layer, x):
    channels_first = x.ndim == 4 and not isinstance(layer, torch.nn.LayerNorm)
    inputs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy() if channels_first else x)
    outputs = layer(inputs).detach().numpy()
    return outputs.transpose(0, 2, 3, 1) if channels_first else outputs


@pytest.mark.parametrize("name", PAIRS)
def test_options_give_pytorchs_numbers(name):
    assert f"``{name}``" in nn.__doc__
    ours, layer, x = PAIRS[name]
    outputs = (
        ours.init_with_output(jax.random.key(0), x)[0]
        if isinstance(ours, linen.Module)
        else ours(jnp.asarray(x))
    )
    expected = theirs(layer, x)
    # at a mean of 1000 float32 leaves three digits behind the point
    np.testing.assert_allclose(outputs, expected, atol=2e-3 if x is IMAGES else 1e-6)


@pytest.mark.parametrize("name", list(PAIRS)[:2])
def test_linens_defaults_do_not(name):
    _, layer, x = PAIRS[name]
    default = linen.LayerNorm() if "Layer" in name else linen.GroupNorm(3)
    outputs = default.init_with_output(jax.random.key(0), x)[0]
    assert np.abs(outputs - theirs(layer, x)).max() > 0.05


def test_the_mask_of_attention_is_the_opposite():
    """PyTorch leaves out the places where a mask is True, Linen keeps them."""
    query = ROWS.reshape(1, 3, 8)
    mask = np.triu(np.ones((3, 3), bool), 1)
    tensor = torch.from_numpy(query)
    expected = torch.nn.functional.multi_head_attention_forward(
        *(tensor.transpose(0, 1),) * 3,
        8,
        2,
        torch.eye(8).repeat(3, 1),
        torch.zeros(24),
        None,
        None,
        False,
        0.0,
        torch.eye(8),
        torch.zeros(8),
        attn_mask=torch.from_numpy(mask),
        need_weights=False,
    )[0].transpose(0, 1)
    heads = query.reshape(1, 3, 2, 4)
    outputs = linen.dot_product_attention(heads, heads, heads, mask=~mask[None, None])
    np.testing.assert_allclose(outputs.reshape(1, 3, 8), expected.numpy(), atol=1e-6)
