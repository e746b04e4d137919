"""Embeddings and their projections for TensorBoard."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_shape
from jaxdl._extras import require
from jaxdl._files import write_bytes, write_text
from jaxdl.tensorboard.grids import make_grid
from jaxdl.tensorboard.media import png, to_pixels
from jaxdl.tensorboard.writer import Writer, check_step, check_tag

MAX_SPRITE = 8192  # pixels: a larger texture is not drawn by browsers


Metadata = Sequence[object] | Mapping[str, Sequence[object]]
"""A label for every vector, or several columns by name."""

CONFIG = "projector_config.pbtxt"


def write_embedding(
    writer: Writer,
    tag: str,
    vectors: ArrayLike,
    step: int,
    *,
    metadata: Metadata | None = None,
    images: ArrayLike | None = None,
) -> None:
    """Writes vectors with metadata and images for the projector of TensorBoard.

    The files lie in ``projector/TAG/STEP`` of the run folder: ``tensors.tsv``, ``metadata.tsv`` and
    ``sprite.png``; ``%20`` stands for a space of the tag, as in an address. What was written for
    the same tag and step before is replaced. TensorBoard reads the list of embeddings when it
    starts.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"fc1"``.
        vectors: (N, D), finite.
        step: in updates.
        metadata: a label for every vector, or several columns by name.
        images: (N, H, W, C), H equal to W, C 1 or 3; uint8 or floating point of 0 to 1.

    Raises:
        ValueError: another shape, metadata or images of another length than the vectors, vectors
            that are not finite, or images that do not fit a sprite: square, with 1 or 3
            channels, together at most 8192 pixels wide.

    Source: ``SummaryWriter.add_embedding(mat, metadata, label_img, metadata_header)``.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_embedding(writer, "codes", np.eye(3),
    ...         1, metadata=["cat", "dog", "bird"])
    """
    check_tag(tag)
    step = check_step(step)
    vectors = np.asarray(vectors).astype(np.float32)
    check_shape("vectors", vectors, (None, None))
    if not np.isfinite(vectors).all():
        bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise ValueError(f"vectors must be finite, got NaN or infinity in row {bad}.")
    columns = _columns(metadata, len(vectors))
    sprite = None if images is None else _sprite(images, len(vectors))

    run = Path(writer.logdir)
    folder = Path("projector", folder_name(tag), f"{step:08d}")
    (run / folder).mkdir(parents=True, exist_ok=True)
    line = "\t".join(["%.9g"] * vectors.shape[1])
    lines = [line % tuple(row) for row in vectors.tolist()]
    write_text(run / folder / "tensors.tsv", "\n".join(lines) + "\n")
    fields: dict[str, object] = {
        "tensor_name": f"{tag} at {step}",
        "tensor_path": f"{folder.as_posix()}/tensors.tsv",
        "tensor_shape": vectors.shape,
    }
    if columns:
        header = ["\t".join(columns)] if len(columns) > 1 else []
        rows = ["\t".join(row) for row in zip(*columns.values(), strict=True)]
        write_text(run / folder / "metadata.tsv", "\n".join(header + rows) + "\n")
        fields["metadata_path"] = f"{folder.as_posix()}/metadata.tsv"
    if sprite is not None:
        write_bytes(run / folder / "sprite.png", png(sprite))
        fields["sprite"] = {
            "image_path": f"{folder.as_posix()}/sprite.png",
            "single_image_dim": np.asarray(images).shape[2:0:-1],
        }
    _add_to_config(run / CONFIG, fields)


def folder_name(tag: str) -> str:
    """The folder name of a tag; distinct for distinct tags.

    >>> folder_name("fc1"), folder_name("net/fc 1"), folder_name("..")
    ('fc1', 'net%2Ffc%201', '%2E%2E')
    """
    if not tag.strip("."):
        return tag.replace(".", "%2E")
    return re.sub(r"[^\w.-]", lambda found: quote(found[0], safe=""), tag)


def makes_sprite(shape: Sequence[int]) -> bool:
    """Returns True if :func:`write_embedding` takes images of this shape.

    They are square, have 1 or 3 channels, and together are at most 8192 pixels wide.

    Args:
        shape: (N, H, W, C).

    >>> makes_sprite((10000, 28, 28, 1)), makes_sprite((10000, 96, 96, 3))
    (True, False)
    """
    try:
        _check_sprite(tuple(shape))
    except ValueError:
        return False
    return True


def _columns(metadata: Metadata | None, number: int) -> dict[str, list[str]]:
    if metadata is None:
        return {}
    columns = metadata if isinstance(metadata, Mapping) else {"label": metadata}
    for name, column in columns.items():
        got = repr(column) if isinstance(column, str | bytes) else len(column)
        if got != number:
            raise ValueError(
                f"metadata {name!r} must have {number} entries, one per vector, got {got}."
            )
    # tabs and line breaks would end a cell
    return {
        " ".join(str(name).split()): [" ".join(str(entry).split()) for entry in column]
        for name, column in columns.items()
    }


def _sprite(images: ArrayLike, number: int) -> np.ndarray:
    """All images in one, row after row, as many columns as rows and no border."""
    pixels = to_pixels("images", np.asarray(images), 4)
    if len(pixels) != number:
        raise ValueError(f"images must be {number}, one a vector, got {len(pixels)}.")
    columns = _check_sprite(pixels.shape)
    sprite = make_grid(pixels, num_columns=columns, padding=0)
    return sprite[..., :1] if pixels.shape[-1] == 1 else sprite


def _check_sprite(shape: tuple[int, ...]) -> int:
    """Raises ValueError unless images (N, H, W, C) make a sprite; returns its number of columns."""
    if len(shape) != 4 or shape[-1] not in (1, 3) or 0 in shape:
        raise ValueError(f"images must have shape (N, H, W, 1 or 3), got {shape}.")
    number, height, width, _ = shape
    if height != width:
        raise ValueError(f"images must be square, got {height} x {width}.")
    columns = math.ceil(math.sqrt(number))
    if columns * width > MAX_SPRITE:
        raise ValueError(
            f"{number} images of {width} pixels need a sprite of more than {MAX_SPRITE} pixels a "
            f"side, which browsers do not draw. Write {(MAX_SPRITE // width) ** 2} or make them "
            "smaller."
        )
    return columns


def _add_to_config(path: Path, fields: Mapping[str, object]) -> None:
    require("tensorboard", "write_embedding")
    from google.protobuf import text_format  # type: ignore[import-untyped]
    from tensorboard.plugins.projector import (  # type: ignore[import-untyped]
        projector_config_pb2,
    )

    config = projector_config_pb2.ProjectorConfig()
    if path.exists():
        text_format.Parse(path.read_text(encoding="utf-8"), config)
    for embedding in config.embeddings:
        if embedding.tensor_name == fields["tensor_name"]:
            config.embeddings.remove(embedding)
            break
    config.embeddings.add(**fields)
    write_text(path, text_format.MessageToString(config))
