"""The run folder: metrics, events and checkpoints."""

import contextlib
import json
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax

from jaxdl import checkpoint, metrics, tensorboard, tree
from jaxdl import config as configs
from jaxdl._files import write_text
from jaxdl.train._progress import Row
from jaxdl.types import PyTree


class EpochEnd(NamedTuple):
    """What a hook is told after each epoch. A hook that returns True ends the training.

    Attributes:
        state: the state after the epoch; not to be kept, its buffers are used again.
        row: this epoch's row of ``metrics.jsonl``.
        history: all rows so far.
        workdir: the run folder, or None.
        writer: the TensorBoard writer, or None.
    """

    state: Any
    row: Row
    history: list[Row]
    workdir: Path | None
    writer: Any


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM after the state had been saved.

    Attributes:
        exit_status: 130 after Ctrl-C, 143 after SIGTERM, as shells count.
    """

    def __init__(self, message: str = "stopped", number: int = signal.SIGINT):
        super().__init__(message)
        self.exit_status = 128 + int(number)


class Record:
    """A run folder that is being written; with workdir None, only a history in memory.

    Args:
        workdir: folder of the run; created where it does not exist.
        state: the initial state: its size, and the form of what is restored.
        resume: go on with what the folder holds, if anything.
        fingerprint: JSON values that a resumed run must share (batch size, order key, …).
        config: instance of a dataclass for ``config.json``, or None.

    Attributes:
        state, history, progress: what training starts from: the newest checkpoint, or the initial
            state, no rows and None.
        workdir, writer: the folder and its TensorBoard writer, or None.

    Raises:
        ValueError: the folder holds a run and ``resume`` is False; or a run with another model,
            optimizer or fingerprint.
        OSError: the folder cannot be written or has too little space.
    """

    def __init__(
        self,
        workdir: Path | str | None,
        state: PyTree,
        *,
        resume: bool,
        fingerprint: dict[str, Any],
        config: Any = None,
    ):
        self.state, self.progress = state, None
        self.writer: Any = None
        self.history: list[Row] = []
        self.workdir = None if workdir is None else Path(workdir).absolute()
        self._fingerprint = fingerprint
        self._best: tuple[PyTree, Row] | None = None
        if self.workdir is None:
            return
        last = self.workdir / "checkpoints" / "last"
        # a folder whose name is more than a number is a checkpoint that was never finished
        started = any(path.name.isdigit() for path in last.glob("*"))
        if started and not resume:
            raise ValueError(
                f"{self.workdir} already holds a run. Resume it (resume=True, --resume) or choose "
                "another folder."
            )
        # three checkpoints and one being written; a resumed run has most of them already
        _check_writable(self.workdir, (2 if started else 4) * tree.num_bytes(state))
        folder = self.workdir / "checkpoints"
        self._last_manager = checkpoint.CheckpointManager(folder / "last", keep=2)
        self._best_manager = checkpoint.CheckpointManager(folder / "best", keep=1)
        try:
            if started:
                self._resume()
            with self.writing():
                if config is not None:
                    configs.save(config, self.workdir / "config.json")
                write_lines(self.workdir / "metrics.jsonl", map(to_json, self.history))
                resume_step = int(self.state.step) if started else None
                self.writer = tensorboard.open_writer(self.workdir, resume_step=resume_step)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.workdir is None:
            return
        if self.writer is not None:
            tensorboard.close_writer(self.writer)
        for manager in (self._best_manager, self._last_manager):
            with contextlib.suppress(Exception):  # a save that failed was reported by finish()
                manager.close()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Says of any failure to write, whatever library it comes from, where and what to do."""
        try:
            yield
        except ValueError:  # a tag or value that was not as it must be; the disk is not to blame
            raise
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
            raise OSError(
                f"the run folder {self.workdir} cannot be written any more: {reason}. What was "
                "saved before is whole; free some space and resume the run."
            ) from error

    def _resume(self) -> None:
        self.state, metadata = self._last_manager.restore(self.state, set_aside_damaged=True)
        for name, value in self._fingerprint.items():
            saved = metadata["fingerprint"].get(name)
            if saved != value:
                raise ValueError(
                    f"{self.workdir} was made with {name} {saved}, this run has {value}: the order "
                    "of the examples would not be the same. Resume with the run's own "
                    "configuration, or choose another folder."
                )
        self.history, self.progress = metadata["history"], metadata["progress"]

    def add_row(self, row: Row) -> None:
        """Appends a row to the history, ``metrics.jsonl`` and TensorBoard."""
        self.history.append(row)
        if self.workdir is None:
            return
        with self.writing():
            with open(self.workdir / "metrics.jsonl", "a", encoding="utf-8") as file:
                file.write(to_json(row) + "\n")
                file.flush()
                os.fsync(file.fileno())
            values = {name: value for name, value in row.items() if name != "step"}
            tensorboard.write_scalars(self.writer, values, row["step"])

    def log_steps(self, stacked: Any, first: int, every: int) -> None:
        """Writes the metrics of every ``every``-th step to TensorBoard, tags ``step/…``.

        Args:
            stacked: metrics with a leading step axis.
            first: number of updates before the first of these steps.
            every: steps between two points.
        """
        if self.workdir is None:
            return
        length = len(jax.tree.leaves(stacked)[0])
        with self.writing():
            for index in range(-(first + 1) % every, length, every):
                one = jax.tree.map(lambda leaf, i=index: leaf[i], dict(stacked))
                values = metrics.result(one, "step/")
                tensorboard.write_scalars(self.writer, values, first + index + 1)

    def keep_best(self, state: PyTree, row: Row) -> None:
        """Remembers the best state so far; the next :meth:`save` writes it."""
        if self.workdir is not None:
            self._best = (tree.copy(state), row)

    def save(self, state: PyTree, progress: Any) -> None:
        """Writes the best state, where it is new, and this one; returns before the disk is done.

        Args:
            state: the state now.
            progress: JSON values that say how far an unfinished epoch has come.
        """
        if self.workdir is None:
            return
        content = {"fingerprint": self._fingerprint, "history": self.history, "progress": progress}
        with self.writing():
            self.writer.flush()  # what is resumed from here is not written to TensorBoard again
            if self._best is not None:
                best, row = self._best
                self._best_manager.save(best, {"row": row}, copy=False)
                self._best = None
            # its history speaks of the best one, so that has to be there first
            self._last_manager.save(state, content, after=self._best_manager)

    def finish(self) -> None:
        """Waits until everything is on disk."""
        if self.workdir is not None:
            with self.writing():
                self._last_manager.wait_until_finished()
                self.writer.flush()

    def rescue(self, good: PyTree, progress: Any, why: str) -> str:
        """Saves the last good state of a run that broke, and says so."""
        advice = "Lower the learning rate, clip the gradients, or look at that batch."
        if self.workdir is None:
            return f"{why}. {advice}"
        self.save(good, progress)
        self.finish()
        where = self.workdir / "checkpoints/last" / str(int(good.step))
        return f"{why}. The state before it is kept in {where}. {advice}"


def _check_writable(workdir: Path, num_bytes: int) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workdir) as file:
            file.write(b"jaxdl")
            file.flush()
    except OSError as error:
        raise type(error)(
            f"the run folder {workdir} cannot be written ({error.strerror or error}). "
            "Choose another one (workdir=, --workdir) or free some space."
        ) from error
    free = shutil.disk_usage(workdir).free
    if free < num_bytes:
        raise OSError(
            f"the run folder {workdir} needs about {num_bytes / 1e6:,.2f} MB for checkpoints, "
            f"but only {free / 1e6:,.2f} MB are free. Free some space or choose another folder."
        )


def to_json(row: Row) -> str:
    """One line; NaN and infinity, which JSON does not know, become null."""
    return json.dumps(_finite(row))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines of text to a file: all of them or nothing."""
    write_text(path, "".join(line + "\n" for line in lines))
