"""Exported programs."""

import jax
import jax.numpy as jnp

from jaxdl.nn import convolution
from jaxdl.nn.conv_ops import prefer_implementation


def test_a_portable_program_has_xlas_convolution():
    images, kernel = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2))

    def primitives():
        jaxpr = jax.make_jaxpr(lambda x: convolution(x, kernel))(images)
        return str(jaxpr).count("conv_general_dilated")

    assert primitives() == 0
    with prefer_implementation("lax"):
        assert primitives() > 0
    assert primitives() == 0
