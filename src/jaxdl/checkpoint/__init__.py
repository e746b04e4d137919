"""Checkpoints by Orbax: the whole state and a little JSON, checked on the way back.

A folder of checkpoints holds one sub-folder a step. Beside the arrays each keeps the names, shapes
and dtypes of the state and a checksum of every array's bytes, so that another model is told from a
damaged file, and a damaged file from a good one.
"""

from jaxdl.checkpoint.manager import (
    CheckpointManager,
    Contents,
    DifferentStructure,
    copy,
    open_manager,
    restore,
    save,
)
from jaxdl.checkpoint.weights import average, describe, restore_weights

__all__ = [
    "CheckpointManager",
    "Contents",
    "DifferentStructure",
    "average",
    "copy",
    "describe",
    "open_manager",
    "restore",
    "restore_weights",
    "save",
]
