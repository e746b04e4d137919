"""Whole states: written by a thread of their own, and checked on the way back."""

import copy as copies
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import crc32c
import jax
import numpy as np

from jaxdl import tree
from jaxdl.types import PyTree

Result = TypeVar("Result")


class DifferentStructure(ValueError):
    """The checkpoint holds another model or optimizer than the one it is restored into."""


class CheckpointManager:
    """The checkpoints of a folder and the thread that writes them; see :func:`open_manager`.

    Attributes:
        directory: the folder, absolute.
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
        self._pending: Future | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def all_steps(self) -> list[int]:
        """The steps that are there, after the save under way."""
        self.wait_until_finished()
        return sorted(self._orbax.all_steps())

    def is_saving(self) -> bool:
        """Whether a save is under way."""
        return self._pending is not None and not self._pending.done()

    def wait_until_finished(self) -> None:
        """Waits for the save under way and raises what it raised."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
        self._orbax.wait_until_finished()

    def close(self) -> None:
        """Waits and ends the thread."""
        try:
            self.wait_until_finished()
        finally:
            self._thread.shutdown()
            self._orbax.close()


def open_manager(directory: Path | str, *, keep: int) -> CheckpointManager:
    """A :class:`Manager` that keeps the newest ``keep`` checkpoints of a folder.

    Saving is asynchronous; ``wait_until_finished()`` waits for it and ``close()`` ends it. What a
    killed process left half-written is removed.
    """
    return CheckpointManager(directory, keep=keep)


def copy(state: PyTree) -> PyTree:
    """A copy on the same devices, whose buffers outlive the donation of the original's.

    Returns before it is made; a step that is given the original waits for that. Nothing is
    compiled, as ``jnp.copy`` would be for every shape.
    """

    def copy_leaf(leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            device = leaf.sharding if leaf.committed else None
            return jax.device_put(leaf, device, may_alias=False)
        return np.array(leaf)

    return jax.tree.map(copy_leaf, state)


def save(
    manager: CheckpointManager,
    state: PyTree,
    metadata: dict[str, Any] | None = None,
    *,
    after: CheckpointManager | None = None,
    donated: bool = True,
) -> None:
    """Saves a state under its own step number, unless that step is there already.

    The state is copied on its device, which takes milliseconds on a GPU and the time of a memory
    copy on a CPU, of a few while the copy's memory is new; a thread does the rest. A save that is
    still under way is waited for, and what it raised is raised.

    Args:
        manager: from :func:`open_manager`.
        state: pytree of arrays with a field ``step``.
        metadata: JSON values to keep beside it.
        after: write it when the save of that manager is on disk.
        donated: the buffers may be donated as soon as this returns. False saves the copy, where
            nobody will.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    # the thread writes it while the caller goes on changing it
    metadata = copies.deepcopy(metadata or {})
    if donated:
        # not views, as Orbax would take on CPU: they make XLA copy every donated buffer, slowly
        state = copy(state)
    previous = None if after is None else after._pending
    if manager._inline:
        if after is not None:
            after.wait_until_finished()
        _write(manager, step, state, metadata, None)
    else:
        arguments = (manager, step, state, metadata, previous)
        manager._pending = manager._thread.submit(_write, *arguments)


def _write(
    manager: CheckpointManager,
    step: int,
    state: PyTree,
    metadata: dict[str, Any],
    previous: Future | None,
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
    manager._orbax.save(step, args=arguments, force=True)


def restore(
    manager: CheckpointManager,
    like: PyTree,
    *,
    step: int | None = None,
    set_aside_damaged: bool = False,
) -> tuple[PyTree, dict[str, Any]]:
    """The newest checkpoint that can be read, or the one of a given step.

    A damaged checkpoint is reported as a warning and the one before it is used. The number and kind
    of devices may be other than those it was saved on.

    Args:
        manager: from :func:`open_manager`.
        like: a state of the same form, concrete or from ``jax.eval_shape``; says dtypes and, where
            its leaves have a sharding, devices. The first device otherwise.
        step: restore this step only; damage is then an error.
        set_aside_damaged: move damaged checkpoints into ``damaged/`` beside the folder, so that
            training can write their steps again.

    Returns:
        the state and the metadata that was saved with it.

    Raises:
        FileNotFoundError: there is no checkpoint (of that step).
        ValueError: the checkpoint holds another model or optimizer (the leaves that differ are
            named), or all checkpoints are damaged.
    """
    steps = sorted(manager.all_steps(), reverse=True)
    if step is not None:
        steps = [step] if step in steps else []
    if not steps:
        asked = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise FileNotFoundError(
            f"{asked} in {manager.directory}; there are {sorted(manager.all_steps())}."
        )
    folders = [manager.directory / str(step) for step in steps]
    restored, damaged = newest_readable(folders, lambda folder: _restore(manager, folder, like))
    if set_aside_damaged and damaged:
        _set_aside(damaged)
        manager._orbax.reload()
    return restored


def newest_readable(
    folders: Sequence[Path], read: Callable[[Path], Result]
) -> tuple[Result, list[Path]]:
    """What is read from the first folder that is not damaged, and the damaged ones before it."""
    damaged: list[Path] = []
    for folder in folders:
        try:
            return read(folder), damaged
        except DifferentStructure:
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


def _restore(
    manager: CheckpointManager, folder: Path, like: PyTree
) -> tuple[PyTree, dict[str, Any]]:
    import orbax.checkpoint as ocp

    contents = read_contents(folder)
    differences = tree.differences(tree.describe(like), contents.structure)
    if differences:
        raise DifferentStructure(
            f"the checkpoint {folder} holds another model or optimizer than "
            f"this one:\n  {tree.shorten(differences)}\n"
            "Resume with the configuration of the run, or choose another folder. Its weights alone "
            "are read by checkpoint.restore_weights, which can convert them (dtype=) and load "
            "those that fit (partial=True)."
        )
    default = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or default
        ),
        like,
    )
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    state = manager._orbax.restore(int(folder.name), args=arguments)["state"]
    verify(tree.named_leaves(state), contents)
    return state, contents.metadata


class Contents(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
        folder: where it is.
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


def read_contents(folder: Path) -> Contents:
    """Reads what a checkpoint says of itself, without its arrays.

    Args:
        folder: of one step.

    Raises:
        ValueError, OSError, KeyError: it is damaged.
    """
    content = json.loads((folder / "content" / "metadata").read_bytes())
    if "checksum" in content:
        raise DifferentStructure(
            f"the checkpoint {folder} was written by an older version of jaxdl, which had one "
            "checksum for all arrays; go on with that version, or start again in an empty folder."
        )
    if _content_checksum(content) != content["content_checksum"]:
        raise ValueError("its metadata are not those that were saved (checksum)")
    if not content["structure"].keys() == content["checksums"].keys():
        raise ValueError("its structure and its checksums name other leaves")
    content.pop("content_checksum")
    return Contents(folder, **content)


def verify(leaves: dict[str, Any], contents: Contents) -> None:
    """Raises ValueError unless these leaves of a checkpoint are bitwise those that were saved."""
    for name, checksum in checksums(leaves).items():
        form = tree.describe({name: leaves[name]})[name]
        if (form, checksum) != (contents.structure[name], contents.checksums[name]):
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
