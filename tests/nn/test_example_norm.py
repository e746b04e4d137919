"""Norms within an example: large means, half precision, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import nn

NORMS = {
    "layer": nn.LayerNorm(),
    "layer of three axes": nn.LayerNorm(3),
    "group": nn.GroupNorm(2),
    "instance": nn.InstanceNorm(use_scale=True, use_bias=True),
}
AXES = {
    "layer": (-1,),
    "layer of three axes": (1, 2, 3),
    "instance": (1, 2),
}


def apply(norm, x):
    return norm.init_with_output(jax.random.key(0), x)[0]


@pytest.mark.parametrize("name", AXES)
def test_a_large_mean_leaves_the_variance(name):
    x = 1000 + np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)
    wide = x.astype(np.float64)
    mean, var = (f(wide, axis=AXES[name], keepdims=True) for f in (np.mean, np.var))
    # float32 keeps 1000 to 6e-5
    np.testing.assert_allclose(
        apply(NORMS[name], x), (wide - mean) / np.sqrt(var + 1e-5), atol=5e-4
    )


def test_groups_are_of_neighboring_channels():
    x = jnp.array([[[0.0, 2.0, 10.0, 30.0], [2.0, 0.0, 30.0, 10.0]]])
    y = apply(nn.GroupNorm(2, eps=0.0), x)
    np.testing.assert_allclose(y, [[[-1, 1, -1, 1], [1, -1, 1, -1]]], atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_half_precision_is_computed_in_float32(name):
    x = (np.random.default_rng(1).normal(size=(2, 3, 4, 6)) * 1000).astype(jnp.float16)
    y = apply(NORMS[name], x)  # squares are beyond float16
    assert y.dtype == jnp.float16
    np.testing.assert_allclose(
        y.astype(np.float32), apply(NORMS[name], x.astype(np.float32)), atol=2e-3
    )


def test_rms_norm_takes_the_epsilon_of_the_dtype():
    tiny = jnp.full((1, 4), 1e-3, jnp.bfloat16)
    eps = float(jnp.finfo(jnp.bfloat16).eps)
    expected = 1e-3 / np.sqrt(1e-6 + eps)
    np.testing.assert_allclose(apply(nn.RMSNorm(), tiny).astype(float), expected, rtol=1e-2)
    assert apply(nn.RMSNorm(), tiny.astype(jnp.float32)).max() > 0.9


def test_parameters_have_the_names_of_linen():
    shapes = jax.tree.map(
        jnp.shape, NORMS["layer of three axes"].init(jax.random.key(0), jnp.ones((2, 3, 4, 6)))
    )
    assert shapes == {"params": {"scale": (3, 4, 6), "bias": (3, 4, 6)}}
    assert nn.InstanceNorm().init(jax.random.key(0), jnp.ones((2, 3, 6))) == {}


@pytest.mark.parametrize(
    ("norm", "shape", "message"),
    [
        (nn.LayerNorm(3), (2, 4), "num_axes=3 axes or more"),
        (nn.LayerNorm(eps=-1.0), (2, 4), "eps"),
        (nn.RMSNorm(3), (2, 4), "num_axes=3 axes or more"),
        (nn.GroupNorm(4), (2, 3, 6), "divisible by num_groups=4"),
        (nn.InstanceNorm(), (2, 6), "two positions"),
        (nn.InstanceNorm(), (2, 1, 1, 6), "two positions"),
    ],
)
def test_what_cannot_be_normalized_is_refused(norm, shape, message):
    with pytest.raises(ValueError, match=message):
        apply(norm, jnp.ones(shape))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_local_response_norm_has_zeros_outside(size):
    x = jnp.ones((1, 4))
    y = nn.local_response_norm(x, size, alpha=float(size), beta=1.0)
    # neighbors below: half of size rounded down; above: half of size - 1
    counts = [
        sum(0 <= c + offset < 4 for offset in range(-(size // 2), (size - 1) // 2 + 1))
        for c in range(4)
    ]
    np.testing.assert_allclose(y[0], 1 / (1 + np.array(counts)), rtol=1e-6)
