"""LSTM, GRU and RNN: PyTorch's numbers, the equations, lengths, directions, wrong input."""

import cases_recurrent
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl.nn.recurrent import GRU, LSTM, RNN

CASES = read_cases("recurrent")
LENGTHS = jnp.array(cases_recurrent.LENGTHS)
CELLS = [LSTM, GRU, RNN]


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def init(module, x):
    """Weights from NumPy: nothing to compile."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda s: jnp.asarray(generator.normal(0, 0.5, s.shape), s.dtype), shapes)


def apply(module, *arguments, **options):
    return jax.jit(lambda *arguments: module.apply(*arguments, **options))(*arguments)


def unflatten(vector, like):
    """The parameters of a fixture: one vector, in the order of their names."""
    leaves, structure = jax.tree.flatten(like)
    ends = np.cumsum([leaf.size for leaf in leaves])
    assert ends[-1] == len(vector)
    parts = np.split(vector, ends[:-1])
    return structure.unflatten(
        [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)]
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", cases_recurrent.LAYERS)
def test_values_and_gradients_are_pytorchs(case):
    cell, layers, both, with_lengths = cases_recurrent.LAYERS[case]
    arrays = CASES[case]
    module = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}[cell](cases_recurrent.HIDDEN, layers, both)
    x, initial = arrays["inputs"], arrays.get("initial")
    lengths = LENGTHS if with_lengths else None

    def function(params, x, initial):
        states = initial
        if cell == "LSTM" and initial is not None:
            states = tuple(jnp.split(initial, 2))
        outputs, states = module.apply({"params": params}, x, lengths, states)
        return outputs, jnp.concatenate(states) if cell == "LSTM" else states

    @jax.jit
    def all_of_it(params, x, initial):
        results, pull_back = jax.vjp(function, params, x, initial)
        return results, pull_back((2 * results[0], 3 * results[1] ** 2))

    like = jax.eval_shape(module.init, jax.random.key(0), x)["params"]
    params = unflatten(arrays["params"], like)
    (outputs, states), (d_params, d_x, d_initial) = all_of_it(params, x, initial)
    compare(case, outputs, arrays["outputs"])
    compare(case, states, arrays["states"])
    compare(f"{case}, gradients", d_x, arrays["inputs_gradient"])
    compare(f"{case}, gradients", d_params, unflatten(arrays["params_gradient"], like))
    if initial is not None:
        compare(f"{case}, gradients", d_initial, arrays["initial_gradient"])


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("module", CELLS)
def test_the_equations_in_index_notation(module):
    x = draw(2, 4, 3)
    variables = init(module(5), x)
    weights = [
        np.asarray(variables["params"][f"{name}_l0"], np.float64)
        for name in ("kernel_ih", "kernel_hh", "bias_ih", "bias_hh")
    ]
    w, u, b, d = (weight.reshape(*weight.shape[:-1], -1, 5) for weight in weights)  # (..., G, H)
    h, c, outputs = np.zeros((2, 5)), np.zeros((2, 5)), []
    for t in range(4):
        inputs = np.einsum("bf,fgh->gbh", x[:, t], w) + b[:, None]
        hidden = np.einsum("bk,kgh->gbh", h, u) + d[:, None]
        if module is LSTM:
            i, f, g, o = inputs + hidden
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif module is GRU:
            r, z = sigmoid(inputs[:2] + hidden[:2])
            h = (1 - z) * np.tanh(inputs[2] + r * hidden[2]) + z * h
        else:
            h = np.tanh(inputs[0] + hidden[0])
        outputs.append(h)
    ours, states = apply(module(5), variables, x)
    np.testing.assert_allclose(ours, np.stack(outputs, axis=1), atol=1e-6)
    np.testing.assert_allclose(states[0][0] if module is LSTM else states[0], h, atol=1e-6)
    if module is LSTM:
        np.testing.assert_allclose(states[1][0], c, atol=1e-6)


def test_an_lstm_with_biases_alone_by_hand():
    variables = jax.tree.map(jnp.zeros_like, init(LSTM(1), jnp.zeros((1, 2, 1))))
    variables["params"]["bias_ih_l0"] = jnp.array([0.0, 0.0, 0.5, 0.0])
    variables["params"]["bias_hh_l0"] = jnp.array([0.0, 0.0, 0.5, 0.0])
    outputs, (_, c) = apply(LSTM(1), variables, jnp.ones((1, 2, 1)))
    # c1 = tanh(1)/2 = 0.380797, h1 = tanh(c1)/2; c2 = c1/2 + tanh(1)/2 = 0.571196
    np.testing.assert_allclose(outputs[0, :, 0], [0.181700, 0.258118], atol=1e-6)
    np.testing.assert_allclose(c, [[[0.571196]]], atol=1e-6)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (LSTM(64), 24_064),  # 4 · 64 · (28 + 64 + 2): two biases a gate; Linen's cell has 23,808
        (GRU(64), 18_048),
        (RNN(64), 6_016),
        (LSTM(64, num_layers=2, bidirectional=True), 147_456),
    ],
)
def test_parameters_are_as_many_as_pytorchs(module, expected):
    shapes = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 2, 28)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == expected


def test_linens_lstm_has_one_bias_a_gate():
    cell = linen.RNN(linen.OptimizedLSTMCell(64))
    shapes = jax.eval_shape(cell.init, jax.random.key(0), jnp.zeros((1, 2, 28)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 24_064 - 4 * 64


def test_the_two_biases_add_in_an_lstm_and_differ_in_a_gru():
    x = draw(2, 3, 4)

    def swapped(module):
        variables = init(module, x)
        params = dict(variables["params"])
        params["bias_ih_l0"], params["bias_hh_l0"] = params["bias_hh_l0"], params["bias_ih_l0"]
        return apply(module, variables, x)[0] - apply(module, {"params": params}, x)[0]

    np.testing.assert_allclose(swapped(LSTM(5)), 0, atol=1e-6)
    assert np.abs(swapped(GRU(5))).max() > 1e-2


def test_parameters_start_uniform_within_one_over_the_root_of_the_hidden_size():
    params = jax.jit(LSTM(100).init)(jax.random.key(0), jnp.zeros((1, 1, 30)))["params"]
    for leaf in jax.tree.leaves(params):
        assert np.abs(leaf).max() <= 0.1
        assert abs(leaf.mean()) < 5 * 0.1 / np.sqrt(3 * leaf.size)
        np.testing.assert_allclose(leaf.std(), 0.1 / np.sqrt(3), rtol=0.1)
    assert not np.allclose(params["bias_ih_l0"], params["bias_hh_l0"])


@pytest.fixture(params=[LSTM, GRU], ids=["lstm", "gru"])
def module(request):
    return request.param(4, bidirectional=True)


@pytest.mark.slow
def test_lengths_equal_each_sequence_alone(module):
    x = draw(3, 5, 4)
    variables = init(module, x)
    outputs, states = apply(module, variables, x, LENGTHS)
    for row, length in enumerate(cases_recurrent.LENGTHS):
        alone, alone_states = apply(module, variables, x[row : row + 1, :length])
        np.testing.assert_allclose(outputs[row, :length], alone[0], atol=1e-6)
        np.testing.assert_array_equal(outputs[row, length:], 0)
        for ours, theirs in zip(
            jax.tree.leaves(states), jax.tree.leaves(alone_states), strict=True
        ):
            np.testing.assert_allclose(ours[:, row], theirs[:, 0], atol=1e-6)


@pytest.mark.slow
def test_what_stands_in_the_padding_changes_nothing_and_gets_no_gradient(module):
    x = draw(3, 5, 4)
    variables = init(module, x)
    padding = jnp.arange(5)[None, :, None] >= LENGTHS[:, None, None]

    @jax.jit
    def loss_and_gradients(variables, x):
        def total(variables, x):
            outputs, states = module.apply(variables, x, LENGTHS)
            return (outputs**2).sum() + sum((s**3).sum() for s in jax.tree.leaves(states))

        return jax.value_and_grad(total, (0, 1))(variables, x)

    loss, (gradients, d_x) = loss_and_gradients(variables, x)
    again, (same_gradients, _) = loss_and_gradients(variables, jnp.where(padding, 1e6, x))
    assert loss == again
    jax.tree.map(np.testing.assert_array_equal, gradients, same_gradients)
    np.testing.assert_array_equal(jnp.where(padding, d_x, 0), 0)
    assert (jnp.abs(d_x).max(axis=2) > 0).sum() == LENGTHS.sum()


def test_a_length_of_zero_keeps_the_initial_state_and_one_past_the_end_is_the_end():
    x, initial = draw(2, 3, 4), draw(1, 2, 5, seed=1)
    variables = init(GRU(5), x)
    outputs, state = apply(GRU(5), variables, x, jnp.array([0, 9]), initial)
    full, full_state = apply(GRU(5), variables, x, None, initial)
    np.testing.assert_array_equal(outputs[0], 0)
    np.testing.assert_array_equal(state[:, 0], initial[:, 0])
    np.testing.assert_allclose(outputs[1], full[1], atol=1e-6)
    np.testing.assert_allclose(state[:, 1], full_state[:, 1], atol=1e-6)


def test_the_backward_direction_is_the_forward_one_of_the_reversed_sequence():
    x = draw(2, 4, 3)
    variables = init(LSTM(5, bidirectional=True), x)
    outputs, (h, _) = apply(LSTM(5, bidirectional=True), variables, x)
    params = {
        name.removesuffix("_reverse"): value
        for name, value in variables["params"].items()
        if name.endswith("_reverse")
    }
    reversed_, (last, _) = apply(LSTM(5), {"params": params}, x[:, ::-1])
    np.testing.assert_allclose(outputs[:, :, 5:], reversed_[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(h[1], last[0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("module", CELLS)
def test_gradients_numerically_twice_over(module):
    x, lengths = draw(2, 3, 2), jnp.array([3, 2])
    variables = init(module(2), x)

    @jax.jit
    def outputs(variables, x):
        return module(2).apply(variables, x, lengths)

    # reverse over reverse: the gradient of a gradient's square
    gradient = jax.jit(jax.grad(lambda x: (outputs(variables, x)[0] ** 2).sum()))
    check_grads(outputs, (variables, x), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)
    check_grads(gradient, (x,), order=1, modes=["rev"], atol=2e-2, rtol=2e-2)


def test_forward_mode_is_refused_by_jax():
    x = draw(1, 2, 3)
    variables = init(RNN(2), x)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: RNN(2).apply(variables, x)[0], (x,), (x,))


def test_dropout_is_between_layers_only():
    x = draw(2, 3, 4)

    def outputs(layers):
        module = GRU(50, num_layers=layers, dropout_rate=0.5)
        variables = init(module, x)

        @jax.jit
        def train(seed):
            return module.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})[0]

        return train(0), train(0), train(1), apply(module, variables, x)[0]

    first, again, other, evaluated = outputs(2)
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.9
    assert (first != evaluated).mean() > 0.9
    assert (first != 0).all()  # the last layer's outputs are not dropped
    first, _, other, evaluated = outputs(1)
    np.testing.assert_array_equal(first, other)
    np.testing.assert_allclose(first, evaluated, atol=1e-6)


def test_vmap_over_weights_equals_one_after_the_other():
    x = draw(2, 3, 4)
    members = [jax.tree.map(lambda leaf, s=s: s * leaf, init(LSTM(5), x)) for s in (1, 2, -1)]

    @jax.jit
    def gradient(variables):
        return jax.grad(lambda v: (LSTM(5).apply(v, x)[0] ** 2).sum())(variables)

    together = jax.vmap(gradient)(jax.tree.map(lambda *leaves: jnp.stack(leaves), *members))
    apart = jax.tree.map(lambda *leaves: np.stack(leaves), *map(gradient, members))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), together, apart)


@pytest.mark.parametrize("module", CELLS)
def test_bfloat16_computes_in_bfloat16_on_float32_parameters(module):
    x = draw(2, 6, 4)
    variables = init(module(5), x)
    exact, _ = apply(module(5), variables, x)
    outputs, states = apply(module(5, dtype=jnp.bfloat16), variables, x, jnp.array([6, 6]))
    dtypes = {leaf.dtype for leaf in jax.tree.leaves((outputs, states))}
    assert dtypes == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(np.asarray(outputs, np.float32), exact, atol=0.03)


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (LSTM(2), {"inputs": jnp.zeros((2, 3))}, r"inputs must have shape \(B, T, F\), got \(2, 3"),
        (LSTM(2), {"inputs": jnp.zeros((2, 0, 3))}, "time_steps must be at least 1"),
        (GRU(2), {"lengths": jnp.array([3])}, r"lengths must have shape \(2\), got \(1,\)"),
        (GRU(2), {"lengths": jnp.array([3.0, 1.0])}, "lengths must be integers .* got dtype float"),
        (
            GRU(2, bidirectional=True),
            {"initial_state": jnp.zeros((1, 2, 2))},
            r"initial_state must have shape \(2, 2, 2\), got \(1, 2, 2\)",
        ),
        (LSTM(2), {"initial_state": jnp.zeros((2, 1, 2, 2))}, r"must be the pair \(h, c\)"),
        (LSTM(0), {}, "hidden_size must be at least 1, got 0"),
        (RNN(2, num_layers=0), {}, "num_layers must be at least 1, got 0"),
        (RNN(2, dropout_rate=1.5), {}, "dropout_rate must lie in 0 to 1, got 1.5"),
    ],
)
def test_wrong_input_is_refused(module, arguments, message):
    arguments = {"inputs": jnp.zeros((2, 3, 4)), **arguments}
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: module.init(jax.random.key(0), **arguments))
