"""Pictures of many runs: what they show."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import plots
from jaxdl.plots.curves import run_curves
from jaxdl.plots.style import TEST


def test_curves_of_runs_share_a_panel_a_metric():
    histories = {
        "a": [{"epoch": 1, "test/loss": 0.9, "train/loss": 1.0}, {"epoch": 2, "test/loss": None}],
        "b": [{"epoch": 3, "test/loss": 0.5, "epoch_seconds": 2.0}],
    }
    figure = run_curves(histories)
    assert [axes.get_title() for axes in figure.axes] == ["test/loss", "train/loss"]
    first, second = figure.axes[0].get_lines()
    assert list(first.get_xdata()) == [1.0]
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([3.0], [0.5])
    assert second.get_color() == TEST
    (only,) = figure.axes[1].get_lines()
    assert only.get_label() == "a"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(ValueError, match="no scalar"):
        run_curves({"a": [{"epoch": 1}]})


HISTORY = [
    {
        "epoch": epoch,
        "step": 100 * epoch,
        "train/loss": 1 / epoch,
        "test/loss": loss,
        "train/accuracy": accuracy + 0.05,
        "test/accuracy": accuracy,
        "learning_rate": rate,
        "epoch_seconds": 1.5,
        "train/examples_per_second": 30_000.0,
        "test/confusion": [[3, 1], [0, 4]],
        "note": "text",
    }
    for epoch, loss, accuracy, rate in [
        (1, 0.9, 0.60, 1e-1),
        (2, 0.5, 0.70, 1e-2),
        (3, 0.6, 0.8125, 1e-3),
        (4, 0.7, 0.75, 1e-4),
    ]
]


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def line(axes, label):
    return next(found for found in axes.get_lines() if found.get_label() == label)


def test_one_panel_a_quantity_and_the_learning_rate_last():
    figure = plots.learning_curves([{"learning_rate": 0.1, **row} for row in HISTORY])
    assert titles(figure) == ["loss", "accuracy", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert list(line(figure.axes[0], "train").get_ydata()) == [1, 1 / 2, 1 / 3, 1 / 4]
    assert list(line(figure.axes[0], "test").get_xdata()) == [1, 2, 3, 4]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_the_best_test_value_is_lowest_for_a_loss_and_highest_for_an_accuracy():
    loss, accuracy, _ = plots.learning_curves(HISTORY).axes
    assert legend(loss) == ["train", "test", "best test: 0.5 at epoch 2"]
    assert legend(accuracy) == ["train", "test", "best test: 0.8125 at epoch 3"]
    star = line(loss, "best test: 0.5 at epoch 2")
    assert (star.get_xdata()[0], star.get_ydata()[0], star.get_marker()) == (2, 0.5, "*")


def test_a_quantity_of_unknown_direction_has_no_best_value():
    (axes,) = plots.learning_curves([{"epoch": 1, "test/kl": 2.0}]).axes
    assert legend(axes) == ["test"]


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([0.1, 0.01], "linear"),  # exactly 10×
        ([0.1, 0.009], "log"),
        ([0.1, 0.1], "linear"),
        ([0.1, 0.0], "linear"),  # a logarithmic axis would hide the 0
    ],
)
def test_the_learning_rate_is_logarithmic_over_more_than_ten_fold(rates, scale):
    rows = [{"epoch": i + 1, "learning_rate": rate} for i, rate in enumerate(rates)]
    (axes,) = plots.learning_curves(rows).axes
    assert axes.get_yscale() == scale


def test_learning_rates_of_several_groups_share_their_panel():
    rows = [{"train/loss": 1.0, "learning_rate/head": 0.1, "learning_rate/body": 0.01}]
    figure = plots.learning_curves(rows)
    assert titles(figure) == ["loss", "learning rate"]
    assert legend(figure.axes[1]) == ["head", "body"]


def test_a_key_that_some_rows_lack_leaves_no_gap():
    rows = [{"epoch": 1, "test/loss": 3.0}, {"epoch": 2}, {"epoch": 3, "test/loss": 1.0}]
    (axes,) = plots.learning_curves(rows).axes
    assert list(line(axes, "test").get_xdata()) == [1, 3]
    assert list(line(axes, "test").get_ydata()) == [3, 1]


def test_nan_and_infinity_leave_a_gap_and_are_named():
    values = [1.0, float("nan"), 0.5, float("inf")]
    rows = [{"epoch": i + 1, "test/loss": value} for i, value in enumerate(values)]
    (axes,) = plots.learning_curves(rows).axes
    assert legend(axes) == ["test (not finite at epoch 2)", "best test: 0.5 at epoch 3"]
    drawn = axes.get_lines()[0]
    np.testing.assert_array_equal(drawn.get_ydata(), [1, np.nan, 0.5, np.nan])
    assert drawn.get_markevery() == [0, 2]


def test_nothing_finite_is_still_a_picture(tmp_path):
    rows = [{"epoch": 1, "test/loss": float("nan"), "learning_rate": 0.0}]
    figure = plots.learning_curves(rows)
    assert legend(figure.axes[0]) == ["test (not finite from epoch 1)"]
    plots.save(figure, tmp_path / "nan.png")


def test_one_epoch_has_markers_and_one_tick(tmp_path):
    figure = plots.learning_curves(HISTORY[:1])
    plots.save(figure, tmp_path / "one.png")
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
    assert line(axes, "train").get_marker() == "o"
    assert line(axes, "train").get_markevery() == [0]


def test_numpy_and_jax_scalars_count_and_flags_do_not():
    rows = [{"train/loss": jnp.float32(0.5), "test/loss": np.float64(0.25), "test/best": True}]
    figure = plots.learning_curves(rows)
    assert titles(figure) == ["loss"]
    assert list(line(figure.axes[0], "train").get_ydata()) == [0.5]


@pytest.mark.parametrize("history", [[], [{"epoch": 1, "step": 3, "name": "x"}]])
def test_a_history_without_scalars_is_refused(history):
    with pytest.raises(ValueError, match="at least one row with a scalar"):
        plots.learning_curves(history)
