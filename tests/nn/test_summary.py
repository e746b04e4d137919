"""Shapes of the intermediates of a model."""

import re

import flax.linen as linen
import jax
import pytest

from jaxdl import models, nn


def test_shapes_of_every_intermediate_without_computing_anything():
    x = jax.ShapeDtypeStruct((64, 28, 28, 1), "float32")
    lines = nn.shapes(models.ConvNet(), x, train=False).splitlines()
    table = {name: row for name, *row in (re.split("  +", line) for line in lines)}
    assert table["Conv_0"] == ["PooledConv", "float32[64, 26, 26, 16]", "160"]
    assert table["Conv_1"] == ["PooledConv", "float32[64, 11, 11, 32]", "4,640"]
    assert table["Dense_0"] == ["Dense", "float32[64, 32]", "25,632"]
    assert table["Dense_1"] == ["Dense", "float32[64, 10]", "330"]
    assert table["feat2"] == ["(sown)", "float32[64, 11, 11, 32]"]
    huge = jax.ShapeDtypeStruct((10**6, 10**4, 10**4, 3), "bfloat16")  # 6 * 10^14 bytes
    assert "[1000000, 9998, 9998, 8]" in nn.shapes(linen.Conv(8, (3, 3), padding="VALID"), huge)


def test_shapes_of_a_recurrent_net_and_of_a_wrong_input():
    rows = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    assert "float32[2, 28, 64], float32[1, 2, 64], float32[1, 2, 64]" in nn.shapes(
        models.RecurrentClassifier(10), rows
    )
    with pytest.raises(ValueError, match="a 3x3 kernel does not fit into 1x1 pixels"):
        nn.shapes(models.ConvNet(), jax.ShapeDtypeStruct((1, 4, 4, 1), "float32"))
