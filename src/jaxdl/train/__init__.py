"""Training: one step, one loop."""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.train import gan
from jaxdl.train.evaluation import evaluate, predict, with_averaged_params
from jaxdl.train.gan import GANState, Players, init_gan_state, make_gan_step
from jaxdl.train.loop import fit, run
from jaxdl.train.run_dir import EpochEnd, Interrupted
from jaxdl.train.step import apply_model, init_state, make_eval, make_step, supervised
from jaxdl.train.watch.options import Watch

__all__ = [
    "EpochEnd",
    "GANState",
    "Interrupted",
    "Players",
    "Watch",
    "apply_model",
    "evaluate",
    "fit",
    "gan",
    "init_gan_state",
    "init_state",
    "make_eval",
    "make_gan_step",
    "make_step",
    "predict",
    "run",
    "supervised",
    "with_averaged_params",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
