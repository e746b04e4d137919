"""Layers against the fixtures from PyTorch: values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases

from jaxdl import nn

CASES = read_cases("layers")


def values_and_gradients(function, *arguments):
    """``function(*arguments)`` and the gradients of the sum of its squares."""

    @jax.jit
    def both(*arguments):
        outputs, pull = jax.vjp(function, *arguments)
        return outputs, pull(2 * outputs)

    return both(*arguments)


@pytest.mark.parametrize("implementation", ["matmul", "lax"])
@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("conv_transpose")])
def test_transposed_convolution(case, implementation):
    arrays = CASES[case]
    stride, padding, output_padding = {
        "k3s1p0": (1, 0, 0),
        "k4s2p1": (2, 1, 0),
        "k8s2p0": (2, 0, 0),
        "k3s2p1o1": (2, 1, 1),
        "k2s3p0": (3, 0, 0),
        "k5s3p2o2": (3, 2, 2),
    }[case.split()[1]]

    def function(inputs, kernel):
        return nn.transposed_convolution(
            inputs,
            kernel,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            implementation=implementation,
        )

    outputs, gradients = values_and_gradients(function, arrays["inputs"], arrays["kernel"])
    name = f"{case} ({implementation})"
    compare(name, outputs, arrays["outputs"])
    compare(name, gradients, (arrays["inputs_gradient"], arrays["kernel_gradient"]))


SPREAD = {
    "conv d2": {"dilation": 2},
    "conv s2p2d2g2": {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
    "conv p1g4": {"padding": 1, "groups": 4},
    "spread conv_transpose p1d2": {"padding": 1, "dilation": 2},
    "spread conv_transpose s2p1o1g4": {
        "stride": 2,
        "padding": 1,
        "output_padding": 1,
        "groups": 4,
    },
    "spread conv_transpose s2p2o2d3g2": {
        "stride": 2,
        "padding": 2,
        "output_padding": 2,
        "dilation": 3,
        "groups": 2,
    },
}


@pytest.mark.parametrize("case", SPREAD)
def test_dilation_and_groups(case):
    arrays, options = CASES[case], SPREAD[case]
    if "transpose" in case:
        features = 2 * options.get("groups", 1)
        layer = nn.ConvTranspose(features, (3, 2), use_bias=False, **options)
        name = "transposed_kernel"
    else:
        layer, name = nn.Conv(8, (3, 2), use_bias=False, **options), "kernel"
    shapes = jax.eval_shape(layer.init, jax.random.key(0), arrays["inputs"])["params"]
    assert shapes[name].shape == arrays["kernel"].shape

    def function(inputs, kernel):
        return layer.apply({"params": {name: kernel}}, inputs)

    outputs, gradients = values_and_gradients(function, arrays["inputs"], arrays["kernel"])
    compare(case, outputs, arrays["outputs"])
    compare(case, gradients, (arrays["inputs_gradient"], arrays["kernel_gradient"]))


POOLS = {
    "max_pool 3s2p1": lambda x: nn.max_pool(x, 3, stride=2, padding=1),
    "max_pool 2s1": lambda x: nn.max_pool(x, 2, stride=1),
    "avg_pool 2": nn.avg_pool,
    "adaptive_avg_pool 7x5to3x2": lambda x: nn.adaptive_avg_pool(x, (3, 2)),
    "adaptive_avg_pool 7x5to1x1": lambda x: nn.adaptive_avg_pool(x, 1),
    "adaptive_avg_pool 7x5to4x5": lambda x: nn.adaptive_avg_pool(x, (4, 5)),
    "adaptive_max_pool 7x5to3x2": lambda x: nn.adaptive_max_pool(x, (3, 2)),
    "adaptive_max_pool 7x5to1x1": lambda x: nn.adaptive_max_pool(x, 1),
    "adaptive_max_pool 7x5to4x5": lambda x: nn.adaptive_max_pool(x, (4, 5)),
}


@pytest.mark.parametrize("case", POOLS)
def test_pooling(case):
    arrays = CASES[case]
    outputs, (gradient,) = values_and_gradients(POOLS[case], arrays["inputs"])
    compare(case, outputs, arrays["outputs"])
    if "adaptive_max" in case:  # where pixels share the maximum JAX divides the gradient
        compare(case, gradient.sum((1, 2)), arrays["inputs_gradient"].sum((1, 2)))
    else:
        compare(case, gradient, arrays["inputs_gradient"])


def test_batch_norm_three_steps_and_an_evaluation():
    arrays = CASES["batch_norm"]
    norm = nn.BatchNorm()
    variables = {
        "params": {"scale": arrays["scale"], "bias": arrays["bias"]},
        "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)},
    }

    @jax.jit
    def step(variables, x):
        def outputs(params, x):
            return norm.apply({**variables, "params": params}, x, train=True, mutable="batch_stats")

        y, pull, new = jax.vjp(outputs, variables["params"], x, has_aux=True)
        return y, pull(3 * y**2), {**variables, **new}

    for index in range(3):
        x = arrays[f"inputs{index}"]
        y, (params_gradient, x_gradient), variables = step(variables, x)
        compare("batch_norm", y, arrays[f"outputs{index}"])
        compare("batch_norm", x_gradient, arrays[f"inputs_gradient{index}"])
        for leaf in ("scale", "bias"):
            compare("batch_norm", params_gradient[leaf], arrays[f"{leaf}_gradient{index}"])
    compare("batch_norm", variables["batch_stats"]["mean"], arrays["mean"])
    compare("batch_norm", variables["batch_stats"]["var"], arrays["var"])
    compare("batch_norm", norm.apply(variables, x), arrays["evaluated"])


def test_adaptive_max_pool_sends_each_gradient_to_a_maximum():
    x = np.random.default_rng(0).permutation(70).reshape(1, 7, 5, 2).astype(np.float32)
    gradient = jax.grad(lambda x: nn.adaptive_max_pool(x, (3, 2)).sum())(x)
    for channel in range(2):
        places = np.flatnonzero(np.asarray(gradient[..., channel]))
        outputs = np.unique(np.asarray(nn.adaptive_max_pool(x, (3, 2)))[..., channel])
        assert sorted(x[..., channel].ravel()[places]) == sorted(outputs)
