"""Precision-recall curves and custom charts."""

import numpy as np
import pytest
from helpers.event_files import tensor
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.pr_curve import plugin_data_pb2

from jaxdl import tensorboard

LABELS = np.array([0, 0, 1, 1])
PROBABILITIES = np.array([0.1, 0.6, 0.6, 0.9])


def test_a_curve_by_hand(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_pr_curve(writer, "pr", LABELS, PROBABILITIES, 3, num_thresholds=3)
    step, curve, plugin = tensor(tmp_path, "pr")
    assert (step, plugin.plugin_name) == (3, "pr_curves")
    assert plugin_data_pb2.PrCurvePluginData.FromString(plugin.content).num_thresholds == 3
    # at thresholds 0, 0.5, 1: found are all four; the last three; none, since 0.9 is less than 1
    np.testing.assert_allclose(
        curve,
        [
            [2, 2, 0],  # true positives
            [2, 1, 0],  # false positives
            [0, 1, 2],  # true negatives
            [0, 0, 2],  # false negatives
            [0.5, 2 / 3, 0],  # precision
            [1, 1, 0],  # recall
        ],
        rtol=1e-6,
    )


def test_weights_count(tmp_path):
    weights = np.array([1.0, 3.0, 1.0, 0.0])
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_pr_curve(
            writer, "pr", LABELS == 1, PROBABILITIES, 0, num_thresholds=3, weights=weights
        )
    _, curve, _ = tensor(tmp_path, "pr")
    assert curve[0].tolist() == [1, 1, 0]
    assert curve[1].tolist() == [4, 3, 0]


def test_more_than_127_thresholds_are_kept(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_pr_curve(writer, "pr", LABELS, PROBABILITIES, 0, num_thresholds=201)
    _, curve, plugin = tensor(tmp_path, "pr")
    assert curve.shape == (6, 201)
    assert plugin_data_pb2.PrCurvePluginData.FromString(plugin.content).num_thresholds == 201


@pytest.mark.parametrize(
    ("labels", "probabilities", "options", "message"),
    [
        ([0, 1], [0.5], {}, r"probabilities must have shape \(2\)"),
        ([0, 3], [0.5, 0.5], {}, r"labels must be 0 or 1, .* got \[0, 3\]"),
        ([0, 1], [0.5, 1.5], {}, "must lie in 0 to 1, got 0.5 to 1.5"),
        ([0, 1], [0.5, np.nan], {}, "must lie in 0 to 1"),
        ([0, 1], [0.5, 0.5], {"num_thresholds": 1}, "num_thresholds must be 2 or greater"),
        ([0, 1], [0.5, 0.5], {"weights": [1.0]}, r"weights must have shape \(2\)"),
        ([], [], {}, "labels must be 0 or 1"),
    ],
)
def test_a_wrong_curve_is_named(labels, probabilities, options, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_pr_curve(writer, "pr", labels, probabilities, 0, **options)


def test_a_layout_comes_back(tmp_path):
    band = tensorboard.scalars.Margin("loss/mean", "loss/low", "loss/high")
    layout = {"Loss": {"both": ["train/loss", "test/.*"], "band": band}, "Rate": {"r": ["rate"]}}
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_layout(writer, layout)
    _, array, plugin = tensor(tmp_path, "custom_scalars__config__")
    assert plugin.plugin_name == "custom_scalars"
    found = layout_pb2.Layout.FromString(array.item())
    loss, rate = found.category
    assert (loss.title, rate.title) == ("Loss", "Rate")
    both, margin = loss.chart
    assert (both.title, list(both.multiline.tag)) == ("both", ["train/loss", "test/.*"])
    (series,) = margin.margin.series
    assert (series.value, series.lower, series.upper) == tuple(band)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"Loss": {}}, "category 'Loss' must hold at least one chart"),
        ({"Loss": {"both": []}}, "chart 'both' must be a list of tags"),
        ({"Loss": {"both": "train/loss"}}, "chart 'both' must be a list of tags"),
    ],
)
def test_a_wrong_layout_is_named(layout, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_layout(writer, layout)
