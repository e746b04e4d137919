"""Precision-recall curves and the layout of custom scalars."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_shape
from jaxdl.tensorboard.writer import Writer, check_tag, plugin_metadata, write_values

if TYPE_CHECKING:
    from tensorboardX.proto.tensor_pb2 import TensorProto


class Margin(NamedTuple):
    """A line with a band around it: the tags of three scalars."""

    value: str
    lower: str
    upper: str


def write_pr_curve(
    writer: Writer,
    tag: str,
    labels: ArrayLike,
    probabilities: ArrayLike,
    step: int,
    *,
    num_thresholds: int = 127,
    weights: ArrayLike | None = None,
) -> None:
    """Writes precision and recall at thresholds from 0 to 1, for one class against the rest.

    An example counts as found at threshold ``k / (num_thresholds - 1)`` where
    ``floor(probability * (num_thresholds - 1)) >= k``.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"pr/class_3"``.
        labels: (N,) bool, or integers 0 and 1.
        probabilities: (N,) of the positive class, 0 to 1.
        step: position on the slider, in updates.
        num_thresholds: 2 or more.
        weights: (N,) of each example; None weighs all alike.

    Raises:
        ValueError: arrays of different length, labels that are not 0 or 1, probabilities outside
            0 to 1.

    Source: ``SummaryWriter.add_pr_curve``, which has 127 thresholds at most.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_pr_curve(writer, "pr/cat", [1, 0, 1], [0.9, 0.2, 0.6], 1)
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    check_shape("labels", labels, (None,))
    check_shape("probabilities", probabilities, (len(labels),))
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    check_shape("weights", weights, (len(labels),))
    if not len(labels) or not np.isin(labels, (0, 1)).all():
        found = np.unique(labels)[:5].tolist()
        raise ValueError(
            f"labels must be 0 or 1, of one class against the rest (labels == 3), got {found}."
        )
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            "probabilities must lie in 0 to 1, got "
            f"{probabilities.min():g} to {probabilities.max():g}. Apply softmax or sigmoid first."
        )
    if num_thresholds < 2:
        raise ValueError(f"num_thresholds must be 2 or greater, got {num_thresholds}.")
    from tensorboardX.proto.plugin_pr_curve_pb2 import PrCurvePluginData
    from tensorboardX.summary import compute_curve

    curve = compute_curve(labels, probabilities, num_thresholds, weights)
    settings = PrCurvePluginData(version=0, num_thresholds=num_thresholds)
    metadata = plugin_metadata("pr_curves", settings.SerializeToString())
    write_values(writer, [{"tag": tag, "metadata": metadata, "tensor": _floats(curve)}], step)


def write_layout(
    writer: Writer, layout: Mapping[str, Mapping[str, Sequence[str] | Margin]]
) -> None:
    """Arranges scalars in charts of the tab CUSTOM SCALARS; one layout per log folder.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        layout: charts by title by category; a chart is a list of regular expressions for tags,
            whose lines share it, or a :class:`Margin`:
            ``{"Loss": {"both": ["train/loss", "test/loss"]}}``.

    Raises:
        ValueError: a category without charts, a chart without tags.

    Source: ``SummaryWriter.add_custom_scalars``.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_layout(writer, {"Loss": {"both": ["train/loss", "test/loss"]}})
    """
    from tensorboardX.proto import layout_pb2

    categories = []
    for category, charts in layout.items():
        messages = []
        for title, tags in charts.items():
            if isinstance(tags, str) or not tags:
                raise ValueError(
                    f"chart {title!r} must be a list of tags or a Margin, got {tags!r}"
                )
            for tag in tags:
                check_tag(tag)
            if isinstance(tags, Margin):
                series = layout_pb2.MarginChartContent.Series(**tags._asdict())
                content = {"margin": layout_pb2.MarginChartContent(series=[series])}
            else:
                content = {"multiline": layout_pb2.MultilineChartContent(tag=tags)}
            messages.append(layout_pb2.Chart(title=title, **content))
        if not messages:
            raise ValueError(f"category {category!r} must hold at least one chart.")
        categories.append(layout_pb2.Category(title=category, chart=messages))
    from tensorboardX.proto.tensor_pb2 import TensorProto

    config = layout_pb2.Layout(category=categories).SerializeToString()
    tensor = TensorProto(dtype="DT_STRING", string_val=[config])
    content = {
        "tag": "custom_scalars__config__",
        "metadata": plugin_metadata("custom_scalars"),
        "tensor": tensor,
    }
    write_values(writer, [content], 0)


def _floats(array: np.ndarray) -> "TensorProto":
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in array.shape])
    return TensorProto(dtype="DT_FLOAT", float_val=array.reshape(-1), tensor_shape=shape)
