"""PyTorch's recipes as pure functions on JAX, Flax Linen, Optax and Orbax.

State is one pytree and everything else is a function of it. Start with
:func:`jaxdl.train.run`, the training loop, and ``experiments/classify.py``, which uses it.
"""

from jaxdl import checkpoint, checks, data, losses, metrics, models, nn, optim, train, tree
from jaxdl.types import Batch, EvalFn, LossFn, Mean, Metrics, StepFn, TrainState

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "EvalFn",
    "LossFn",
    "Mean",
    "Metrics",
    "StepFn",
    "TrainState",
    "checkpoint",
    "checks",
    "data",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "train",
    "tree",
]
