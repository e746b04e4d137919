"""Pictures of many runs: what they show."""

import numpy as np
import pytest

from jaxdl import plots
from jaxdl.plots._style import TEST


def test_the_best_cell_is_framed_and_one_that_is_not_finite_says_so():
    values = [[0.5, 0.25, 8.0], [np.nan, 0.3, 1e30]]
    figure = plots.heat_map(values, [0.0, 0.1], [1e-3, 1e-2, 0.1], labels=("decay", "rate"))
    axes = figure.axes[0]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.5", "0.25", "8", "not\nfinite", "0.3", "1e+30"]
    (frame,) = axes.patches
    assert frame.get_xy() == (0.5, -0.5)  # column 1, row 0
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    norm = axes.images[0].norm
    assert norm.vmin == 0.25
    assert norm.vmax < 10  # 1e30 does not make all others look alike
    highest = plots.heat_map(values, [0, 1], [1, 2, 3], mode="max").axes[0].patches[0]
    assert highest.get_xy() == (1.5, 0.5)


def test_a_map_without_any_finite_value_can_be_drawn(tmp_path):
    figure = plots.heat_map([[np.nan, np.inf]], [0], [1, 2])
    assert plots.save(figure, tmp_path / "map.png").stat().st_size > 1000
    with pytest.raises(ValueError, match=r"values must have shape \(1, 3\)"):
        plots.heat_map([[1.0, 2.0]], [0], [1, 2, 3])


def test_scattered_settings_have_the_best_in_a_ring():
    figure = plots.scattered_values([1e-4, 1e-2, 1.0], [0, 1, 2], [0.5, 0.1, np.nan])
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    cross, points, ring = axes.collections
    np.testing.assert_array_equal(cross.get_offsets(), [[1.0, 2]])
    assert len(points.get_offsets()) == 2
    np.testing.assert_array_equal(ring.get_offsets(), [[1e-2, 1]])
    assert axes.get_legend().get_texts()[-1].get_text() == "best: 0.1"


def test_curves_of_runs_share_a_panel_a_metric():
    histories = {
        "a": [{"epoch": 1, "test/loss": 0.9, "train/loss": 1.0}, {"epoch": 2, "test/loss": None}],
        "b": [{"epoch": 3, "test/loss": 0.5, "epoch_seconds": 2.0}],
    }
    figure = plots.run_curves(histories)
    assert [axes.get_title() for axes in figure.axes] == ["test/loss", "train/loss"]
    first, second = figure.axes[0].get_lines()
    assert list(first.get_xdata()) == [1.0]
    assert (list(second.get_xdata()), list(second.get_ydata())) == ([3.0], [0.5])
    assert second.get_color() == TEST
    (only,) = figure.axes[1].get_lines()
    assert only.get_label() == "a"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(ValueError, match="no scalar"):
        plots.run_curves({"a": [{"epoch": 1}]})
