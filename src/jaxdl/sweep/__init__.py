"""Many trainings in one program: seeds times hyperparameters."""

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
