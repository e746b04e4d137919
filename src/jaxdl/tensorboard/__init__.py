"""TensorBoard event files in full, without TensorFlow and torch.

A writer comes from :func:`open_writer`; every ``write_*`` function takes it, a tag, what to show
and the step, checks them, and returns when the event is in the queue of the thread that writes.
tensorboardX is imported with the first writer, not before.
"""

from typing import TYPE_CHECKING

from jaxdl._pytorch_names import explain_names
from jaxdl.tensorboard.embeddings import write_embedding
from jaxdl.tensorboard.graph import write_graph
from jaxdl.tensorboard.histograms import write_histogram
from jaxdl.tensorboard.hparams import write_hparams
from jaxdl.tensorboard.markdown import write_table, write_text
from jaxdl.tensorboard.media import (
    write_audio,
    write_figure,
    write_image,
    write_image_grid,
    write_video,
)
from jaxdl.tensorboard.scalars import write_layout, write_pr_curve
from jaxdl.tensorboard.writer import close_writer, open_writer, write_scalars

__all__ = [
    "close_writer",
    "open_writer",
    "write_audio",
    "write_embedding",
    "write_figure",
    "write_graph",
    "write_histogram",
    "write_hparams",
    "write_image",
    "write_image_grid",
    "write_layout",
    "write_pr_curve",
    "write_scalars",
    "write_table",
    "write_text",
    "write_video",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = explain_names(__name__, __all__)
