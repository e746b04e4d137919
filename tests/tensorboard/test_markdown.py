"""Text and tables."""

import re

import jax
import numpy as np
import pytest
from helpers.event_files import tensor

from jaxdl import tensorboard
from jaxdl.models.convnet import ConvNet
from jaxdl.tensorboard.markdown import write_parameter_table


def test_a_text_comes_back_with_its_tag(tmp_path):
    text = "# Title\n\n*naïve* | café ≤ 3\n"
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_text(writer, "samples/generated", text, 4)
    step, array, plugin = tensor(tmp_path, "samples/generated")
    assert (step, plugin.plugin_name) == (4, "text")
    assert array.item().decode() == text


def test_a_short_row_is_named(tmp_path):
    with (
        tensorboard.open_writer(tmp_path) as writer,
        pytest.raises(ValueError, match=r"row 1 must have 2 entries, one for each of \['a', 'b'\]"),
    ):
        tensorboard.write_table(writer, "table", ["a", "b"], [[1, 2], [3]], 0)


def test_the_parameters_of_the_convnet(tmp_path):
    key = jax.random.key(0)
    params = jax.eval_shape(ConvNet().init, key, np.zeros((1, 28, 28, 1), np.float32))["params"]
    with tensorboard.open_writer(tmp_path) as writer:
        write_parameter_table(writer, "parameters", params)
    _, array, _ = tensor(tmp_path, "parameters")
    lines = array.item().decode().splitlines()
    assert [re.sub(" +", " ", re.sub("-+", "---", line)) for line in lines] == [
        "| name | shape | dtype | count | bytes |",
        "| --- | --- | --- | ---: | ---: |",
        "| Conv_0/bias | 16 | float32 | 16 | 64 |",
        "| Conv_0/kernel | 3 × 3 × 1 × 16 | float32 | 144 | 576 |",
        "| Conv_1/bias | 32 | float32 | 32 | 128 |",
        "| Conv_1/kernel | 3 × 3 × 16 × 32 | float32 | 4,608 | 18,432 |",
        "| Dense_0/bias | 32 | float32 | 32 | 128 |",
        "| Dense_0/kernel | 800 × 32 | float32 | 25,600 | 102,400 |",
        "| Dense_1/bias | 10 | float32 | 10 | 40 |",
        "| Dense_1/kernel | 32 × 10 | float32 | 320 | 1,280 |",
        "| **8 tensors** | | | 30,762 | 123,048 |",
    ]
