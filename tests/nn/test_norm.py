"""Normalization: PyTorch's numbers, shards, padding, half precision, wrong input."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_gan import draw
from helpers.oracle import compare, read_cases
from helpers.small_gans import axes, drawn

from jaxdl import nn

X = np.random.default_rng(0).normal(2.0, 3.0, (8, 3, 2)).astype(np.float32)
NORM = nn.BatchNorm()
VARIABLES = NORM.init(jax.random.key(0), X)


def train(norm, x, **options):
    return norm.apply(VARIABLES, x, train=True, mutable=["batch_stats"], **options)


@pytest.mark.slow
def test_statistics_of_shards_are_those_of_the_whole_batch():
    whole, new = train(NORM, X)
    sharded = nn.BatchNorm(axis_name="shards")
    parts, news = jax.vmap(lambda x: train(sharded, x), axis_name="shards")(X.reshape(2, 4, 3, 2))
    np.testing.assert_allclose(parts.reshape(8, 3, 2), whole, rtol=1e-5, atol=1e-6)
    for leaf in ("mean", "var"):
        np.testing.assert_allclose(
            news["batch_stats"][leaf][0], new["batch_stats"][leaf], rtol=1e-5
        )
    alone, _ = train(NORM, X[:4])
    assert np.abs(np.asarray(alone) - np.asarray(whole)[:4]).max() > 0.01


def test_padding_is_not_counted_whatever_it_holds():
    padded = np.concatenate([X, np.full((3, 3, 2), np.inf, np.float32)])
    mask = np.array([1.0] * 8 + [0.0] * 3, np.float32)
    whole, new = train(NORM, X)
    masked, masked_new = train(NORM, padded, mask=mask)
    np.testing.assert_allclose(masked[:8], whole, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), masked_new, new)


def test_one_value_a_channel_gives_the_bias_and_leaves_the_statistics():
    outputs, new = train(NORM, X[:1, 0])
    assert outputs.tolist() == [[0.0, 0.0]]
    assert new["batch_stats"]["mean"].tolist() == [0.0, 0.0]
    assert new["batch_stats"]["var"].tolist() == [1.0, 1.0]


def test_statistics_of_half_precision_are_float32():
    outputs, new = train(NORM, X.astype(jnp.bfloat16))
    assert outputs.dtype == jnp.bfloat16
    assert new["batch_stats"]["var"].dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(outputs, np.float32), train(NORM, X)[0], atol=0.03)


def test_integers_are_normalized_in_float32():
    pixels = np.arange(48, dtype=np.uint8).reshape(8, 3, 2)
    outputs, _ = train(NORM, pixels)
    assert outputs.dtype == jnp.float32
    np.testing.assert_array_equal(outputs, train(NORM, pixels.astype(np.float32))[0])


@pytest.mark.slow
def test_batch_norm_three_steps_and_an_evaluation():
    arrays = read_cases("layers")["batch_norm"]
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": jnp.ones(1)}, r"mask must have shape \(8\), got \(1,\)"),
        ({"mask": jnp.ones((1, 8))}, r"mask must have shape \(8\), got \(1, 8\)"),
    ],
)
def test_masks_of_another_shape_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        train(NORM, X, **options)


# Spectral normalization

CASES = read_cases("gan")

LAYERS = {
    "dense": (nn.Dense(3), (4, 5)),
    "conv": (nn.Conv(4, (3, 3)), (2, 6, 5, 2)),
    "transposed": (nn.ConvTranspose(3, (4, 4), stride=2, padding=1), (2, 4, 3, 2)),
    "embed": (nn.Embed(6, 3), None),
    "twice": (nn.Dense(3), (4, 5)),
}


@pytest.mark.slow
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

    @jax.jit
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
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 6)))
    kernel = jnp.diag(jnp.array([5.0, 2.0, 1.0, 0.5, 0.0, 0.0]))[:, :4]
    variables["params"]["layer"]["kernel"] = kernel

    @jax.jit
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
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8)))
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
    variables = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 4)))
    u, v = (np.asarray(variables["spectral_norm"][f"kernel_{name}"]) for name in "uv")
    kernel = np.asarray(variables["params"]["layer"]["kernel"])

    def total(params):
        return model.apply({**variables, "params": params}, jnp.eye(4), train=False).sum()

    gradient = jax.jit(jax.grad(total))(variables["params"])["layer"]["kernel"]
    sigma = u @ kernel.T @ v
    expected = 1 / sigma - kernel.sum() * np.outer(v, u) / sigma**2
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="num_iterations must be at least 1, got 0"):
        nn.SpectralNorm(nn.Dense(3), num_iterations=0).init(jax.random.key(0), jnp.zeros((1, 2)))
    with pytest.raises(ValueError, match="got 'kernel_first' of shape"):
        nn.SpectralNorm(Odd()).init(jax.random.key(0), jnp.zeros((1, 2)))


class Odd(linen.Module):
    """A layer whose parameter has an unusual name."""

    @linen.compact
    def __call__(self, x):
        return x @ self.param("kernel_first", linen.initializers.ones, (2, 3))
