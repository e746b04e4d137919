"""Every option of recipe and every wrapper, saved, restored and continued: the same bits.

Each optimizer trains a small network with dropout for three epochs of five batches. The state is
saved in the middle of the second epoch, restored into the initial state, and trained on by a new
step.
"""

import itertools
import random

import jax
import numpy as np
import optax
import pytest
from helpers.same import assert_same, assert_same_run, largest_difference

from jaxdl import checkpoint, losses, models, optim, train

NUM_BATCHES, BATCH_SIZE, NUM_EPOCHS, SAVED_AT = 5, 4, 3, 8

RNG = np.random.default_rng(0)
DATA = {
    "image": RNG.normal(size=(NUM_BATCHES * BATCH_SIZE, 4, 4, 1)).astype(np.float32),
    "label": RNG.integers(0, 3, NUM_BATCHES * BATCH_SIZE).astype(np.int32),
}

OPTIMIZERS = {
    "sgd": {"optimizer": optim.sgd, "momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": optim.adam, "b1": 0.5},
    "adamw": {"optimizer": optim.adamw},
    "rmsprop": {"optimizer": optim.rmsprop, "momentum": 0.9, "centered": True},
    "adagrad": {"optimizer": optim.adagrad},
    "adadelta": {"optimizer": optim.adadelta},
    "lamb": {"optimizer": optim.lamb},
    "lion": {"optimizer": optim.lion},
    "muon": {"optimizer": optim.muon},
}
OPTIONS = {
    "schedule": {"learning_rate": optim.warmup(optim.exponential(0.05, 0.9), 4)},
    "one_cycle": {"learning_rate": optim.one_cycle(0.05, 15)},
    "parts": {"parts": {"head": ("Dense_1", 0.1), "bias": ("Dense_0/bias", 0.2)}},
    "frozen": {"frozen": "Dense_0/kernel"},
    "weight_decay": {"weight_decay": 0.1},
    "decay_vectors": {"weight_decay": 0.1, "decay_vectors": False},
    "clip_norm": {"clip_norm": 0.1},
    "clip_value": {"clip_value": 0.01},
    "accumulate": {"accumulate": 2},
    "accumulate beyond the epoch": {"accumulate": 8},
    "plateau": {"plateau": {"patience": 0, "factor": 0.5, "threshold": 0.5}},
    "ema": {"ema": 0.9},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
}
WRAPPERS = {
    "freeze": lambda: optim.freeze(optim.adam(0.05), "bias"),
    "by_pattern": lambda: optim.by_pattern(
        {"head": optim.adam(0.1), "rest": optim.sgd(0.05)}, {"head": "Dense_1"}, "rest"
    ),
    "max_norm": lambda: optim.max_norm(optim.adam(0.05), "Dense_0/kernel", 0.5),
    "reduce_on_plateau": lambda: optim.reduce_on_plateau(optim.sgd(0.1), mode="max", patience=0),
    "ema later": lambda: optim.ema(optim.adam(0.05), 0.9, start=6),
    "swa": lambda: optim.swa(optim.adam(0.05), start=3, every=2),
    "mixed_precision": lambda: optim.mixed_precision(optim.adam(0.05), "float16"),
    "all": lambda: optim.mixed_precision(
        optim.accumulation.accumulate(
            optim.swa(
                optim.max_norm(
                    optim.reduce_on_plateau(optim.freeze(optim.muon(0.05), "bias"), patience=0),
                    "Dense_0/kernel",
                    0.5,
                )
            ),
            every=3,
        )
    ),
    "optax injected": lambda: optax.inject_hyperparams(optax.adam)(learning_rate=0.05, b1=0.8),
    "optax plateau": lambda: optax.chain(
        optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=1)
    ),
    "optax noise": lambda: optax.chain(
        optax.add_noise(0.01, 0.5, jax.random.key(3)), optax.sgd(0.1)
    ),
    "optax lbfgs": lambda: optax.lbfgs(memory_size=3),
    "optax multi_steps": lambda: optax.MultiSteps(optim.adam(0.05), 2).gradient_transformation(),
}


def pairs(seed, number):
    """Pairs of an optimizer and two options that do not set the same argument, drawn by a seed."""
    everything = [
        f"{optimizer} & {first} & {second}"
        for optimizer in OPTIMIZERS
        for first, second in itertools.combinations(OPTIONS, 2)
        if not OPTIONS[first].keys() & OPTIONS[second].keys()
    ]
    return random.Random(seed).sample(everything, number)


def make_tx(name):
    if name in WRAPPERS:
        return WRAPPERS[name]()
    options = {"optimizer": optim.adam, "learning_rate": 0.05}
    for part in name.split(" & "):
        options |= {**OPTIMIZERS, **OPTIONS}[part]
    return optim.recipe(**options)


