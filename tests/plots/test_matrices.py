"""Tests of ``jaxdl.plots.matrices``."""

import numpy as np
import pytest

from jaxdl import plots
from jaxdl.plots.matrices import scattered_values


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
    figure = scattered_values([1e-4, 1e-2, 1.0], [0, 1, 2], [0.5, 0.1, np.nan])
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "linear")
    cross, points, ring = axes.collections
    np.testing.assert_array_equal(cross.get_offsets(), [[1.0, 2]])
    assert len(points.get_offsets()) == 2
    np.testing.assert_array_equal(ring.get_offsets(), [[1e-2, 1]])
    assert axes.get_legend().get_texts()[-1].get_text() == "best: 0.1"


def test_the_confusion_matrix_has_true_rows_recall_and_accuracy():
    figure = plots.confusion_matrix([[3, 1, 0], [2, 2, 0], [0, 0, 0]], ["a", "b", "c"])
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert axes.get_title() == "62.50% accuracy on 8 examples"
    np.testing.assert_allclose(
        axes.get_images()[0].get_array(), [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 0]]
    )
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert (cells[1, 0], cells[0, 1]) == ("1", "2")  # (column, row)
    (recall,) = axes.child_axes
    assert [label.get_text() for label in recall.get_yticklabels()] == ["75.0%", "50.0%", "–"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_many_classes_have_a_color_bar_instead_of_numbers():
    figure = plots.confusion_matrix(np.eye(21), [str(i) for i in range(21)])
    axes, bar = figure.axes
    assert bar.get_ylabel() == "share of the true class"
    assert [text.get_text() for text in axes.texts] == ["recall"]
    assert len(plots.confusion_matrix(np.eye(20), [str(i) for i in range(20)]).axes) == 1


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2, 3], [4, 5, 6]], r"matrix must have shape \(2, 2\), got \(2, 3\)"),
        ([[0.5, 0.5], [1, 0]], "whole numbers from 0, not shares"),
        ([[1, -1], [0, 1]], "got -1 to 1"),
        ([[1, np.nan], [0, 1]], "must hold counts"),
    ],
)
def test_a_confusion_matrix_holds_counts(matrix, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(matrix, ["a", "b"])


def test_no_examples_have_no_accuracy():
    assert plots.confusion_matrix(np.zeros((2, 2)), ["a", "b"]).axes[0].get_title() == "no examples"
