"""Spectral normalisation against PyTorch's, and against the singular values themselves."""

import functools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_gan import draw
from helpers.oracle import compare, read_cases
from helpers.small_gans import axes, drawn

from jaxdl import nn
from jaxdl.nn.embedding import Embed

CASES = read_cases("gan")
# without LLVM's optimisations, which take longer than what they speed up in small tests
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
LAYERS = {
    "dense": (nn.Dense(3), (4, 5)),
    "conv": (nn.Conv(4, (3, 3)), (2, 6, 5, 2)),
    "transposed": (nn.ConvTranspose(3, (4, 4), stride=2, padding=1), (2, 4, 3, 2)),
    "embed": (Embed(6, 3), None),
    "twice": (nn.Dense(3), (4, 5)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_three_passes_equal_pytorchs(case):
    layer, shape = LAYERS[case]
    model = nn.SpectralNorm(layer, num_iterations=2 if case == "twice" else 1)
    arrays = CASES[f"spectral {case}"]

    def inputs(index):
        return jnp.array([1, 4, 1]) if shape is None else draw(f"spectral/{case}/x{index}", shape)

    like = jax.eval_shape(model.init, jax.random.key(0), inputs(0))
    params = {"layer": drawn(like["params"]["layer"], f"spectral/{case}")}
    name = next(name for name in params["layer"] if name != "bias")
    state = {f"{name}_u": arrays["u"], f"{name}_v": order(name, arrays["v"], like, back=True)}

    @quick_jit
    def play(params, state, x):
        def objective(params):
            variables = {"params": params, "spectral_norm": state}
            outputs, new = model.apply(variables, x, train=True, mutable="spectral_norm")
            return (outputs**3).sum(), (outputs, new["spectral_norm"])

        gradients, (outputs, new) = jax.grad(objective, has_aux=True)(params)
        evaluated = model.apply({"params": params, "spectral_norm": new}, x, train=False)
        return outputs, new, gradients["layer"][name], evaluated

    for index in range(3):
        outputs, state, gradient, evaluated = play(params, state, inputs(index))
        compare(f"spectral {case}", outputs, arrays[f"outputs{index}"])
        compare(f"spectral {case}", state[f"{name}_u"], arrays[f"u{index}"])
        v = order(name, state[f"{name}_v"], like)
        compare(f"spectral {case}", v, arrays[f"v{index}"])
        gradient = np.asarray(gradient).transpose(axes(name, gradient.ndim))
        compare(f"spectral {case}, gradient", gradient, arrays[f"gradient{index}"])
    if "evaluated" in arrays:
        compare(f"spectral {case}", evaluated, arrays["evaluated"])


def order(name, v, like, *, back=False):
    """v, whose entries are those of (h, w, C) here and of (C, h, w) in PyTorch."""
    shape = like["params"]["layer"][name].shape[:-1]
    if len(shape) == 1:
        return v
    if back:
        return v.reshape(shape[-1], *shape[:-1]).transpose(1, 2, 0).ravel()
    return np.asarray(v).reshape(shape).transpose(2, 0, 1).ravel()


def test_the_largest_singular_value_becomes_one():
    model = nn.SpectralNorm(nn.Dense(4, use_bias=False))
    variables = quick_jit(model.init)(jax.random.key(0), jnp.zeros((1, 6)))
    kernel = jnp.diag(jnp.array([5.0, 2.0, 1.0, 0.5, 0.0, 0.0]))[:, :4]
    variables["params"]["layer"]["kernel"] = kernel

    @quick_jit
    def step(state):
        variables = {"params": {"layer": {"kernel": kernel}}, "spectral_norm": state}
        outputs, new = model.apply(variables, jnp.eye(6), train=True, mutable="spectral_norm")
        return outputs, new["spectral_norm"]

    state = variables["spectral_norm"]
    for _ in range(20):
        outputs, state = step(state)
    np.testing.assert_allclose(outputs, kernel / 5.0, atol=1e-6)
    evaluated, again = (
        model.apply({**variables, "spectral_norm": state}, jnp.eye(6), train=False)
        for _ in range(2)
    )
    np.testing.assert_allclose(evaluated, outputs, atol=1e-6)
    np.testing.assert_array_equal(evaluated, again)


def test_the_start_is_near_the_solution_and_the_bias_is_left_alone():
    model = nn.SpectralNorm(nn.Dense(8))
    variables = quick_jit(model.init)(jax.random.key(0), jnp.zeros((1, 8)))
    kernel, bias = (variables["params"]["layer"][name] for name in ("kernel", "bias"))
    u, v = (variables["spectral_norm"][f"kernel_{name}"] for name in "uv")
    np.testing.assert_allclose([jnp.linalg.norm(u), jnp.linalg.norm(v)], 1.0, rtol=1e-5)
    largest = np.linalg.svd(np.asarray(kernel), compute_uv=False)[0]
    np.testing.assert_allclose(u @ kernel.T @ v, largest, rtol=0.02)
    outputs = model.apply(variables, jnp.zeros((1, 8)), train=False)
    np.testing.assert_array_equal(outputs[0], bias)


def test_the_gradient_takes_the_vectors_for_constants():
    """σ = uᵀWv, so dσ/dW = uvᵀ: the gradient of Σ W/σ is 1/σ - ΣW uvᵀ/σ² at every entry."""
    model = nn.SpectralNorm(nn.Dense(3, use_bias=False))
    variables = quick_jit(model.init)(jax.random.key(1), jnp.zeros((1, 4)))
    u, v = (np.asarray(variables["spectral_norm"][f"kernel_{name}"]) for name in "uv")
    kernel = np.asarray(variables["params"]["layer"]["kernel"])

    def total(params):
        return model.apply({**variables, "params": params}, jnp.eye(4), train=False).sum()

    gradient = quick_jit(jax.grad(total))(variables["params"])["layer"]["kernel"]
    sigma = u @ kernel.T @ v
    expected = 1 / sigma - kernel.sum() * np.outer(v, u) / sigma**2
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="num_iterations must be greater than 0, got 0"):
        nn.SpectralNorm(nn.Dense(3), num_iterations=0).init(jax.random.key(0), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="got 'kernel_first' of shape"):
        nn.SpectralNorm(Odd()).init(jax.random.key(0), jnp.zeros((1, 2)))


class Odd(linen.Module):
    """A layer whose parameter has a name of its own."""

    @linen.compact
    def __call__(self, x):
        return x @ self.param("kernel_first", linen.initializers.ones, (2, 3))
