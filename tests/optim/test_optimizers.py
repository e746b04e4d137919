"""Optimizers against the fixtures from PyTorch, loops from its documentation, numbers by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.optimizers import CASES, GRADIENTS, START, path_of
from helpers.oracle import compare

from jaxdl import optim

RNG = np.random.default_rng(0)
W = RNG.normal(size=5)
G = RNG.normal(size=(10, 5))


OPTIMIZERS = {
    "sgd": optim.sgd(0.1),
    "sgd momentum decay": optim.sgd(0.1, momentum=0.9, weight_decay=1e-2),
    "sgd nesterov": optim.sgd(0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": optim.adam(1e-2),
    "adam decay": optim.adam(1e-2, weight_decay=1e-2),
    "adamw": optim.adamw(1e-2, weight_decay=0.1),
    "rmsprop": optim.rmsprop(1e-2),
    "rmsprop centered momentum": optim.rmsprop(
        1e-2, momentum=0.9, centered=True, weight_decay=1e-2
    ),
    "adagrad": optim.adagrad(0.1, weight_decay=1e-2),
    "adadelta": optim.adadelta(1.0, weight_decay=1e-2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_on_given_gradients(name):
    compare(f"optimizer {name}", path_of(OPTIMIZERS[name]), CASES[name]["path"], 2e-6)


@pytest.mark.parametrize("name", ["muon", "muon transposed"])
def test_muon(name):
    """Kernels are (in, out), PyTorch's weights (out, in); a bias follows Adam."""

    def turned(array):
        return np.swapaxes(array, -1, -2)

    weight, gradients = START, GRADIENTS
    if name == "muon transposed":
        weight, gradients = turned(weight), turned(gradients)
    path = path_of(
        optim.muon(0.02, weight_decay=0.1),
        {"kernel": turned(weight), "bias": START[0]},
        {"kernel": turned(gradients), "bias": GRADIENTS[:, 1]},
    )
    compare(f"optimizer {name}", turned(path["kernel"]), CASES[name]["path"], 5e-6)
    bias = path_of(optim.adam(0.02), START[0], GRADIENTS[:, 1])
    np.testing.assert_allclose(path["bias"], bias, rtol=1e-6)


def follow(tx, weights=W, gradients=G):
    """The weights after each gradient, in float32."""
    params = jnp.asarray(weights, jnp.float32)
    state, path = tx.init(params), []
    update = jax.jit(tx.update)
    for gradient in gradients:
        updates, state = update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return np.array(path)


def sgd_by_formula(rate, momentum, nesterov, decay):
    w, buffer, path = W.copy(), np.zeros(5), []
    for gradient in G:
        g = gradient + decay * w
        buffer = momentum * buffer + g
        w = w - rate * (g + momentum * buffer if nesterov else buffer)
        path.append(w)
    return np.array(path)


def adam_by_formula(rate, coupled=0.0, decoupled=0.0, b1=0.9, b2=0.999, eps=1e-8):
    w, m, v, path = W.copy(), np.zeros(5), np.zeros(5), []
    for t, gradient in enumerate(G, start=1):
        w = w * (1 - rate * decoupled)
        g = gradient + coupled * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(w)
    return np.array(path)


