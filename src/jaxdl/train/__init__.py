"""Training: one step, one loop."""

from jaxdl.train.gan import (
    GANState,
    Player,
    differentiable_augment,
    init_gan_state,
    make_gan_step,
)
from jaxdl.train.loop import evaluate, fit, predict, run
from jaxdl.train.record import EpochEnd, Interrupted
from jaxdl.train.sampling import generate, sample
from jaxdl.train.step import init_state, make_eval, make_step, supervised

__all__ = [
    "EpochEnd",
    "GANState",
    "Interrupted",
    "Player",
    "differentiable_augment",
    "evaluate",
    "fit",
    "generate",
    "init_gan_state",
    "init_state",
    "make_eval",
    "make_gan_step",
    "make_step",
    "predict",
    "run",
    "sample",
    "supervised",
]
