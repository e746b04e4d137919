"""TensorBoard event files, written by tensorboardX: no TensorFlow, no torch."""

import numbers
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def open_writer(directory: Path | str, *, resume_step: int | None = None) -> Any:
    """A ``tensorboardX.SummaryWriter`` on a run folder; end it with :func:`close_writer`.

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

    tensorboardX writes in a thread. Where that thread has died, of a full disk say, the next write
    would wait for it for ever; here it raises.

    Args:
        writer: from :func:`open_writer`.
        values: by tag; ``"test/loss"`` and ``"test/accuracy"`` share the section ``test``.
        step: position on the horizontal axis, in updates.

    Raises:
        OSError: the thread that writes has died.
    """
    for tag, value in values.items():
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            if not _is_alive(writer):
                raise OSError("TensorBoard's events could not be written (is the disk full?)")
            writer.add_scalar(tag, value, step)


def close_writer(writer: Any) -> None:
    """Flushes and closes a writer; one whose thread has died is left without waiting for it."""
    if _is_alive(writer):
        writer.close()
    else:
        writer.file_writer.event_writer._closed = True  # else it is closed, and waits, at exit


def _is_alive(writer: Any) -> bool:
    worker = writer.file_writer.event_writer._worker
    return worker is not None and worker.is_alive()
