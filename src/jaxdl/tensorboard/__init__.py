"""What TensorBoard shows: event files in full, without TensorFlow and torch.

A writer comes from :func:`open_writer`; every ``write_*`` function takes it, a tag, what to show
and the step, checks them, and returns when the event is in the queue of the thread that writes.
tensorboardX is imported with the first writer, not before.
"""

from jaxdl.tensorboard.curves import Margin, write_layout, write_pr_curve
from jaxdl.tensorboard.embeddings import makes_sprite, write_embedding
from jaxdl.tensorboard.graph import model_graph, write_graph
from jaxdl.tensorboard.grids import feature_grid, filter_grid, input_grid, make_grid
from jaxdl.tensorboard.histograms import Buckets, bucket_counts, write_buckets, write_histogram
from jaxdl.tensorboard.hparams import write_hparams, write_hparams_end
from jaxdl.tensorboard.media import (
    write_audio,
    write_figure,
    write_image,
    write_image_grid,
    write_video,
)
from jaxdl.tensorboard.projections import pca, tsne
from jaxdl.tensorboard.text import (
    markdown_table,
    parameter_table,
    write_parameter_table,
    write_table,
    write_text,
)
from jaxdl.tensorboard.writer import (
    close_writer,
    flush_writer,
    one_event,
    open_writer,
    write_scalars,
)

__all__ = [
    "Buckets",
    "Margin",
    "bucket_counts",
    "close_writer",
    "feature_grid",
    "filter_grid",
    "flush_writer",
    "input_grid",
    "make_grid",
    "makes_sprite",
    "markdown_table",
    "model_graph",
    "one_event",
    "open_writer",
    "parameter_table",
    "pca",
    "tsne",
    "write_audio",
    "write_buckets",
    "write_embedding",
    "write_figure",
    "write_graph",
    "write_histogram",
    "write_hparams",
    "write_hparams_end",
    "write_image",
    "write_image_grid",
    "write_layout",
    "write_parameter_table",
    "write_pr_curve",
    "write_scalars",
    "write_table",
    "write_text",
    "write_video",
]
