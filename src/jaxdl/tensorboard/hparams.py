"""Hyperparameters for the HPARAMS tab of TensorBoard, in the run folder."""

import math
import numbers
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl._files import replacing, write_bytes
from jaxdl.tensorboard.writer import (
    Writer,
    check_tag,
    event_file,
    plugin_metadata,
    write_values,
)

END = ".end"  # of the name of the event file that holds how a run ended


def write_hparams(
    writer: Writer,
    hparams: Mapping[str, object],
    *,
    metrics: Sequence[str] | None = None,
    group: str = "",
) -> None:
    """Writes the hyperparameters of a run.

    Every run folder below the log folder is a row of the table, with the last value of each metric.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        hparams: numbers, bools, strings, None, or sequences of them (shown as text), by name; a
            mapping inside is flattened, ``optimizer/learning_rate``.
        metrics: tags of the scalars to show. TensorBoard takes the columns, hyperparameters too,
            from the first run that gives them, so runs that are compared must give the same. With
            None it shows all hyperparameters and all scalars of all runs.
        group: runs of the same group, e.g. seeds of one setting, share a row, averaged.

    Raises:
        ValueError: no hyperparameter, one that is none of these, or an odd name.

    Source: ``SummaryWriter.add_hparams``, which writes into a separate folder and needs the values
    of the metrics at once.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_hparams(writer, {"learning_rate": 1e-3}, metrics=["test/loss"])
    """
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2

    values = flatten(hparams)
    if not values:
        raise ValueError("hparams must hold at least one value, got none.")
    _empty_ends(writer)
    start = plugin_hparams_pb2.SessionStartInfo(group_name=group, start_time_secs=time.time())
    infos = []
    for name, value in values.items():
        kind, field = _KINDS[type(value)]
        setattr(start.hparams[name], field, value)
        infos.append(api_pb2.HParamInfo(name=name, type=kind))
    if metrics is not None:
        for tag in metrics:
            check_tag(tag)
        names = [api_pb2.MetricName(tag=tag) for tag in metrics]
        shown = [api_pb2.MetricInfo(name=name, display_name=name.tag) for name in names]
        experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=shown)
        _write(writer, "experiment", experiment=experiment)
    _write(writer, "session_start_info", session_start_info=start)


def write_hparams_end(writer: Writer, *, succeeded: bool = True) -> None:
    """Writes the status of a run that has ended; before that it is unknown.

    Of several in a run folder TensorBoard shows the first that it reads. So the status is a
    separate file beside the event file, and a run that resumes (:func:`write_hparams`) or ends
    again empties it. A TensorBoard that has read it before shows it until it is started again.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`; it is flushed.
        succeeded: False for a run that failed.

    Raises:
        OSError: the file cannot be written.
    """
    from tensorboardX.proto import api_pb2, plugin_hparams_pb2
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.record_writer import RecordWriter

    writer.flush()  # TensorBoard may turn to the new file and not come back
    status = api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE
    end = plugin_hparams_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    value = Summary.Value(**_content("session_end_info", session_end_info=end))
    path = event_file(writer)
    path = path.with_name(path.name + END)
    with replacing(path) as temporary:
        file = RecordWriter(str(temporary))
        try:
            for content in ({"file_version": "brain.Event:2"}, {"summary": Summary(value=[value])}):
                file.write(Event(wall_time=time.time(), **content).SerializeToString())
        finally:
            file.close()
    _empty_ends(writer, but=path)


def _empty_ends(writer: Writer, but: Path | None = None) -> None:
    for path in Path(writer.logdir).glob(f"events.*{END}"):
        if path != but:
            write_bytes(path, b"")  # a TensorBoard that reads it would not go on were it removed


_KINDS = {
    str: ("DATA_TYPE_STRING", "string_value"),
    bool: ("DATA_TYPE_BOOL", "bool_value"),
    float: ("DATA_TYPE_FLOAT64", "number_value"),
}


def flatten(hparams: Mapping[str, object], prefix: str = "") -> dict[str, str | bool | float]:
    """Hyperparameters as the text, bools and numbers that TensorBoard accepts.

    >>> flatten({"rate": 1, "sizes": (32, 64), "optimizer": {"nesterov": True, "decay": None}})
    {'rate': 1.0, 'sizes': '32, 64', 'optimizer/nesterov': True, 'optimizer/decay': 'None'}
    """
    flat: dict[str, str | bool | float] = {}
    for key, value in hparams.items():
        name = f"{prefix}{key}"
        if not str(key).strip() or name != name.strip() or not name.isprintable():
            raise ValueError(
                "the name of a hyperparameter must be printable text such as 'learning_rate', with "
                f"no space at its ends, got {name!r}."
            )
        if isinstance(value, np.generic | np.ndarray | jax.Array) and value.shape == ():
            value = value.item()
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}/")
        elif isinstance(value, list | tuple):
            flat[name] = ", ".join(map(str, value))
        elif isinstance(value, bool | str):
            flat[name] = value
        elif value is None or (isinstance(value, numbers.Real) and not math.isfinite(value)):
            flat[name] = str(value)
        elif isinstance(value, numbers.Real):
            flat[name] = float(value)
        else:
            raise ValueError(
                f"hyperparameter {name!r} must be a number, bool, string, None, or a sequence or "
                f"mapping of them, got {type(value).__name__}."
            )
    return flat


def _write(writer: Writer, tag: str, **content: Any) -> None:
    write_values(writer, [_content(tag, **content)], 0)


def _content(tag: str, **content: Any) -> dict[str, Any]:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    data = HParamsPluginData(version=0, **content).SerializeToString()
    return {"tag": f"_hparams_/{tag}", "metadata": plugin_metadata("hparams", data)}
