"""TensorBoard event files, written by tensorboardX: no TensorFlow, no torch."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def open_writer(directory: Path | str, *, resume_step: int | None = None) -> Any:
    """A ``tensorboardX.SummaryWriter`` on a run folder; close it, or use it with ``with``.

    Args:
        directory: run folder; ``tensorboard --logdir`` on it or on any folder above shows it.
        resume_step: of a run that goes on after this step: what an earlier event file says of
            later steps is dropped by TensorBoard, so nothing is drawn twice.
    """
    from tensorboardX import SummaryWriter

    purge_step = None if resume_step is None else resume_step + 1
    # File names have whole seconds: two writers of one second would share, and empty, a file.
    number = len(list(Path(directory).glob("events.*")))
    return SummaryWriter(str(directory), purge_step=purge_step, filename_suffix=f".{number:04d}")


def write_scalars(writer: Any, values: Mapping[str, Any], step: int) -> None:
    """Writes every number of a mapping as a scalar of that tag; other values are left out.

    Args:
        writer: from :func:`open_writer`.
        values: by tag; ``"test/loss"`` and ``"test/accuracy"`` share the section ``test``.
        step: position on the horizontal axis, in updates.
    """
    for tag, value in values.items():
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            writer.add_scalar(tag, value, step)
