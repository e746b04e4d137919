"""Optimizers as PyTorch defines them, schedules, parts of a model, averages, mixed precision."""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.optim.averaging import averaged_params, ema, swa
from jaxdl.optim.build import recipe
from jaxdl.optim.groups import by_pattern, freeze, max_norm
from jaxdl.optim.hyperparameters import learning_rates
from jaxdl.optim.optimizers import adadelta, adagrad, adam, adamw, lamb, lion, muon, rmsprop, sgd
from jaxdl.optim.plateau import reduce_on_plateau
from jaxdl.optim.precision import mixed_precision
from jaxdl.optim.schedules import (
    chained,
    cosine_restarts,
    cyclic,
    exponential,
    linear,
    multi_step,
    one_cycle,
    per_epoch,
    polynomial,
    step_decay,
    warmup,
    warmup_cosine,
)
from jaxdl.optim.variants import adafactor, adamax, asgd, nadam, radam, rprop

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "averaged_params",
    "by_pattern",
    "chained",
    "cosine_restarts",
    "cyclic",
    "ema",
    "exponential",
    "freeze",
    "lamb",
    "learning_rates",
    "linear",
    "lion",
    "max_norm",
    "mixed_precision",
    "multi_step",
    "muon",
    "nadam",
    "one_cycle",
    "per_epoch",
    "polynomial",
    "radam",
    "recipe",
    "reduce_on_plateau",
    "rmsprop",
    "rprop",
    "sgd",
    "step_decay",
    "swa",
    "warmup",
    "warmup_cosine",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
