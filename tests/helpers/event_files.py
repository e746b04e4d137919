"""Content of a run folder as TensorBoard's readers see it."""

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.util import tensor_util

EVERYTHING = dict.fromkeys(("scalars", "histograms", "images", "audio", "tensors"), 0)


def accumulate(directory):
    """An ``EventAccumulator`` that has read all event files and sampled nothing away."""
    accumulator = EventAccumulator(str(directory), size_guidance=EVERYTHING)
    return accumulator.Reload()


def scalars(directory):
    """(step, value) of every scalar by tag."""
    accumulator = accumulate(directory)
    tags = accumulator.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in accumulator.Scalars(tag)] for tag in tags}


def tensor(directory, tag):
    """Step, array and plugin of the only tensor of a tag."""
    accumulator = accumulate(directory)
    (event,) = accumulator.Tensors(tag)
    plugin = accumulator.SummaryMetadata(tag).plugin_data
    return event.step, tensor_util.make_ndarray(event.tensor_proto), plugin


def values(directory):
    """Every ``Summary.Value`` by tag, as it stands in the event files."""
    found = {}
    for path in sorted(Path(directory).glob("events.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append(value)
    return found
