"""LeNet: the sizes of its maps."""

import jax
import jax.numpy as jnp

from jaxdl import models, nn


def test_lenets_maps_have_the_sizes_of_1998():
    for model, size in ((models.LeNet5(), 28), (models.LeNetMaxPool(), 32)):
        x = jnp.zeros((1, size, size, 1))
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        found = jax.eval_shape(lambda v, m=model, x=x: nn.features(m, v, x), variables)
        assert found["relu1"].shape == (1, 28, 28, 6)
        assert found["relu2"].shape == (1, 10, 10, 16)
        assert variables["params"]["fc1"]["kernel"].shape == (400, 120)
