"""Checkpoints of whole states, written by a thread and checked when restored."""

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp

from jaxdl import tree
from jaxdl._text import shorten_lines
from jaxdl.checkpoint._info import (
    StructureMismatchError,
    make_content,
    newest_readable,
    read_info,
    verify,
)
from jaxdl.checkpoint._orbax import (
    check_savable,
    check_stored,
    plain_path,
    quiet,
    reason_of,
    remove_unfinished,
    with_placeholders,
)
from jaxdl.types import PyTree


class CheckpointManager:
    """Checkpoints of whole states in a folder, one sub-folder per step.

    Saving is asynchronous: a thread writes while training continues. A checkpoint is read back, its
    index and the sizes of its files, before an older one is deleted. What a killed process left
    half-written is removed on opening.

    Args:
        path: the folder; created if needed.
        keep: number of checkpoints to keep, the newest.

    Attributes:
        directory: the folder, absolute.

    Raises:
        ValueError: a path that Orbax cannot open, or ``keep`` below 1.

    Source: ``orbax.checkpoint.CheckpointManager``; adds checksums, the check of what was written,
    arrays without elements, and the fallback to the checkpoint before a damaged one.

    >>> import tempfile
    >>> from jaxdl import TrainState
    >>> state = TrainState(jnp.int32(3), {"w": jnp.ones(2)}, {}, (), jax.random.key(0))
    >>> with CheckpointManager(tempfile.mkdtemp(), keep=2) as manager:
    ...     manager.save(state, {"loss": 0.5})
    ...     restored, metadata = manager.restore(state)
    >>> int(restored.step), metadata
    (3, {'loss': 0.5})
    """

    def __init__(self, path: Path | str, *, keep: int):
        import orbax.checkpoint as ocp

        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}.")
        self.directory = Path(path).absolute()
        self._keep = keep
        self.directory.mkdir(parents=True, exist_ok=True)
        # several processes save together, so each in its main thread; Orbax's own thread writes
        self._inline = jax.process_count() > 1
        # older checkpoints are deleted here, once the new one has been read back
        options = ocp.CheckpointManagerOptions(
            cleanup_tmp_directories=True, enable_async_checkpointing=self._inline
        )
        self._stack = contextlib.ExitStack()
        self._path = self._stack.enter_context(plain_path(self.directory))
        with quiet():
            self._orbax = ocp.CheckpointManager(self._path, options=options)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None
        self._unchecked: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all_steps(self) -> list[int]:
        """Returns the steps on disk in order, after waiting for a pending save."""
        self.wait_until_finished()
        return sorted(self._orbax.all_steps())

    def latest_step(self) -> int | None:
        """Returns the newest step on disk, or None, after waiting for a pending save."""
        return max(self.all_steps(), default=None)

    def is_saving(self) -> bool:
        """Returns True while a save is pending."""
        return self._pending is not None and not self._pending.done()

    def wait_until_finished(self) -> None:
        """Waits for the pending save.

        Raises:
            OSError: it failed; older checkpoints are kept.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        self._orbax.wait_until_finished()
        if self._unchecked is not None:
            self._finish(self._unchecked)

    def close(self) -> None:
        """Waits for the pending save and ends the thread.

        Raises:
            OSError: the save failed.
        """
        try:
            self.wait_until_finished()
        finally:
            self._thread.shutdown()
            self._orbax.close()
            self._stack.close()

    @staticmethod
    def check(state: PyTree) -> None:
        """Checks that a state can be saved; :meth:`save` does the same.

        Raises:
            ValueError: leaves that are not arrays, that have a dtype which Orbax or JAX does not
                have, or whose names clash.

        >>> CheckpointManager.check({"rate": 0.1})
        Traceback (most recent call last):
        ValueError: the state cannot be saved:
          rate is of type float, expected an array (jnp.asarray)
        """
        check_savable(state)

    def save(
        self,
        state: PyTree,
        metadata: Mapping[str, Any] | None = None,
        *,
        after: "CheckpointManager | None" = None,
        copy: bool = True,
    ) -> None:
        """Saves a state under its own step number, unless that step is on disk already.

        The state is copied on its device; a thread does the rest. A pending save is waited for.

        Args:
            state: pytree of arrays with a field ``step``.
            metadata: JSON values to keep with it.
            after: write only when the pending save of this other manager is on disk.
            copy: copy the state, so that its buffers may be donated when this returns.

        Raises:
            ValueError: the state cannot be saved, see :meth:`check`, or metadata are not JSON.
            OSError: the pending save failed.
        """
        step = int(state.step)
        if step in self.all_steps():
            return
        check_savable(state)
        try:  # also a copy: the caller may change it while the thread writes
            metadata = json.loads(json.dumps(dict(metadata or {})))
        except (TypeError, ValueError) as error:
            raise ValueError(f"metadata must be JSON values: {error}.") from error
        if copy:
            # not views, as Orbax would take on CPU: they make XLA copy every donated buffer, slowly
            state = tree.copy(state)
        if self._inline:
            if after is not None:
                after.wait_until_finished()
            self._write(step, state, metadata, None)
        else:
            previous = None if after is None else after._pending
            self._pending = self._thread.submit(self._write, step, state, metadata, previous)

    def _write(
        self, step: int, state: PyTree, metadata: Mapping[str, Any], previous: Future[None] | None
    ) -> None:
        import orbax.checkpoint as ocp

        if previous is not None:
            previous.result()
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(with_placeholders(state)),
            content=ocp.args.JsonSave(make_content(state, metadata)),
        )
        try:
            with quiet():
                self._orbax.save(step, args=arguments, force=True)
        except Exception as error:  # Orbax raises many kinds
            raise self._failed(step, error) from error
        self._unchecked = step
        if not self._inline:
            self._finish(step)

    def _finish(self, step: int) -> None:
        """Reads a new checkpoint back, then deletes the oldest ones."""
        self._unchecked = None
        folder = self._path / str(step)
        try:
            info = read_info(folder)
            if info.step != step:
                raise ValueError(f"its step is {info.step}")
            check_stored(folder / "state", len(info.structure))
        except Exception as error:
            with contextlib.suppress(Exception):
                self._orbax.delete(step)
            raise self._failed(step, error) from error
        others = sorted(set(self._orbax.all_steps()) - {step})
        for old in others[: max(len(others) + 1 - self._keep, 0)]:
            self._orbax.delete(old)

    def _failed(self, step: int, error: Exception) -> OSError:
        with contextlib.suppress(OSError):
            remove_unfinished(self._path, step)
        return OSError(
            f"the checkpoint {self.directory / str(step)} was not written: {reason_of(error)}; "
            "older ones are kept."
        )

    def restore(
        self, target: PyTree, *, step: int | None = None, set_aside_damaged: bool = False
    ) -> tuple[PyTree, dict[str, Any]]:
        """Restores the newest checkpoint that can be read, or that of a given step.

        A damaged checkpoint is reported as a warning and the one before it is used. The number and
        kind of devices may differ from those it was saved on.

        Args:
            target: a state of the same structure, concrete or from ``jax.eval_shape``: sets dtypes
                and, where its leaves have a sharding, devices; else the first device.
            step: restore only this step; damage is then an error.
            set_aside_damaged: move damaged checkpoints into ``damaged/`` beside the folder, so that
                training can write their steps again.

        Returns:
            the state and the metadata that was saved with it.

        Raises:
            FileNotFoundError: no checkpoint (of that step).
            StructureMismatchError: the checkpoint holds another model or optimizer; the message
                names the leaves that differ.
            ValueError: all checkpoints are damaged.
        """
        steps = sorted(self.all_steps(), reverse=True)
        if step is not None:
            steps = [step] if step in steps else []
        if not steps:
            asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise FileNotFoundError(f"{asked} in {self.directory}; found {self.all_steps()}.")
        folders = [self.directory / str(step) for step in steps]
        restored, damaged = newest_readable(folders, lambda folder: self._read(folder, target))
        if set_aside_damaged and damaged:
            _set_aside(damaged)
            self._orbax.reload()
        return restored

    def _read(self, folder: Path, target: PyTree) -> tuple[PyTree, dict[str, Any]]:
        import orbax.checkpoint as ocp

        info = read_info(folder)
        differences = tree.differences(tree.describe(target), info.structure)
        if differences:
            raise StructureMismatchError(
                f"the checkpoint {folder} holds another model or optimizer than this one:\n"
                f"  {shorten_lines(differences)}\n"
                "Resume with the configuration of the run, or choose another folder. To read its "
                "weights alone, use checkpoint.restore_weights, which can convert them (dtype=) "
                "and load those that fit (partial=True)."
            )
        forms = _forms(target)
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(with_placeholders(forms)))
        with quiet():
            state = self._orbax.restore(int(folder.name), args=arguments)["state"]
        state = jax.tree.map(lambda form, leaf: leaf if form.size else _zeros(form), forms, state)
        verify(tree.named_leaves(state), info)
        return state, info.metadata


def _forms(target: PyTree) -> PyTree:
    """Returns shape, dtype and sharding of every leaf, the first device by default."""
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or default
        ),
        target,
    )


def _zeros(form: jax.ShapeDtypeStruct) -> jax.Array:
    return jax.device_put(jnp.zeros(form.shape, form.dtype), form.sharding)


def _set_aside(folders: Iterable[Path]) -> None:
    for folder in folders:
        target = folder.parents[1] / "damaged" / f"{folder.parent.name}-{folder.name}"
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        shutil.move(folder, target)
