"""The vision transformer; :mod:`tests.models.test_models` tests it with all other families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import models


@pytest.mark.slow
def test_vit_starts_as_torchvisions():
    x = jnp.zeros((1, 8, 8, 3))
    model = models.VisionTransformer(4, 4, 16, 1, 2, 32)
    vit = jax.jit(model.init)(jax.random.key(0), x)["params"]
    deviation = np.sqrt(1 / 48)
    assert vit["conv_proj"]["kernel"].std() == pytest.approx(deviation, rel=0.15)
    assert vit["encoder"]["pos_embedding"].std() == pytest.approx(0.02, rel=0.5)
    attention = vit["encoder"]["layers_encoder_layer_0"]["self_attention"]
    assert abs(attention["in_proj"]["kernel"]).max() == pytest.approx(np.sqrt(6 / 64), rel=0.02)
    assert (attention["in_proj"]["bias"] == 0).all()
    assert (vit["class_token"] == 0).all()
    assert (vit["heads_head"]["kernel"] == 0).all()
