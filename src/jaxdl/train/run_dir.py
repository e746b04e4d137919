"""The run folder: lock, metrics, TensorBoard events and checkpoints."""

import contextlib
import json
import math
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax

from jaxdl import checkpoint, metrics, optim, tensorboard, tree
from jaxdl import config as configs
from jaxdl._files import write_text
from jaxdl._lock import FolderInUse, locked
from jaxdl.train._progress import Unfinished
from jaxdl.types import Metrics, PyTree, Row


class EpochEnd(NamedTuple):
    """Argument of a hook, which is called after each epoch and returns True to stop training.

    Attributes:
        state: the state after the epoch; valid until the hook returns, copy it to keep it.
        row: this epoch's row of ``metrics.jsonl``.
        history: all rows so far.
        workdir: the run folder, or None.
        writer: the TensorBoard writer, or None.

    >>> def stop_at_full_accuracy(end: EpochEnd) -> bool:
    ...     return end.row["test/accuracy"] == 1.0
    """

    state: PyTree
    row: Row
    history: list[Row]
    workdir: Path | None
    writer: Any


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM; the state has been saved.

    Attributes:
        exit_status: 130 after Ctrl-C, 143 after SIGTERM, as in shells.

    >>> Interrupted(signal_number=signal.SIGTERM).exit_status
    143
    """

    def __init__(self, message: str = "stopped", signal_number: int = signal.SIGINT):
        super().__init__(message)
        self.exit_status = 128 + int(signal_number)


class RunFolder:
    """A run folder that is being written; without workdir, only a history in memory.

    A context manager: the folder is locked, checked and opened at its beginning.

    Args:
        workdir: folder of the run, created if needed; or None.
        state: the initial state, whose size and structure count.
        resume: continue the run in the folder, if there is one.
        fingerprint: JSON values that a resumed run must share (batch size, order key, …).
        config: dataclass instance for ``config.json``, or None.
        describe: writes ``model.json`` into the folder; see :mod:`jaxdl.models.description`.
        say: prints a line for each hyperparameter that a resumed run changes.

    Attributes:
        state: the newest checkpoint, or the initial state.
        history: its rows.
        progress: its unfinished epoch, or None; see :meth:`save`.
        workdir: the folder, absolute, or None.
        writer: its TensorBoard writer, or None.

    Raises:
        ValueError: the folder holds a run and ``resume`` is False; or a run with another model,
            optimizer or fingerprint.
        OSError: another process uses the folder, it cannot be written, or its disk is too small.
    """

    def __init__(
        self,
        workdir: Path | str | None,
        state: PyTree,
        *,
        resume: bool,
        fingerprint: Mapping[str, object],
        config: configs.Dataclass | None = None,
        describe: Callable[[Path], None] | None = None,
        say: Callable[[str], None] = print,
    ):
        self.workdir = None if workdir is None else Path(workdir).absolute()
        self.state, self.progress = state, None
        self.history: list[Row] = []
        self.writer: Any = None
        self._fingerprint = dict(fingerprint)
        self._best: tuple[PyTree, Row] | None = None
        self._stack = contextlib.ExitStack()
        self._resume, self._config, self._describe = resume, config, describe
        self._check_in_place: Callable[[], None] = lambda: None
        self._say, self._constants = say, optim.hyperparameters.constants(state)

    def __enter__(self) -> Self:
        if self.workdir is not None:
            with self._stack:
                self._open(self.workdir)
                self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self, workdir: Path) -> None:
        last = workdir / "checkpoints" / "last"
        # three checkpoints and one being written; a resumed run has most of them already
        _check_space(workdir, (2 if _holds_run(last) else 4) * tree.num_bytes(self.state))
        checkpoint.CheckpointManager.check(self.state)
        with _naming_folder(workdir):
            workdir.mkdir(parents=True, exist_ok=True)
            self._check_in_place = self._stack.enter_context(locked(workdir))
            with tempfile.TemporaryFile(dir=workdir) as file:
                file.write(b"jaxdl")
                file.flush()
        started = _holds_run(last)
        if started and not self._resume:
            raise ValueError(
                f"{workdir} already holds a run. Resume it (resume=True, --resume) or choose "
                "another folder."
            )
        self._last_manager = self._open_manager(last, keep=2)
        self._best_manager = self._open_manager(last.with_name("best"), keep=1)
        if started:
            self._restore()
        with self.writing():
            if self._config is not None:
                configs.save(self._config, workdir / "config.json")
            if self._describe is not None:
                self._describe(workdir)
            write_lines(workdir / "metrics.jsonl", map(to_json, self.history))
            resume_step = int(self.state.step) if started else None
            self.writer = tensorboard.open_writer(workdir, resume_step=resume_step)
            self._stack.callback(tensorboard.close_writer, self.writer)

    def _open_manager(self, folder: Path, *, keep: int) -> checkpoint.CheckpointManager:
        manager = checkpoint.CheckpointManager(folder, keep=keep)

        def close() -> None:
            with contextlib.suppress(Exception):  # finish() has reported a save that failed
                manager.close()

        self._stack.callback(close)
        return manager

    def _restore(self) -> None:
        self.state, metadata = self._last_manager.restore(self.state, set_aside_damaged=True)
        for name, value in self._fingerprint.items():
            saved = metadata["fingerprint"].get(name)
            if saved != value:
                raise ValueError(
                    f"{self.workdir} was trained with {name} {saved}, got {value}: the order of "
                    "the examples would differ. Resume with the run's own configuration, or "
                    "choose another folder."
                )
        self.history, self.progress = metadata["history"], metadata["progress"]
        self.state, changes = optim.hyperparameters.follow_constants(
            self.state, self._constants, metadata.get("constants")
        )
        for change in changes:
            self._say(f"resumed with {change}")

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns any failure to write, from whichever library, into one OSError."""
        try:
            self._check_in_place()
            yield
        except ValueError:  # an invalid tag or value; the disk is not at fault
            raise
        except Exception as error:
            text = str(error).strip() or type(error).__name__
            reason = getattr(error, "strerror", None) or text.splitlines()[0].rstrip(".")
            raise OSError(
                f"the run folder {self.workdir} can no longer be written: {reason}. Checkpoints "
                "saved before are complete; free some space and resume the run."
            ) from error

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
            self._write_scalars(row)

    def extend_row(self, values: Row) -> None:
        """Adds values to the last row of the history, of ``metrics.jsonl`` and to TensorBoard."""
        self.history[-1] |= values
        if self.workdir is not None:
            with self.writing():
                write_lines(self.workdir / "metrics.jsonl", map(to_json, self.history))
                self._write_scalars({"step": self.history[-1]["step"], **values})

    def _write_scalars(self, row: Row) -> None:
        values = {name: value for name, value in row.items() if name != "step"}
        tensorboard.write_scalars(self.writer, values, row["step"])

    def write_steps(self, stacked: Metrics, first: int, every: int) -> None:
        """Writes the metrics of every ``every``-th step to TensorBoard, tags ``step/…``.

        Args:
            stacked: metrics with a leading step axis.
            first: number of updates before the first of these steps.
            every: steps between two points.
        """
        if self.workdir is None or not stacked:
            return
        length = len(jax.tree.leaves(stacked)[0])
        with self.writing():
            for index in range(-(first + 1) % every, length, every):
                one = jax.tree.map(lambda leaf, i=index: leaf[i], dict(stacked))
                values = metrics.result(one, "step/")
                tensorboard.write_scalars(self.writer, values, first + index + 1)

    def keep_best(self, state: PyTree, row: Row) -> None:
        """Keeps a copy of the best state so far; the next :meth:`save` writes it."""
        self._best = (tree.copy(state), row)

    def save(self, state: PyTree, progress: Unfinished) -> None:
        """Saves the best state, if it is new, and this one; returns before they are on disk.

        Args:
            state: the current state.
            progress: JSON values of the unfinished epoch, or None.
        """
        if self.workdir is None:
            return
        content = {
            "fingerprint": self._fingerprint,
            "history": self.history,
            "progress": progress,
            "constants": self._constants,
        }
        with self.writing():
            self.writer.flush()  # what is resumed from here is not written to TensorBoard again
            if self._best is not None:
                best, row = self._best
                self._best_manager.save(best, {"row": row}, copy=False)
                self._best = None
            # its history refers to the best state, which has to be on disk first
            self._last_manager.save(state, content, after=self._best_manager)

    def finish(self) -> None:
        """Waits until everything is on disk."""
        if self.workdir is not None:
            with self.writing():
                self._last_manager.wait_until_finished()
                self.writer.flush()

    def load_best(self, step: int, target: PyTree) -> PyTree:
        """The best state, which has this step; from memory, or else from disk."""
        if self._best is not None:
            return self._best[0]
        return self._best_manager.restore(target, step=step)[0]

    def rescue(self, good: PyTree, progress: Unfinished, why: str) -> str:
        """Saves the last good state of a diverged run; returns the error message."""
        advice = "Lower the learning rate, clip the gradients, or inspect that batch."
        if self.workdir is None:
            return f"{why}. {advice}"
        self.save(good, progress)
        self.finish()
        path = self.workdir / "checkpoints/last" / str(int(good.step))
        return f"{why}. The state before it is saved in {path}. {advice}"


