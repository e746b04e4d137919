"""ResNet: intermediates and initial weights."""

import jax
import numpy as np
import pytest
from helpers.small_models import dense, draw, draw_variables, intermediates

from jaxdl import models, nn


def test_resnets_features_are_the_means_of_its_last_stage():
    model, x = models.ResNet((1, 1), models.resnet.BasicBlock, 3, width=4), draw(2, 17, 16, 3)
    variables = draw_variables(model, x)
    logits, found = intermediates(model, variables, x)
    assert found["layer1"].shape == (2, 5, 4, 4)
    assert found["layer2"].shape == (2, 3, 2, 8)
    np.testing.assert_array_equal(found["layer2"], found["layer2_0"])
    np.testing.assert_allclose(found["avgpool"], found["layer2"].mean((1, 2)), rtol=1e-5)
    expected = dense(variables["params"]["fc"], found["avgpool"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_resnet_starts_from_kaiming_and_perhaps_from_its_shortcuts():
    model = models.ResNet((1,), models.resnet.Bottleneck, 3, stem="cifar", width=16)
    x = draw(1, 4, 4, 3)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    block = params["layer1_0"]
    for kernel, fan_out in (
        (params["conv1"]["kernel"], 16 * 9),
        (block["conv2"]["kernel"], 16 * 9),
        (block["conv3"]["kernel"], 64),
        (block["downsample_0"]["kernel"], 64),
    ):
        deviation = np.sqrt(2 / fan_out)
        assert kernel.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * kernel.size))
    assert (block["bn3"]["scale"] == 1).all()
    assert (block["bn3"]["bias"] == 0).all()
    zero = model.clone(zero_init_residual=True)
    _, found = jax.jit(
        lambda: (
            variables := zero.init(jax.random.key(0), x),
            nn.features(zero, variables, x, names=["layer1", "layer1_0/downsample_1"]),
        )
    )()
    shortcut = jax.nn.relu(found["layer1_0/downsample_1"])
    np.testing.assert_array_equal(found["layer1"], shortcut)
    assert shortcut.max() > 0
