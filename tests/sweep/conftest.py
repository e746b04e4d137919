"""A sweep that several files test."""

import functools

import jax
import numpy as np
import pytest
from helpers.small_sweeps import DATA, SPACE, order, train_one

from jaxdl import sweep


@pytest.fixture(scope="module")
def solo():
    """The final state and history of a member trained alone."""
    compiled = jax.jit(train_one)

    @functools.cache
    def run(seed, **hparams):
        traced = {name: np.float32(value) for name, value in hparams.items()}
        state, history = compiled(jax.random.key(seed), traced, DATA)
        return jax.device_get(history), state

    return lambda seed, hparams: run(int(seed), **hparams)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep in which some members diverge, and its folder."""
    folder = tmp_path_factory.mktemp("sweep") / "run"
    result = sweep.sweep(
        train_one, SPACE, DATA,
        seeds=(0, 7), method="vmap", chunk_size=5, keep="all", workdir=folder, order=order,
        progress=False,
    )  # fmt: skip
    return result, folder
