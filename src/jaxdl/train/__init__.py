"""Training: one step, one loop."""

from jaxdl.train.evaluation import evaluate, predict
from jaxdl.train.gan import (
    GANState,
    Player,
    differentiable_augment,
    init_gan_state,
    make_gan_step,
)
from jaxdl.train.loop import fit, run
from jaxdl.train.record import EpochEnd, Interrupted
from jaxdl.train.renew import with_averaged_params
from jaxdl.train.sampling import generate, sample
from jaxdl.train.space import choice, grid, log_uniform, random_search, uniform
from jaxdl.train.step import Network, init_state, make_eval, make_step, supervised
from jaxdl.train.sweep import sweep
from jaxdl.train.sweep_result import SweepResult
from jaxdl.train.watch import Watch

__all__ = [
    "EpochEnd",
    "GANState",
    "Interrupted",
    "Network",
    "Player",
    "SweepResult",
    "Watch",
    "choice",
    "differentiable_augment",
    "evaluate",
    "fit",
    "generate",
    "grid",
    "init_gan_state",
    "init_state",
    "log_uniform",
    "make_eval",
    "make_gan_step",
    "make_step",
    "predict",
    "random_search",
    "run",
    "sample",
    "supervised",
    "sweep",
    "uniform",
    "with_averaged_params",
]
