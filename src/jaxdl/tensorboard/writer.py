"""TensorBoard event files, written by tensorboardX in a thread: no TensorFlow, no torch."""

import contextlib
import functools
import numbers
import operator
import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

import numpy as np

from jaxdl._checks import check_positive

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

Writer: TypeAlias = "SummaryWriter | Any"
"""A writer of :func:`open_writer`, or a :class:`Gathered` in its place."""

_KINDS = {"simple_value": "scalars", "histo": "histograms", "image": "images", "audio": "audio"}


def open_writer(
    workdir: Path | str,
    *,
    resume_step: int | None = None,
    flush_seconds: float = 30.0,
    max_queue: int = 100,
) -> "SummaryWriter":
    """A ``tensorboardX.SummaryWriter`` on a run folder; end it with :func:`close_writer`.

    It is a context manager, and closes at the end of ``with``. A thread writes the file: a
    ``write_*`` function returns when its event is in the thread's queue.

    Args:
        workdir: run folder; ``tensorboard --logdir`` on it or on any folder above shows it.
        resume_step: of a run that resumes after this step; TensorBoard drops events of later steps
            from earlier files, so nothing is drawn twice.
        flush_seconds: events are on disk at the latest after this many seconds.
        max_queue: events that may wait for the thread; a further one waits for space.

    Raises:
        OSError: the folder cannot be made or written; the message names it.

    Source: ``torch.utils.tensorboard.SummaryWriter(log_dir, purge_step, max_queue, flush_secs)``.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with open_writer(folder) as writer:
    ...     write_scalars(writer, {"train/loss": 0.5}, step=1)
    >>> [path.name.split(".")[0] for path in folder.iterdir()]
    ['events']
    """
    check_positive(flush_seconds=flush_seconds, max_queue=max_queue)
    from tensorboardX import SummaryWriter

    purge_step = None if resume_step is None else resume_step + 1
    try:
        # File names have whole seconds: two writers of one second would share, and empty, a file.
        number = len(list(Path(workdir).glob("events.*")))
        writer = SummaryWriter(
            str(workdir),
            purge_step=purge_step,
            filename_suffix=f".{number:04d}",
            flush_secs=flush_seconds,
            max_queue=max_queue,
        )
    except OSError as error:
        raise type(error)(
            f"the log folder {workdir} cannot be written ({error.strerror or error}). "
            "Choose another one or free some space."
        ) from error
    _flush_at_numbers(writer)
    writer.flush = functools.partial(_flush, writer)
    writer.close = functools.partial(close_writer, writer)  # the end of `with` calls it
    return writer


def _flush(writer: Writer) -> None:
    """Returns when everything written so far is in the file; other threads may write meanwhile.

    tensorboardX's own ``flush`` leaves out what still waits in the queue.

    Raises:
        OSError: the thread that writes has died.
    """
    done = threading.Event()
    number = id(done)
    writer.flushes[number] = done
    _put(writer, number)
    while not done.wait(timeout=0.1):
        if not _is_alive(writer):
            raise _dead()


def _flush_at_numbers(writer: Writer) -> None:
    """Makes the thread that writes flush the file where it finds a number among the events.

    Other threads may write meanwhile. ``writer.flushes`` holds who waits.
    """
    file = writer.file_writer.event_writer._ev_writer
    write = file.write_event
    flushes: dict[int, threading.Event] = {}

    def write_or_flush(event: Any) -> None:
        try:
            if isinstance(event, int):
                file.flush()
                flushes.pop(event).set()
            else:
                write(event)
        except OSError:
            raise SystemExit from None  # ends the thread without a traceback; see _dead

    file.write_event, writer.flushes = write_or_flush, flushes


def close_writer(writer: Writer) -> None:
    """Flushes and closes a writer; one whose thread has died is left without waiting for it.

    >>> import tempfile
    >>> writer = open_writer(tempfile.mkdtemp())
    >>> close_writer(writer)
    """
    if writer.file_writer is None:
        return
    if _is_alive(writer):
        type(writer).close(writer)
    else:
        _events_of(writer)._closed = True  # else it is closed, and waits, at exit


def event_file(writer: Writer) -> Path:
    """The path of the file that a writer writes."""
    return Path(_events_of(writer)._ev_writer._file_name)


def write_scalars(writer: Writer, values: Mapping[str, Any], step: int) -> None:
    """Writes every number of a mapping as a scalar of that tag; other values are left out.

    Args:
        writer: from :func:`open_writer`.
        values: by tag: numbers and arrays of shape (). ``"test/loss"`` and ``"test/accuracy"``
            share the section ``test``. NaN and infinity are written as they are.
        step: position on the horizontal axis, in updates.

    Raises:
        OSError: the thread that writes has died.
        ValueError: a tag that TensorBoard cannot show: its parts between slashes must be
            printable text, not empty, without spaces at their ends.

    Source: ``SummaryWriter.add_scalar``; a tag keeps its spaces, as it does there.

    >>> import tempfile
    >>> with open_writer(tempfile.mkdtemp()) as writer:
    ...     write_scalars(writer, {"train/loss": 0.5, "test/accuracy": 0.9}, step=100)
    """
    scalars = {tag: float(value) for tag, value in values.items() if _is_number(value)}
    if scalars:
        contents = [{"tag": tag, "simple_value": value} for tag, value in scalars.items()]
        write_values(writer, contents, step)


