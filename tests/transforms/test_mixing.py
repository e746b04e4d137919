"""Tests of ``jaxdl.transforms.mixing``."""

import jax
import jax.numpy as jnp
import pytest

from jaxdl import transforms


@pytest.mark.parametrize("make", [transforms.mixup, transforms.cutmix])
def test_mixing_refuses_what_it_cannot_mix(make):
    with pytest.raises(ValueError, match="alpha must be greater than 0, got 0"):
        make(0.0)
    with pytest.raises(ValueError, match="floating-point batch"):
        make(1.0)(jax.random.key(0), jnp.zeros((2, 4, 4, 1), jnp.uint8))