def test_three_steps_of_lamb_and_lion_by_formula():
    rate, decay, b1, b2 = 0.1, 0.05, 0.8, 0.9
    w, m, v, lamb = W.copy(), np.zeros(5), np.zeros(5), []
    for t, g in enumerate(G[:3], start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        update = (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + 1e-6) + decay * w
        w = w - rate * np.linalg.norm(w) / np.linalg.norm(update) * update
        lamb.append(w)
    w, m, lion = W.copy(), np.zeros(5), []
    for g in G[:3]:
        w = w - rate * (np.sign(b1 * m + (1 - b1) * g) + decay * w)
        m = b2 * m + (1 - b2) * g
        lion.append(w)
    options = {"b1": b1, "b2": b2, "weight_decay": decay}
    path = follow(optim.lamb(rate, **options), gradients=G[:3])
    np.testing.assert_allclose(path, lamb, rtol=1e-5)
    path = follow(optim.lion(rate, **options), gradients=G[:3])
    np.testing.assert_allclose(path, lion, rtol=1e-5)


def test_nesterov_needs_a_momentum():
    with pytest.raises(ValueError, match=r"nesterov takes a momentum .* got momentum=0\.0"):
        optim.sgd(0.1, nesterov=True)


def test_sgd_two_steps_by_hand():
    path = follow(optim.sgd(0.1, momentum=0.5, weight_decay=0.1), [1.0], [[2.0], [1.0]])
    # g = 2 + .1 = 2.1, w = .79; g = 1 + .079, buffer = 1.05 + 1.079 = 2.129, w = .79 - .2129
    np.testing.assert_allclose(path.ravel(), [0.79, 0.5771], rtol=1e-6)


def test_adam_first_step_has_the_size_of_the_rate():
    path = follow(optim.adam(0.01), [1.0, 1.0], [[1e-3, -50.0]])
    np.testing.assert_allclose(path[0], [0.99, 1.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("momentum", "nesterov", "decay"),
    [(0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.0), (0.9, True, 0.1), (0.0, False, 0.1)],
)
def test_sgd_follows_the_formula_for_ten_steps(momentum, nesterov, decay):
    tx = optim.sgd(0.05, momentum=momentum, nesterov=nesterov, weight_decay=decay)
    expected = sgd_by_formula(0.05, momentum, nesterov, decay)
    np.testing.assert_allclose(follow(tx), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("tx", "options"),
    [
        (optim.adam(0.02), {}),
        (optim.adam(0.02, weight_decay=0.3), {"coupled": 0.3}),
        (optim.adamw(0.02), {"decoupled": 0.01}),
        (optim.adamw(0.02, weight_decay=0.3), {"decoupled": 0.3}),
        (optim.adam(0.02, b1=0.5, b2=0.9, eps=0.1), {"b1": 0.5, "b2": 0.9, "eps": 0.1}),
    ],
    ids=["adam", "adam-decay", "adamw-default", "adamw-decay", "adam-b1-b2-eps"],
)
def test_adam_and_adamw_follow_the_formula_for_ten_steps(tx, options):
    expected = adam_by_formula(0.02, **options)
    np.testing.assert_allclose(follow(tx), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [optim.lamb, optim.lion, optim.muon])
def test_the_newer_optimizers_go_downhill(make):
    target = jnp.arange(12.0).reshape(3, 4) / 12

    def objective(params):
        return ((params["w"] - target) ** 2).sum() + params["b"] ** 2

    tx = make(1e-2, weight_decay=0.0)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(objective)(params), state, params)
        return (optax.apply_updates(params, updates), state), objective(params)

    start = {"w": jnp.full((3, 4), 0.5), "b": jnp.array(0.5)}
    values = jax.jit(lambda c: jax.lax.scan(step, c, None, 200))((start, tx.init(start)))[1]
    assert values[-1] < 0.05 * values[0]


NAN = float("nan")
REFUSED = [
    *[(make, {"learning_rate": bad}) for make in (
        optim.sgd, optim.adam, optim.adamw, optim.rmsprop, optim.adagrad, optim.adadelta,
        optim.lamb, optim.lion, optim.muon,
    ) for bad in (-1.0, NAN, "0.1", None)],
    *[(make, {"learning_rate": 0.1, "weight_decay": bad}) for make in (
        optim.sgd, optim.adam, optim.adamw, optim.rmsprop, optim.adagrad, optim.adadelta,
        optim.lamb, optim.lion, optim.muon,
    ) for bad in (-1e-4, NAN)],
    *[(make, {name: bad}) for make in (optim.adam, optim.adamw, optim.lamb, optim.lion)
      for name in ("b1", "b2") for bad in (1.0, -0.1, NAN)],
    *[(make, {"eps": bad}) for make in (
        optim.adam, optim.adamw, optim.rmsprop, optim.adagrad, optim.adadelta, optim.lamb,
    ) for bad in (-1.0, NAN)],
    *[(optim.sgd, {"learning_rate": 0.1, "momentum": bad}) for bad in (-1, NAN)],
    *[(optim.rmsprop, {"momentum": bad}) for bad in (-1, NAN)],
    *[(optim.muon, {"momentum": bad}) for bad in (-1, 1.0, NAN)],
    *[(make, {"decay": bad}) for make in (optim.rmsprop, optim.adadelta) for bad in (-0.1, 1.1)],
    (optim.adagrad, {"initial_accumulator": -1.0}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "options"),
    REFUSED,
    ids=[f"{make.__name__}-{list(options.items())[-1]}" for make, options in REFUSED],
)
def test_a_number_out_of_range_is_refused_by_name(make, options):
    name, value = list(options.items())[-1]
    with pytest.raises(ValueError, match=rf"^{name} must .*, got {value!r}\.$"):
        make(**options)


def test_numbers_that_pytorch_accepts_are_accepted():
    optim.sgd(0.0, momentum=1.5)
    optim.adam(jnp.float32(1e-3), b1=0, b2=0.0, eps=0)
    optim.adadelta(decay=1.0)


def test_traced_numbers_are_not_checked():
    def update(number):
        tx = optim.adamw(number, b1=number, eps=number, weight_decay=number)
        params = {"w": jnp.ones(2)}
        return tx.update(params, tx.init(params), params)[0]["w"]

    assert jax.vmap(update)(jnp.array([0.1, 0.5])).shape == (2, 2)
