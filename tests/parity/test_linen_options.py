"""The options of Linen's layers that the docstring of jaxdl.nn names give PyTorch's numbers."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl import nn

ROWS = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
PAIRS = {
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


@pytest.mark.parametrize("name", PAIRS)
def test_options_give_pytorchs_numbers(name):
    assert f"``{name}``" in nn.__doc__
    ours, layer, x = PAIRS[name]
    outputs = (
        ours.init_with_output(jax.random.key(0), x)[0]
        if isinstance(ours, linen.Module)
        else ours(jnp.asarray(x))
    )
    np.testing.assert_allclose(outputs, layer(torch.from_numpy(x)).detach(), atol=1e-6)


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
