"""Hyperparameters as TensorBoard's plugin parses them."""

import contextlib

import numpy as np
import pytest
from helpers.event_files import accumulate, scalars, values
from tensorboard.plugins.hparams import api_pb2, metadata

from jaxdl import tensorboard
from jaxdl.tensorboard.hparams import write_hparams_end

HPARAMS = {
    "learning_rate": np.float32(0.25),
    "batch_size": 64,
    "nesterov": True,
    "optimizer": "adam",
    "warmup": None,
    "sizes": (32, 64),
    "schedule": {"step": 5, "gamma": 0.5},
    "clip": float("inf"),
}


def parse(directory):
    found = {tag: one[0].metadata.plugin_data for tag, one in values(directory).items()}
    assert {plugin.plugin_name for plugin in found.values()} == {"hparams"}
    return {tag.removeprefix("_hparams_/"): plugin.content for tag, plugin in found.items()}


def as_python(value):
    return getattr(value, value.WhichOneof("kind"))


def test_values_keep_their_kind(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_hparams(writer, HPARAMS, group="seeds")
    found = parse(tmp_path)
    assert list(found) == ["session_start_info"]
    start = metadata.parse_session_start_info_plugin_data(found["session_start_info"])
    assert start.group_name == "seeds"
    assert {name: as_python(value) for name, value in start.hparams.items()} == {
        "learning_rate": 0.25,
        "batch_size": 64.0,
        "nesterov": True,
        "optimizer": "adam",
        "warmup": "None",
        "sizes": "32, 64",
        "schedule/step": 5.0,
        "schedule/gamma": 0.5,
        "clip": "inf",
    }


def test_named_metrics_make_the_columns(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_hparams(
            writer,
            {"rate": 0.1, "name": "a", "fast": False},
            metrics=["test/loss", "test/accuracy"],
        )
    experiment = metadata.parse_experiment_plugin_data(parse(tmp_path)["experiment"])
    assert [metric.name.tag for metric in experiment.metric_infos] == ["test/loss", "test/accuracy"]
    assert {info.name: info.type for info in experiment.hparam_infos} == {
        "rate": api_pb2.DATA_TYPE_FLOAT64,
        "name": api_pb2.DATA_TYPE_STRING,
        "fast": api_pb2.DATA_TYPE_BOOL,
    }


@pytest.mark.parametrize(
    ("succeeded", "status"), [(True, api_pb2.STATUS_SUCCESS), (False, api_pb2.STATUS_FAILURE)]
)
def test_the_end_says_how_it_went(succeeded, status, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        write_hparams_end(writer, succeeded=succeeded)
    end = metadata.parse_session_end_info_plugin_data(parse(tmp_path)["session_end_info"])
    assert end.status == status
    assert end.end_time_secs > 1e9


def test_the_last_end_of_a_run_that_went_on_counts(tmp_path):
    def status():
        with contextlib.suppress(KeyError):  # no end
            plugin = accumulate(tmp_path).SummaryMetadata("_hparams_/session_end_info").plugin_data
            return metadata.parse_session_end_info_plugin_data(plugin.content).status

    for step, succeeded in enumerate([False, False, True]):
        with tensorboard.open_writer(tmp_path, resume_step=step - 1 if step else None) as writer:
            tensorboard.write_hparams(writer, {"rate": 0.5})
            assert status() is None
            tensorboard.write_scalars(writer, {"loss": 0.5}, step)
            write_hparams_end(writer, succeeded=succeeded)
            assert scalars(tmp_path)["loss"][-1] == (step, 0.5)  # TensorBoard comes not back to it
        assert status() == (api_pb2.STATUS_SUCCESS if succeeded else api_pb2.STATUS_FAILURE)
    assert [step for step, _ in scalars(tmp_path)["loss"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("hparams", "message"),
    [
        ({}, "hparams must hold at least one value"),
        ({"model": {"init": print}}, "hyperparameter 'model/init' must be a number.* builtin"),
        ({"": 1}, "name of a hyperparameter must be printable text.* got ''"),
        ({"a": 1, " b\n": 2}, r"printable text.* got ' b\\n'"),
        ({"optimizer": {"": 1}}, "printable text.* got 'optimizer/'"),
        ({"rates": np.zeros(3)}, "hyperparameter 'rates' must be a number.*got ndarray"),
    ],
)
def test_what_is_no_hyperparameter_is_named(hparams, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_hparams(writer, hparams)