def _holds_run(last: Path) -> bool:
    # a name that is more than a number belongs to a checkpoint that was never finished
    return any(path.name.isdigit() for path in last.glob("*"))


def _check_space(workdir: Path, num_bytes: int) -> None:
    """Raises OSError unless the disk of a folder, which need not exist yet, has this much space."""
    existing = next(path for path in (workdir, *workdir.parents) if path.is_dir())
    free = shutil.disk_usage(existing).free
    if free < num_bytes:
        raise OSError(
            f"the run folder {workdir} needs about {num_bytes / 1e6:,.2f} MB for checkpoints, "
            f"but only {free / 1e6:,.2f} MB are free. Free some space or choose another folder."
        )


@contextlib.contextmanager
def _naming_folder(workdir: Path) -> Iterator[None]:
    """Adds the folder's name and the remedy to the operating system's errors."""
    try:
        yield
    except FolderInUse:
        raise
    except OSError as error:
        raise type(error)(
            f"the run folder {workdir} cannot be written ({error.strerror or error}). "
            "Choose another one (workdir=, --workdir) or free some space."
        ) from error


def to_json(row: Row) -> str:
    """One line of JSON; NaN and infinity become null."""
    return json.dumps(_finite(row))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes lines of text to a file: all of them or nothing."""
    write_text(path, "".join(line + "\n" for line in lines))
