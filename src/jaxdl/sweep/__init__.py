"""Many trainings in one program: seeds times hyperparameters."""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.sweep._sweep import sweep
from jaxdl.sweep.result import SweepResult
from jaxdl.sweep.space import choice, grid, log_uniform, random_search, uniform

__all__ = [
    "SweepResult",
    "choice",
    "grid",
    "log_uniform",
    "random_search",
    "sweep",
    "uniform",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
