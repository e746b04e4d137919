"""Checkpoints by Orbax: the whole state and a little JSON, checked on the way back.

A folder of checkpoints holds one sub-folder a step. Beside the arrays each keeps the names, shapes
and dtypes of the state and a checksum of its bytes, so that another model is told from a damaged
file, and a damaged file from a good one.
"""

import copy
import json
import shutil
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl import tree
from jaxdl.types import PyTree


def open_manager(directory: Path | str, *, keep: int) -> Any:
    """An Orbax ``CheckpointManager`` that keeps the newest ``keep`` checkpoints of a folder.

    Saving is asynchronous; ``wait_until_finished()`` waits for it and ``close()`` ends it. What a
    killed process left half-written is removed.
    """
    import orbax.checkpoint as ocp

    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(directory, options=options)


def save(manager: Any, state: PyTree, metadata: dict[str, Any] | None = None) -> None:
    """Saves a state under its own step number, unless that step is there already.

    Args:
        manager: from :func:`open_manager`.
        state: pytree of arrays with a field ``step``; copied before this returns, so its buffers
            may be donated at once.
        metadata: JSON values to keep beside it.
    """
    import orbax.checkpoint as ocp

    step = int(state.step)
    if step in manager.all_steps():
        return
    content = {
        # a copy: Orbax writes it in a thread of its own while the caller goes on changing it
        "metadata": copy.deepcopy(metadata or {}),
        "structure": tree.describe(state),
        "checksum": _checksum(state),
    }
    content["content_checksum"] = _content_checksum(content)
    arguments = ocp.args.Composite(
        state=ocp.args.StandardSave(state), content=ocp.args.JsonSave(content)
    )
    manager.save(step, args=arguments, force=True)


def restore(
    manager: Any, like: PyTree, *, step: int | None = None, set_aside_damaged: bool = False
) -> tuple[PyTree, dict[str, Any]]:
    """The newest checkpoint that can be read, or the one of a given step.

    A damaged checkpoint is reported as a warning and the one before it is used.

    Args:
        manager: from :func:`open_manager`.
        like: a state of the same form, concrete or from ``jax.eval_shape``; says dtypes and, where
            its leaves are arrays, devices.
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
    damaged = []
    for candidate in steps:
        try:
            restored = _restore(manager, candidate, like)
        except DifferentStructure:
            raise
        except Exception as error:  # Orbax raises many kinds for a damaged file
            if step is not None:
                raise ValueError(_damage(manager, candidate, error)) from error
            warnings.warn(
                f"{_damage(manager, candidate, error)} Using the one before it.", stacklevel=2
            )
            damaged.append(candidate)
            continue
        if set_aside_damaged and damaged:
            _set_aside(manager, damaged)
        return restored
    raise ValueError(
        f"all checkpoints in {manager.directory} are damaged (steps {sorted(steps)}); "
        "start again in an empty folder."
    )


class DifferentStructure(ValueError):
    """The checkpoint holds another model or optimizer than the one it is restored into."""


def _restore(manager: Any, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
    import orbax.checkpoint as ocp

    content = manager.restore(step, args=ocp.args.Composite(content=ocp.args.JsonRestore()))[
        "content"
    ]
    if _content_checksum(content) != content["content_checksum"]:
        raise ValueError("its metadata are not those that were saved (checksum)")
    differences = tree.differences(tree.describe(like), content["structure"])
    if differences:
        raise DifferentStructure(
            f"the checkpoint {manager.directory / str(step)} holds another model or optimizer than "
            f"this one:\n  {tree.shorten(differences)}\n"
            "Resume with the configuration of the run, or choose another folder."
        )
    target = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None)
        ),
        like,
    )
    arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
    state = manager.restore(step, args=arguments)["state"]
    if _checksum(state) != content["checksum"]:
        raise ValueError("its bytes are not those that were saved (checksum)")
    return state, content["metadata"]


def _damage(manager: Any, step: int, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return f"the checkpoint {manager.directory / str(step)} is damaged: {reason}."


def _set_aside(manager: Any, steps: list[int]) -> None:
    directory = Path(manager.directory)
    for step in steps:
        target = directory.parent / "damaged" / f"{directory.name}-{step}"
        target.parent.mkdir(exist_ok=True)
        if target.exists():
            shutil.rmtree(target)
        shutil.move(directory / str(step), target)
    manager.reload()


def _content_checksum(content: dict[str, Any]) -> int:
    parts = [content["metadata"], content["structure"], content["checksum"]]
    return zlib.crc32(json.dumps(parts, sort_keys=True).encode())


def _checksum(state: PyTree) -> int | None:
    """CRC-32 of all bytes; None where a part of the state lives on another process's devices."""
    checksum = 0
    for leaf in tree.named_leaves(state).values():
        if not leaf.is_fully_addressable:
            return None
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        checksum = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, checksum)
    return checksum
