"""Text, Markdown and tables in TensorBoard."""

from collections.abc import Sequence
from typing import Any

import jax

from jaxdl import tree
from jaxdl._text import align_table
from jaxdl.tensorboard.writer import Writer, plugin_metadata, write_values
from jaxdl.types import PyTree


def write_text(writer: Writer, tag: str, text: str, step: int = 0) -> None:
    """Writes a text, which TensorBoard reads as Markdown.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"samples/generated"``.
        text: any.
        step: in updates.

    Source: ``SummaryWriter.add_text``, which appends ``/text_summary`` to the tag.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_text(writer, "notes", "**Adam**, 5 epochs")
    """
    from tensorboardX.proto.tensor_pb2 import TensorProto

    if not isinstance(text, str):
        raise ValueError(f"the text {tag!r} must be a str, got {type(text).__name__}.")
    tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()])
    content = {"tag": tag, "metadata": plugin_metadata("text"), "tensor": tensor}
    write_values(writer, [content], step)


def write_table(
    writer: Writer, tag: str, header: Sequence[str], rows: Sequence[Sequence[object]], step: int = 0
) -> None:
    """Writes a table as Markdown, numbers to the right.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"results"``.
        header: names of the columns.
        rows: one entry per column; integers get commas, the rest is ``str(entry)``.
        step: in updates.

    Raises:
        ValueError: a row of another length than the header.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_table(writer, "sizes", ["layer", "parameters"], [["Dense_0", 7850]])
    """
    write_text(writer, tag, align_table(header, rows, markdown=True), step)


def write_parameter_table(writer: Writer, tag: str, params: PyTree, step: int = 0) -> None:
    """Writes name, shape, dtype, count and bytes of every parameter, and their sums.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"parameters"``.
        params: pytree of arrays or ``jax.ShapeDtypeStruct``.
        step: in updates.
    """
    write_text(writer, tag, parameter_table(params), step)


def parameter_table(params: PyTree) -> str:
    """Name, shape, dtype, count and bytes of every parameter in Markdown, and their sums.

    >>> import jax.numpy as jnp
    >>> print(parameter_table({"Conv_0": {"kernel": jnp.ones((3, 3, 1, 16))}}).splitlines()[2])
    | Conv_0/kernel | 3 × 3 × 1 × 16 | float32 |   144 |   576 |
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
    return align_table(["name", "shape", "dtype", "count", "bytes"], rows, markdown=True)