def make_parts(name):
    """Network, loss function, transformation and compiled step, all new."""
    model, tx = models.MLP((6, 3), dropout_rate=0.3), make_tx(name)
    loss_fn = train.supervised(model, losses.cross_entropy)
    return model, loss_fn, tx, jax.jit(train.make_step(loss_fn, tx))


def start(model, tx):
    return jax.jit(lambda: train.init_state(model, tx, 0, DATA["image"][:1]))()


def advance(step, state, start, stop):
    """The state after the steps ``start`` to ``stop`` of a custom loop."""
    for index in range(start, stop):
        batch = index % NUM_BATCHES
        if batch == 0:
            state = optim.accumulation.begin_epoch(state, NUM_BATCHES)
        rows = slice(BATCH_SIZE * batch, BATCH_SIZE * batch + BATCH_SIZE)
        state, metrics = step(state, {key: array[rows] for key, array in DATA.items()})
        if batch == NUM_BATCHES - 1:
            loss = metrics["loss"].total / metrics["loss"].count
            state = optim.plateau.observe(state, loss)
    return state


def check(name, folder):
    total = NUM_EPOCHS * NUM_BATCHES
    model, _, tx, step = make_parts(name)
    state = start(model, tx)
    saved = advance(step, state, 0, SAVED_AT)
    with checkpoint.CheckpointManager(folder, keep=1) as manager:
        manager.save(saved)
    expected = advance(step, saved, SAVED_AT, total)

    *_, new_step = make_parts(name)
    with checkpoint.CheckpointManager(folder, keep=1) as manager:
        restored, _ = manager.restore(state)
    assert_same(restored, saved)
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    resumed = advance(new_step, restored, SAVED_AT, total)
    assert_same(resumed, expected)
    assert largest_difference(resumed.params, state.params) > 0


def mark_slow(names, quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


QUICK = ("adam", "accumulate", "float16", "all")


@pytest.mark.parametrize("name", mark_slow([*OPTIMIZERS, *OPTIONS], QUICK))
def test_an_option_resumes_bitwise(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.parametrize("name", mark_slow(WRAPPERS, QUICK))
def test_a_wrapper_resumes_bitwise(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", pairs(seed=0, number=24))
def test_options_together_resume_bitwise(name, tmp_path):
    check(name, tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "adamw & bfloat16 & accumulate & ema & plateau",
        pytest.param("sgd & float16 & parts & clip_norm", marks=pytest.mark.slow),
        pytest.param("muon & schedule & accumulate beyond the epoch", marks=pytest.mark.slow),
        pytest.param("all", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_was_stopped_resumes_bitwise(name, tmp_path):
    def run(workdir, **options):
        model, loss_fn, tx, step = make_parts(name)
        return train.run(
            step,
            start(model, tx),
            DATA,
            num_epochs=NUM_EPOCHS,
            batch_size=BATCH_SIZE,
            key=jax.random.key(1),
            eval_fn=train.make_eval(loss_fn),
            eval_data=DATA,
            workdir=workdir,
            progress=False,
            **options,
        )

    expected = run(tmp_path / "whole")
    run(tmp_path / "parts", hooks=[lambda event: True])  # ends after its first epoch
    assert_same_run(run(tmp_path / "parts", resume=True), expected)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ({}, {"learning_rate": 1e-3}, "resumed with learning_rate 0.05 -> 0.001"),
        (
            {"plateau": {"patience": 0}},
            {"plateau": {"patience": 0, "factor": 0.5}},
            "resumed with plateau/factor 0.1 -> 0.5",
        ),
        ({"precision": "bfloat16"}, {"precision": "bfloat16", "learning_rate": 0.5}, "-> 0.5"),
    ],
)
def test_a_resumed_run_follows_other_numbers_and_says_so(before, after, line, tmp_path, capsys):
    def run(options, workdir, **others):
        options = {"optimizer": optim.sgd, "learning_rate": 0.05, **options}
        model, tx = models.MLP((6, 3)), optim.recipe(**options)
        loss_fn = train.supervised(model, losses.cross_entropy)
        state = train.init_state(model, tx, jax.random.key(0), DATA["image"][:1])
        options = {"batch_size": BATCH_SIZE, "key": jax.random.key(1), "num_epochs": 2, **others}
        evaluation = {"eval_fn": train.make_eval(loss_fn), "eval_data": DATA}
        step = train.make_step(loss_fn, tx)
        return train.run(step, state, DATA, workdir=workdir, **evaluation, **options)

    run(before, tmp_path, num_epochs=1)
    capsys.readouterr()
    resumed, history = run(after, tmp_path, resume=True)
    assert line in capsys.readouterr().out
    if "learning_rate" in after:
        assert history[-1]["learning_rate"] == after["learning_rate"]
    unchanged, _ = run(before, tmp_path / "other")
    if "plateau" not in before:
        assert (resumed.params["Dense_0"]["kernel"] != unchanged.params["Dense_0"]["kernel"]).any()
