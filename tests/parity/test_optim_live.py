"""Optimizers and schedules against live PyTorch, over random options: ten steps each."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxdl import optim

NUM_DRAWS = 20
NUM_STEPS = 10
TOLERANCE = 1e-5  # of the largest weight


def moments(rng):
    b1, b2, eps = rng.choice([0.5, 0.9]), rng.choice([0.9, 0.999]), rng.choice([1e-8, 1e-2])
    decay = float(rng.choice([0.0, 0.1]))
    ours = {"b1": float(b1), "b2": float(b2), "eps": float(eps), "weight_decay": decay}
    return ours, {"betas": (ours["b1"], ours["b2"]), "eps": float(eps), "weight_decay": decay}


def adam(rng, ours, theirs):
    amsgrad = bool(rng.integers(2))
    own, other = moments(rng)
    return (
        ours(0.05, amsgrad=amsgrad, **own),
        functools.partial(theirs, lr=0.05, amsgrad=amsgrad, **other),
    )


def nadam(rng):
    (own, other), psi = moments(rng), float(rng.choice([0.0, 4e-3, 0.5]))
    return (
        optim.nadam(0.05, momentum_decay=psi, **own),
        functools.partial(torch.optim.NAdam, lr=0.05, momentum_decay=psi, **other),
    )


def radam(rng):
    own, other = moments(rng)
    return optim.radam(0.05, **own), functools.partial(torch.optim.RAdam, lr=0.05, **other)


def adamax(rng):
    own, other = moments(rng)
    return optim.adamax(0.05, **own), functools.partial(torch.optim.Adamax, lr=0.05, **other)


def sgd(rng):
    """Dampening, and maximize as an inverted gradient."""
    options = {
        "momentum": float(rng.choice([0.0, 0.9])),
        "dampening": float(rng.choice([0.0, 0.3, 1.0])),
        "weight_decay": float(rng.choice([0.0, 0.1])),
    }
    maximize = bool(rng.integers(2))
    tx = optim.sgd(0.05, **options)
    ours = optax.chain(optax.scale(-1.0), tx) if maximize else tx
    return ours, functools.partial(torch.optim.SGD, lr=0.05, maximize=maximize, **options)


def asgd(rng):
    decay, power, weight_decay = (
        float(rng.choice(c)) for c in ([1e-4, 0.5], [0.0, 0.75], [0.0, 0.1])
    )
    return (
        optim.asgd(0.05, decay=decay, power=power, weight_decay=weight_decay),
        functools.partial(
            torch.optim.ASGD, lr=0.05, lambd=decay, alpha=power, weight_decay=weight_decay
        ),
    )


def rprop(rng):
    factors = (float(rng.choice([0.5, 0.8])), float(rng.choice([1.2, 1.5])))
    sizes = (float(rng.choice([1e-6, 0.03])), float(rng.choice([0.06, 50.0])))
    return (
        optim.rprop(0.05, factors=factors, step_sizes=sizes),
        functools.partial(torch.optim.Rprop, lr=0.05, etas=factors, step_sizes=sizes),
    )


def adafactor(rng):
    rate, power, d, decay = (
        float(rng.choice(c)) for c in ([0.05, 2.0], [0.5, 0.8], [1.0, 2.0], [0.0, 0.1])
    )
    scale = float(rng.choice([1e-3, 5.0]))
    return (
        optim.adafactor(
            rate,
            decay_power=power,
            eps=(1.1920928955078125e-07, scale),
            clip_threshold=d,
            weight_decay=decay,
        ),
        functools.partial(
            torch.optim.Adafactor,
            lr=rate,
            beta2_decay=-power,
            eps=(None, scale),
            d=d,
            weight_decay=decay,
        ),
    )


def adagrad(rng):
    """Its lr_decay is a schedule."""
    decay, start = float(rng.choice([0.0, 0.1])), float(rng.choice([0.0, 0.5]))
    return (
        optim.adagrad(lambda step: 0.05 / (1 + decay * step), initial_accumulator=start),
        functools.partial(
            torch.optim.Adagrad, lr=0.05, lr_decay=decay, initial_accumulator_value=start
        ),
    )


CASES = {
    "adam": functools.partial(adam, ours=optim.adam, theirs=torch.optim.Adam),
    "adamw": functools.partial(adam, ours=optim.adamw, theirs=torch.optim.AdamW),
    "nadam": nadam,
    "radam": radam,
    "adamax": adamax,
    "sgd": sgd,
    "asgd": asgd,
    "rprop": rprop,
    "adafactor": adafactor,
    "adagrad": adagrad,
}


@pytest.mark.parametrize("name", CASES)
def test_ten_steps_are_those_of_pytorch(name):
    rng = np.random.default_rng(7)
    for draw in range(NUM_DRAWS):
        tx, make = CASES[name](rng)
        params = {
            "b": rng.normal(size=4).astype(np.float32),
            "w": rng.normal(size=(3, 5)).astype(np.float32),
        }
        theirs = {k: torch.nn.Parameter(torch.from_numpy(v.copy())) for k, v in params.items()}
        optimizer = make(list(theirs.values()))
        state, ours = tx.init(params), jax.tree.map(jnp.asarray, params)
        update = jax.jit(tx.update)
        for _ in range(NUM_STEPS):
            gradients = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
            updates, state = update(gradients, state, ours)
            ours = optax.apply_updates(ours, updates)
            for key, gradient in gradients.items():
                theirs[key].grad = torch.from_numpy(gradient)
            optimizer.step()
        for key, expected in theirs.items():
            expected = expected.detach().numpy()
            difference = np.abs(np.asarray(ours[key]) - expected).max() / np.abs(expected).max()
            assert difference < TOLERANCE, (name, draw, key, difference)


def linear(rng):
    steps, start, end = int(rng.integers(1, 12)), *(float(x) for x in rng.uniform(0.05, 1, 2))
    return (
        optim.linear(0.1, steps, start_factor=start, end_factor=end),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, start, end, steps),
    )


def cyclic(rng):
    up, down = (int(n) for n in rng.integers(1, 9, 2))
    mode = str(rng.choice(["triangular", "triangular2", "exp_range"]))
    height = {
        "triangular": None,
        "triangular2": lambda wave, step: 0.5 ** (wave - 1),
        "exp_range": lambda wave, step: 0.9**step,
    }[mode]
    return (
        optim.cyclic(0.1, 0.02, up, down, height=height),
        lambda o: torch.optim.lr_scheduler.CyclicLR(
            o, 0.02, 0.1, up, down, mode=mode, gamma=0.9, cycle_momentum=False
        ),
    )


@pytest.mark.parametrize("case", [linear, cyclic])
def test_schedules_are_those_of_pytorch(case):
    rng = np.random.default_rng(8)
    for draw in range(NUM_DRAWS):
        schedule, make = case(rng)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
        scheduler = make(optimizer)
        for step in range(30):
            expected = optimizer.param_groups[0]["lr"]
            assert float(schedule(step)) == pytest.approx(expected, rel=1e-5, abs=1e-7), (
                draw,
                step,
            )
            optimizer.step()
            scheduler.step()
