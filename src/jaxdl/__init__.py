"""PyTorch's recipes as pure functions on JAX, Flax Linen, Optax and Orbax.

State is one pytree and everything else is a function of it. Start with
:func:`jaxdl.train.run`, the training loop, and ``experiments/classify.py``, which uses it.

Parts are imported when they are first used, so that ``python -m jaxdl doctor`` can tell what is
wrong with an installation in which JAX itself cannot be imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl import checkpoint, checks, data, losses, metrics, models, nn, optim, train, tree
    from jaxdl.interop.bundle import load_bundle
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
    "config",
    "data",
    "generators",
    "interop",
    "load_bundle",
    "losses",
    "metrics",
    "models",
    "nn",
    "optim",
    "plots",
    "quantize",
    "tensorboard",
    "train",
    "tree",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'jaxdl' has no attribute {name!r}; it has: {__all__}.")
    if name[0].isupper():
        return getattr(importlib.import_module("jaxdl.types"), name)
    if name == "load_bundle":
        return importlib.import_module("jaxdl.interop.bundle").load_bundle
    return importlib.import_module(f"jaxdl.{name}")


def __dir__() -> list[str]:
    return __all__
