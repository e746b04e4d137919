"""Norms within an example against live PyTorch, over random options: outputs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxdl import nn

NUM_DRAWS = 20
TOLERANCE = 1e-5  # of the largest value; 1e-4 where the mean is 100 deviations: float32 of x itself


def layer_norm(rng, shape):
    axes = int(rng.integers(1, len(shape)))
    scale, bias = bool(rng.integers(2)), bool(rng.integers(2))
    bias = bias and scale  # PyTorch has no bias alone
    eps = float(rng.choice([1e-5, 0.1]))
    return (
        nn.LayerNorm(axes, eps=eps, use_scale=scale, use_bias=bias),
        torch.nn.LayerNorm(shape[-axes:], eps, scale, bias),
        False,
    )


def rms_norm(rng, shape):
    axes, scale = int(rng.integers(1, len(shape))), bool(rng.integers(2))
    eps = rng.choice([None, 0.1])
    return (
        nn.RMSNorm(axes, eps=eps, use_scale=scale),
        torch.nn.RMSNorm(shape[-axes:], eps, scale),
        False,
    )


def group_norm(rng, shape):
    groups, affine = int(rng.choice([1, 2, 3, 6])), bool(rng.integers(2))
    eps = float(rng.choice([1e-5, 0.1]))
    return (
        nn.GroupNorm(groups, eps=eps, use_scale=affine, use_bias=affine),
        torch.nn.GroupNorm(groups, 6, eps, affine),
        True,
    )


def instance_norm(rng, shape):
    affine, eps = bool(rng.integers(2)), float(rng.choice([1e-5, 0.1]))
    kind = getattr(torch.nn, f"InstanceNorm{len(shape) - 2}d")
    return (
        nn.InstanceNorm(eps=eps, use_scale=affine, use_bias=affine),
        kind(6, eps=eps, affine=affine),
        True,
    )


@pytest.mark.parametrize("case", [layer_norm, rms_norm, group_norm, instance_norm])
def test_outputs_and_gradients(case):
    rng = np.random.default_rng(5)
    for draw in range(NUM_DRAWS):
        shape = (3, *(int(n) for n in rng.integers(2, 6, rng.integers(1, 4))), 6)
        offset = float(rng.choice([0.0, 100.0]))
        x = (offset + rng.normal(size=shape)).astype(np.float32)
        weights = rng.normal(size=shape).astype(np.float32)
        ours, theirs, channels_first = case(rng, shape)
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.copy_(torch.from_numpy(rng.normal(size=parameter.shape)))
        values = dict(theirs.named_parameters())
        names = {"scale": "weight", "bias": "bias"}
        params = {
            mine: jnp.asarray(values[name].detach().numpy())
            for mine, name in names.items()
            if values.get(name) is not None
        }

        def loss(params, x, ours=ours, weights=weights):
            y = ours.apply({"params": params}, x)
            return (y * weights).sum(), y

        (_, y), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)
        # in float64: PyTorch's GroupNorm of float32 is up to .09 off for channels last and mean 100
        theirs = theirs.double()
        values = dict(theirs.named_parameters())
        leaf = torch.from_numpy(x).double().requires_grad_()
        turned = leaf.movedim(-1, 1) if channels_first else leaf
        expected = theirs(turned)
        expected = expected.movedim(1, -1) if channels_first else expected
        (expected * torch.from_numpy(weights)).sum().backward()
        pairs = [("y", y, expected.detach()), ("x", gradients[1], leaf.grad)]
        pairs += [(k, gradients[0][k], values[names[k]].grad) for k in params]
        tolerance = 1e-4 if offset else TOLERANCE
        for name, mine, theirs_value in pairs:
            difference = np.abs(np.asarray(mine) - theirs_value.numpy()).max()
            largest = max(float(theirs_value.abs().max()), 1e-3)
            assert difference / largest < tolerance, (draw, name, difference / largest)


def test_local_response_norm():
    rng = np.random.default_rng(6)
    for _ in range(NUM_DRAWS):
        size, alpha, beta, k = int(rng.integers(1, 7)), *rng.uniform(0.1, 2.0, 3)
        x = rng.normal(size=(2, 3, 4, 6)).astype(np.float32)
        y = nn.local_response_norm(x, size, alpha=alpha, beta=beta, k=k)
        turned = torch.from_numpy(x).movedim(-1, 1)
        expected = torch.nn.functional.local_response_norm(turned, size, alpha, beta, k)
        np.testing.assert_allclose(y, expected.movedim(1, -1), rtol=1e-5, atol=1e-6)
