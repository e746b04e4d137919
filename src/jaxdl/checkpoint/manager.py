"""Whole states: written by a thread of their own, and checked on the way back."""

import copy as copies
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import crc32c
import jax
import numpy as np

from jaxdl import tree
from jaxdl.types import PyTree

Result = TypeVar("Result")


class StructureMismatchError(ValueError):
    """The checkpoint holds another model or optimizer than the one it is restored into."""


class CheckpointManager:
    """Checkpoints of whole states in a folder, one sub-folder per step.

    Saving is asynchronous: a thread writes while training goes on. What a killed process left
    half-written is removed on opening.

    Args:
        directory: the folder; created if needed.
        keep: number of checkpoints to keep, the newest.

    Attributes:
        directory: the folder, absolute.

    Source: ``orbax.checkpoint.CheckpointManager``; adds checksums and a fallback to the checkpoint
    before a damaged one.

    >>> import tempfile
    >>> import jax.numpy as jnp
    >>> from jaxdl import TrainState
    >>> state = TrainState(jnp.int32(3), {"w": jnp.ones(2)}, {}, (), jax.random.key(0))
    >>> with CheckpointManager(tempfile.mkdtemp(), keep=2) as manager:
    ...     manager.save(state, {"loss": 0.5})
    ...     restored, metadata = manager.restore(state)
    >>> int(restored.step), metadata
    (3, {'loss': 0.5})
    """

    def __init__(self, directory: Path | str, *, keep: int):
        import orbax.checkpoint as ocp

        self.directory = Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        # several processes save together, so each in its main thread; Orbax's own thread writes
        self._inline = jax.process_count() > 1
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            enable_async_checkpointing=self._inline,
        )
        self._orbax = ocp.CheckpointManager(self.directory, options=options)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all_steps(self) -> list[int]:
        """Returns the steps that are on disk, in order, after waiting for a pending save."""
        self.wait_until_finished()
        return sorted(self._orbax.all_steps())

    def latest_step(self) -> int | None:
        """Returns the newest step on disk, or None."""
        return max(self.all_steps(), default=None)

    def is_saving(self) -> bool:
        """Returns True while a save is pending."""
        return self._pending is not None and not self._pending.done()

    def wait_until_finished(self) -> None:
        """Waits for the pending save and raises its error, if any."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        self._orbax.wait_until_finished()

    def close(self) -> None:
        """Waits for the pending save and ends the thread."""
        try:
            self.wait_until_finished()
        finally:
            self._thread.shutdown()
            self._orbax.close()

    def save(
        self,
        state: PyTree,
        metadata: Mapping[str, Any] | None = None,
        *,
        after: "CheckpointManager | None" = None,
        copy: bool = True,
    ) -> None:
        """Saves a state under its own step number, unless that step is on disk already.

        The state is copied on its device; a thread does the rest. A pending save is waited for, and
        its error is raised.

        Args:
            state: pytree of arrays with a field ``step``.
            metadata: JSON values to keep with it.
            after: write only when the pending save of this other manager is on disk.
            copy: copy the state, so that its buffers may be donated when this returns.
        """
        step = int(state.step)
        if step in self.all_steps():
            return
        # the thread writes it while the caller may change it
        metadata = copies.deepcopy(dict(metadata or {}))
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
        self, step: int, state: PyTree, metadata: dict[str, Any], previous: "Future[None] | None"
    ) -> None:
        import orbax.checkpoint as ocp

        if previous is not None:
            previous.result()
        content = {
            "step": step,
            "metadata": metadata,
            "structure": tree.describe(state),
            "checksums": checksums(tree.named_leaves(state)),
        }
        content["content_checksum"] = _content_checksum(content)
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(state), content=ocp.args.JsonSave(content)
        )
        self._orbax.save(step, args=arguments, force=True)

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
                f"  {tree.shorten(differences)}\n"
                "Resume with the configuration of the run, or choose another folder. To read its "
                "weights alone, use checkpoint.restore_weights, which can convert them (dtype=) "
                "and load those that fit (partial=True)."
            )
        default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        forms = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or default
            ),
            target,
        )
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(forms))
        state = self._orbax.restore(int(folder.name), args=arguments)["state"]
        verify(tree.named_leaves(state), info)
        return state, info.metadata


def newest_readable(
    folders: Sequence[Path], read: Callable[[Path], Result]
) -> tuple[Result, list[Path]]:
    """What is read from the first folder that is not damaged, and the damaged ones before it."""
    damaged: list[Path] = []
    for folder in folders:
        try:
            return read(folder), damaged
        except StructureMismatchError:
            raise
        except Exception as error:  # Orbax raises many kinds for a damaged file
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            message = f"the checkpoint {folder} is damaged: {reason}."
            if len(folders) == 1:
                raise ValueError(message) from error
            warnings.warn(f"{message} Using the one before it.", stacklevel=4)
            damaged.append(folder)
    names = ", ".join(folder.name for folder in damaged)
    raise ValueError(
        f"all checkpoints in {folders[0].parent} are damaged (steps {names}); "
        "start again in an empty folder."
    )


class CheckpointInfo(NamedTuple):
    """Description of a checkpoint, without its arrays.

    Attributes:
        folder: its folder.
        step: number of updates.
        metadata: the JSON values that were saved with it; of a run the row of ``metrics.jsonl``
            (best) or the whole history (last).
        structure: dtype and shape of every leaf by name, ``"float32[3, 2]"``.
        checksums: CRC-32C of every leaf's bytes by name; None where a part of it was on another
            process's devices.
    """

    folder: Path
    step: int
    metadata: dict[str, Any]
    structure: dict[str, str]
    checksums: dict[str, int | None]


def read_info(folder: Path) -> CheckpointInfo:
    """Reads the description of a checkpoint.

    Args:
        folder: of one step.

    Raises:
        ValueError, OSError, KeyError: it is damaged.
    """
    content = json.loads((folder / "content" / "metadata").read_bytes())
    if "checksum" in content:
        raise StructureMismatchError(
            f"the checkpoint {folder} was written by an older version of jaxdl, which had one "
            "checksum for all arrays; go on with that version, or start again in an empty folder."
        )
    if _content_checksum(content) != content["content_checksum"]:
        raise ValueError("its metadata are not those that were saved (checksum)")
    if not content["structure"].keys() == content["checksums"].keys():
        raise ValueError("its structure and its checksums name other leaves")
    content.pop("content_checksum")
    return CheckpointInfo(folder, **content)


def verify(leaves: dict[str, Any], info: CheckpointInfo) -> None:
    """Raises ValueError unless these leaves of a checkpoint are bitwise those that were saved."""
    for name, checksum in checksums(leaves).items():
        form = tree.describe({name: leaves[name]})[name]
        if (form, checksum) != (info.structure[name], info.checksums[name]):
            raise ValueError(f"the bytes of {name} are not those that were saved (checksum)")


def _set_aside(folders: Iterable[Path]) -> None:
    for folder in folders:
        target = folder.parents[1] / "damaged" / f"{folder.parent.name}-{folder.name}"
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        shutil.move(folder, target)


def _content_checksum(content: dict[str, Any]) -> int:
    parts = [content[name] for name in ("step", "metadata", "structure", "checksums")]
    return crc32c.crc32c(json.dumps(parts, sort_keys=True).encode())


def checksums(leaves: dict[str, Any]) -> dict[str, int | None]:
    """CRC-32C of every leaf's bytes; None where a part is on another process's devices."""
    result: dict[str, int | None] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            result[name] = None
            continue
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        result[name] = crc32c.crc32c(np.ascontiguousarray(leaf).view(np.uint8).data)
    return result