class Gathered:
    """A stand-in for a writer that gathers events; see :func:`one_event`."""

    def __init__(self, writer: Writer):
        self.writer = writer
        self.values: dict[int, list[Any]] = {}
        self.kinds = writer.__dict__.setdefault("kinds", {})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)


@contextlib.contextmanager
def one_event(writer: Writer) -> Iterator[Gathered]:
    """Gathers what is written inside ``with one_event(writer) as writer`` into one event per step.

    It is queued at the end: hundreds of values cost the thread little more than one.
    """
    gathered = Gathered(writer)
    yield gathered
    for step, values in gathered.values.items():
        _queue_values(writer, values, step)


def write_values(writer: Writer, contents: list[dict[str, Any]], step: int) -> None:
    """Queues one event; all other functions write through it.

    tensorboardX writes in a thread. Where that thread has died, e.g. because the disk is full, a
    full queue would block forever; here it raises.

    Args:
        writer: from :func:`open_writer`.
        contents: fields of the ``Summary.Value`` messages; each has a ``tag``.
        step: position on the horizontal axis, in updates.

    Raises:
        OSError: the thread that writes has died.
        ValueError: an odd tag, a tag that holds another kind of data, a step that is not a whole
            number of 0 or more, a closed writer.
    """
    from tensorboardX.proto.summary_pb2 import Summary

    kinds = writer.__dict__.setdefault("kinds", {})
    for content in contents:
        check_tag(content["tag"])
        kind = next(key for key in content if key != "tag")
        kind = _KINDS.get(kind) or content["metadata"].plugin_data.plugin_name
        # TensorBoard takes all data of a tag for what it saw first, and then cannot draw it
        if kinds.setdefault(content["tag"], kind) != kind:
            raise ValueError(
                f"tag {content['tag']!r} already holds {kinds[content['tag']]}; choose another one "
                f"for {kind}, such as {content['tag'] + '/' + kind!r}."
            )
    step = check_step(step)
    values = [Summary.Value(**content) for content in contents]
    if isinstance(writer, Gathered):
        writer.values.setdefault(step, []).extend(values)
    else:
        _queue_values(writer, values, step)


def _queue_values(writer: Writer, values: list[Any], step: int) -> None:
    from tensorboardX.proto.summary_pb2 import Summary

    write_event(writer, step=step, summary=Summary(value=values))


def write_event(writer: Writer, **content: Any) -> None:
    """Queues an ``Event`` message with the fields given and the time of now."""
    from tensorboardX.proto.event_pb2 import Event

    _put(writer, Event(wall_time=time.time(), **content))


def _put(writer: Writer, item: Any) -> None:
    waiting = _events_of(writer)._event_queue
    while True:
        if not _is_alive(writer):
            raise _dead()
        try:
            return waiting.put(item, timeout=1.0)
        except queue.Full:
            continue  # unless the thread has died meanwhile


def plugin_metadata(name: str, content: bytes = b"") -> Any:
    """The ``SummaryMetadata`` message that hands a value to a plugin of TensorBoard."""
    from tensorboardX.proto.summary_pb2 import SummaryMetadata

    plugin = SummaryMetadata.PluginData(plugin_name=name, content=content)
    return SummaryMetadata(plugin_data=plugin)


def check_tag(tag: str) -> None:
    """Raises ValueError unless a tag is printable text whose parts between slashes are not empty.

    >>> check_tag("test/top 5 accuracy")
    """
    parts = tag.split("/") if isinstance(tag, str) else [""]
    if not all(part and part == part.strip() and part.isprintable() for part in parts):
        raise ValueError(
            "a tag must be printable text such as 'test/loss', with no empty part between slashes "
            f"and no space at the ends of one, got {tag!r}."
        )


def check_step(step: SupportsIndex) -> int:
    """Raises ValueError unless a step is a whole number of 0 or more; returns it as an int.

    >>> check_step(np.int64(10))
    10
    """
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise ValueError(f"step must be a whole number of 0 or more, in updates, got {step!r}.")
    return number


def _is_number(value: Any) -> bool:
    if isinstance(value, numbers.Real):
        return not isinstance(value, bool)
    is_scalar = hasattr(value, "dtype") and getattr(value, "shape", None) == ()
    return is_scalar and not isinstance(value, np.bool_) and value.dtype.kind in "iufV"


def _events_of(writer: Writer) -> Any:
    if writer.file_writer is None:
        raise ValueError("the writer is closed; open another one with open_writer.")
    return writer.file_writer.event_writer


def _is_alive(writer: Writer) -> bool:
    worker = _events_of(writer)._worker
    return worker is not None and worker.is_alive()


def _dead() -> OSError:
    return OSError("TensorBoard's events could not be written (is the disk full?)")
