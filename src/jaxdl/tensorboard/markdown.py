"""Text, Markdown and tables in TensorBoard."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxdl import tree
from jaxdl.tensorboard.writer import plugin_metadata, write_values
from jaxdl.types import PyTree


def write_text(writer: Any, tag: str, text: str, step: int = 0) -> None:
    """Writes a text, which TensorBoard reads as Markdown.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"samples/generated"``.
        text: any.
        step: in updates.

    Source: ``SummaryWriter.add_text``, which appends ``/text_summary`` to the tag.
    """
    from tensorboardX.proto.tensor_pb2 import TensorProto

    if not isinstance(text, str):
        raise ValueError(f"the text {tag!r} must be a str, got {type(text).__name__}.")
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    content = {"tag": tag, "metadata": plugin_metadata("text"), "tensor": tensor}
    write_values(writer, [content], step)


def write_table(
    writer: Any, tag: str, header: Sequence[str], rows: Sequence[Sequence[Any]], step: int = 0
) -> None:
    """Writes a table as Markdown, see :func:`markdown_table`."""
    write_text(writer, tag, markdown_table(header, rows), step)


def write_parameter_table(writer: Any, tag: str, params: PyTree, step: int = 0) -> None:
    """Writes name, shape, dtype, count and bytes of every parameter, and their sums.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"parameters"``.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        step: in updates.
    """
    write_text(writer, tag, parameter_table(params), step)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in Markdown; numbers stand to the right.

    Args:
        header: names of the columns.
        rows: each with one entry a column; written with ``str``, integers with commas.

    Raises:
        ValueError: a row of another length than the header.

    >>> print(markdown_table(["name", "count"], [["Dense_0/bias", 4640]]))
    | name | count |
    | --- | ---: |
    | Dense_0/bias | 4,640 |
    """
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"row {index} must have {len(header)} entries, one for each of {list(header)}, "
                f"got {len(row)}."
            )
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    is_number = [bool(column) and all(map(_is_number, column)) for column in columns]
    lines = [list(header), ["---:" if right else "---" for right in is_number], *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def parameter_table(params: PyTree) -> str:
    """Name, shape, dtype, count and bytes of every parameter in Markdown, and their sums.

    >>> import jax.numpy as jnp
    >>> print(parameter_table({"Conv_0": {"kernel": jnp.ones((3, 3, 1, 16))}}).splitlines()[2])
    | Conv_0/kernel | 3 × 3 × 1 × 16 | float32 | 144 | 576 |
    """
    rows: list[list[Any]] = [
        [
            name,
            " × ".join(map(str, leaf.shape)) or "scalar",
            str(leaf.dtype),
            leaf.size,
            leaf.size * leaf.dtype.itemsize,
        ]
        for name, leaf in tree.named_leaves(params).items()
    ]
    leaves = len(jax.tree.leaves(params))
    rows.append([f"**{leaves} tensors**", "", "", *(sum(row[i] for row in rows) for i in (3, 4))])
    return markdown_table(["name", "shape", "dtype", "count", "bytes"], rows)


def _is_number(entry: Any) -> bool:
    return isinstance(entry, int | float | np.number) and not isinstance(entry, bool)


def _cell(entry: Any) -> str:
    if isinstance(entry, int | np.integer) and not isinstance(entry, bool):
        return f"{entry:,}"
    return " ".join(str(entry).replace("|", "\\|").split("\n"))
