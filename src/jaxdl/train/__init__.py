"""Training: one step, one loop."""

from jaxdl.train.loop import evaluate, fit, predict, run
from jaxdl.train.record import EpochEnd, Interrupted
from jaxdl.train.step import init_state, make_eval, make_step, supervised

__all__ = [
    "EpochEnd",
    "Interrupted",
    "evaluate",
    "fit",
    "init_state",
    "make_eval",
    "make_step",
    "predict",
    "run",
    "supervised",
]
