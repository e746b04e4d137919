"""Answers of TensorBoard's server, in this process: every tab has its data."""

import json

import jax
import numpy as np
import pytest
from tensorboard import default, program
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_ingester
from werkzeug.test import Client

from jaxdl import tensorboard
from jaxdl.models.convnet import ConvNet
from jaxdl.tensorboard.hparams import write_hparams_end


def write_run(directory, rate):
    rng = np.random.default_rng(0)
    with tensorboard.open_writer(directory) as writer:
        hparams = {"rate": rate, "optimizer": "adam"}
        tensorboard.write_hparams(writer, hparams, metrics=["test/loss"])
        for step in (0, 10):
            values = {"train/loss": rate, "test/loss": rate * 2 + step, "Learning Rate": rate}
            tensorboard.write_scalars(writer, values, step)
            tensorboard.write_histogram(writer, "weights", np.arange(10.0), step)
        write_hparams_end(writer)
        tensorboard.write_image(writer, "image", np.zeros((4, 4, 3), np.uint8), 0)
        tensorboard.write_video(writer, "film", rng.random((3, 4, 4, 1)), 0)
        tensorboard.write_audio(writer, "tone", np.zeros(10), 0)
        tensorboard.write_text(writer, "notes", "**bold** < 3", 0)
        tensorboard.write_pr_curve(writer, "pr", [0, 1], [0.2, 0.9], 0)
        tensorboard.write_layout(writer, {"Loss": {"both": ["train/loss", "test/loss"]}})
        images = rng.random((3, 4, 4, 1))
        labels = {"label": [1, 2, 3], "name": ["a", "b", "c"]}
        vectors = np.arange(12.0).reshape(3, 4)
        tensorboard.write_embedding(writer, "fc1", vectors, 0, metadata=labels, images=images)
        x = jax.ShapeDtypeStruct((1, 28, 28, 1), "float32")
        variables = jax.eval_shape(ConvNet().init, jax.random.key(0), x)
        tensorboard.write_graph(writer, ConvNet(), variables, x)


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """A function from an address (and what is posted there) to the answer's bytes."""
    root = tmp_path_factory.mktemp("runs")
    write_run(root / "a", 0.25)
    write_run(root / "b", 0.5)
    tool = program.TensorBoard(plugins=default.get_plugins())
    options = ["--load_fast=false", "--reload_interval=0", "--reload_task=blocking"]
    tool.configure(["tensorboard", "--logdir", str(root), *options])
    ingester = data_ingester.LocalDataIngester(tool.flags)
    ingester.start()
    client = Client(
        application.TensorBoardWSGIApp(
            tool.flags,
            tool.plugin_loaders,
            ingester.data_provider,
            tool.assets_zip_provider,
            ingester.deprecated_multiplexer,
        )
    )

    def answer(path, post=None, **query):
        url = f"/data/plugin/{path}"
        reply = client.post(url, json=post) if post else client.get(url, query_string=query or None)
        assert reply.status_code == 200, reply.data
        return reply.data

    return answer


def test_scalars_histograms_distributions_text_and_audio(ask):
    points = json.loads(ask("scalars/scalars", run="a", tag="Learning Rate"))
    assert [point[1:] for point in points] == [[0, 0.25], [10, 0.25]]
    (_, step, buckets), _ = json.loads(ask("histograms/histograms", run="b", tag="weights"))
    assert step == 0
    assert sum(count for _, _, count in buckets) == 10
    assert (buckets[0][0], buckets[-1][1]) == (0.0, 9.0)
    _, (_, step, percentiles) = json.loads(
        ask("distributions/distributions", run="b", tag="weights")
    )
    assert step == 10
    assert [value for _, value in percentiles] == sorted(value for _, value in percentiles)
    assert (percentiles[0], percentiles[-1]) == ([0, 0.0], [10000, 9.0])
    (text,) = json.loads(ask("text/text", run="a", tag="notes"))
    assert text["text"] == "<p><strong>bold</strong> &lt; 3</p>"
    (sound,) = json.loads(ask("audio/audio", run="a", tag="tone", sample=0))
    assert sound["contentType"] == "audio/wav"


@pytest.mark.parametrize(("tag", "magic"), [("image", b"\x89PNG"), ("film", b"GIF89a")])
def test_images_and_films(tag, magic, ask):
    (image,) = json.loads(ask("images/images", run="a", tag=tag, sample=0))
    assert ask(f"images/individualImage?{image['query']}").startswith(magic)


def test_the_graph(ask):
    text = ask("graphs/graph", run="a").decode()
    for layer in ("Conv_0", "Conv_1", "Dense_0", "Dense_1"):
        assert f'name: "{layer}/kernel"' in text


def test_runs_are_compared_by_their_hyperparameters(ask):
    statuses = ["STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING", "STATUS_UNKNOWN"]
    experiment = json.loads(ask("hparams/experiment", {"experimentName": ""}))
    assert {info["name"] for info in experiment["hparamInfos"]} == {"rate", "optimizer"}
    assert [info["name"]["tag"] for info in experiment["metricInfos"]] == ["test/loss"]
    question = {"startIndex": 0, "sliceSize": 10, "allowedStatuses": statuses, "colParams": []}
    groups = json.loads(ask("hparams/session_groups", question))["sessionGroups"]
    found = {
        group["name"]: (
            group["hparams"]["rate"],
            group["hparams"]["optimizer"],
            group["metricValues"][0]["value"],
            group["sessions"][0]["status"],
        )
        for group in groups
    }
    assert found == {
        "a": (0.25, "adam", 10.5, "STATUS_SUCCESS"),
        "b": (0.5, "adam", 11.0, "STATUS_SUCCESS"),
    }


def test_the_projector(ask):
    assert sorted(json.loads(ask("projector/runs"))) == ["a", "b"]
    (embedding,) = json.loads(ask("projector/info", run="a"))["embeddings"]
    name = embedding["tensorName"]
    vectors = np.frombuffer(ask("projector/tensor", run="a", name=name), np.float32)
    np.testing.assert_array_equal(vectors, np.arange(12.0))
    metadata = ask("projector/metadata", run="a", name=name).decode()
    assert metadata.splitlines() == ["label\tname", "1\ta", "2\tb", "3\tc"]
    assert ask("projector/sprite_image", run="a", name=name).startswith(b"\x89PNG")


def test_pr_curves_and_custom_scalars(ask):
    (curve,) = json.loads(ask("pr_curves/pr_curves", run="a", tag="pr"))["a"]
    assert curve["step"] == 0
    assert curve["recall"][0] == 1.0
    layout = json.loads(ask("custom_scalars/layout"))
    (chart,) = layout["category"][0]["chart"]
    assert chart["multiline"]["tag"] == ["train/loss", "test/loss"]
