"""VGG: names of its intermediates."""

import jax
import numpy as np
import pytest
from helpers.small_models import convolve, dense, draw, draw_variables, intermediates, pool

from jaxdl import models


@pytest.mark.slow
def test_vgg16_has_the_taps_of_the_papers():
    model, x = models.VGG16(3, width=2, hidden=6), draw(1, 32, 32, 3)
    variables = draw_variables(model, x)
    logits, found = intermediates(model, variables, x)
    np.testing.assert_array_equal(found["pool5"], pool(found["relu5_3"]))
    expected = jax.nn.relu(convolve(variables["params"]["features_28"], found["relu5_2"], "SAME"))
    np.testing.assert_allclose(found["relu5_3"], expected, rtol=1e-4, atol=1e-6)
    expected = dense(variables["params"]["classifier_6"], found["fc7"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)
