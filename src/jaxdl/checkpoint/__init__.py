"""Checkpoints by Orbax: the whole state and a little JSON, checked when read back.

A folder of checkpoints holds one sub-folder per step. Each keeps the names, shapes and dtypes of
the state and a checksum of every array's bytes, which tell another model from a damaged file, and
a damaged file from a good one.
"""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.checkpoint.manager import CheckpointManager
from jaxdl.checkpoint.weights import average, describe, restore_weights

__all__ = [
    "CheckpointManager",
    "average",
    "describe",
    "restore_weights",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
