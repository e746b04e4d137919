"""Descriptions and checksums of checkpoints."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import crc32c
import jax
import numpy as np

from jaxdl import tree
from jaxdl.types import Array, PyTree

Result = TypeVar("Result")


class StructureMismatchError(ValueError):
    """The checkpoint holds another model or optimizer than the target."""


class CheckpointInfo(NamedTuple):
    """Description of a checkpoint.

    Attributes:
        folder: its folder.
        step: number of updates.
        metadata: JSON values that were saved with it; for a run, the row of ``metrics.jsonl``
            (best) or the whole history (last).
        structure: dtype and shape of every leaf by name, ``"float32[3, 2]"``.
        checksums: CRC-32C of every leaf's bytes by name; None if a part of the leaf was on another
            process's devices.
    """

    folder: Path
    step: int
    metadata: dict[str, Any]
    structure: dict[str, str]
    checksums: dict[str, int | None]


def make_content(state: PyTree, metadata: Mapping[str, object]) -> dict[str, object]:
    """Returns the content saved beside a state: its description and a checksum of it."""
    content: dict[str, object] = {
        "step": int(state.step),
        "metadata": metadata,
        "structure": tree.describe(state),
        "checksums": checksums(tree.named_leaves(state)),
    }
    return content | {"content_checksum": _content_checksum(content)}


def read_info(folder: Path) -> CheckpointInfo:
    """Reads the description of the checkpoint in a step folder.

    Raises:
        StructureMismatchError: it was written by an older version of jaxdl.
        Exception: any kind, if it is damaged; see :func:`newest_readable`.
    """
    content = json.loads((folder / "content" / "metadata").read_bytes())
    if "checksum" in content:
        raise StructureMismatchError(
            f"the checkpoint {folder} was written by an older version of jaxdl, with one checksum "
            "for all arrays; continue with that version, or start again in an empty folder."
        )
    if _content_checksum(content) != content.pop("content_checksum"):
        raise ValueError("checksum mismatch in its metadata")
    if not content["structure"].keys() == content["checksums"].keys():
        raise ValueError("its structure and checksums list different leaves")
    if type(content["step"]) is not int or not isinstance(content["metadata"], dict):
        raise ValueError("its step is not an integer, or its metadata are not an object")
    return CheckpointInfo(folder, **content)


def newest_readable(
    folders: Sequence[Path], read: Callable[[Path], Result]
) -> tuple[Result, list[Path]]:
    """Reads the first undamaged folder; also returns the damaged ones before it."""
    damaged: list[Path] = []
    for folder in folders:
        try:
            return read(folder), damaged
        except StructureMismatchError:
            raise
        except Exception as error:  # Orbax raises many kinds of errors for a damaged file
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


def verify(leaves: Mapping[str, Array], info: CheckpointInfo) -> None:
    """Raises ValueError if the checksum of a leaf differs from the saved one."""
    forms = tree.describe(dict(leaves))
    for name, checksum in checksums(leaves).items():
        if (forms[name], checksum) != (info.structure[name], info.checksums[name]):
            raise ValueError(f"checksum mismatch in {name}")


def checksums(leaves: Mapping[str, Array]) -> dict[str, int | None]:
    """CRC-32C of every leaf's bytes; None if a part is on another process's devices."""
    result: dict[str, int | None] = {}
    for name, leaf in leaves.items():
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            result[name] = None
            continue
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        result[name] = crc32c.crc32c(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return result


def _content_checksum(content: Mapping[str, object]) -> int:
    parts = [content[name] for name in ("step", "metadata", "structure", "checksums")]
    return int(crc32c.crc32c(json.dumps(parts, sort_keys=True).encode()))
