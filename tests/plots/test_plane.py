"""Tests of ``jaxdl.plots.plane``."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import plots


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, label):
    return next(found for found in axes.get_lines() if found.get_label() == label)


def test_points_and_curves_shows_what_it_was_given_over_the_range_of_the_points():
    figure = plots.points_and_curves(
        {"a": ([0, 10], [1, 3]), "b": (jnp.array([5.0]), [2.0])},
        {"fit": ([-100, 100], [-50, 50]), "best": ([0, 10], [1, 3])},
        trace=[([0, 10], [9, 9]), ([0, 10], [8, 8])],
        trace_name="before",
        labels=("time", "$2"),
        title="a fit",
    )
    (axes,) = figure.axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 11), (0.8, 3.2))
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("time", "$2", "a fit")
    assert legend(axes) == ["a", "b", "fit", "best", "before"]
    assert list(line(axes, "fit").get_xdata()) == [-100, 100]
    assert line(axes, "a").get_linestyle() == "None"
    assert line(axes, "a").get_color() != line(axes, "b").get_color()
    assert line(axes, "fit").get_linestyle() != line(axes, "best").get_linestyle()
    older, newer = (one for one in axes.get_lines() if list(one.get_ydata()) in ([9, 9], [8, 8]))
    assert float(older.get_color()) > float(newer.get_color())  # gray levels, 1 is white
    assert newer.get_zorder() < line(axes, "a").get_zorder() < line(axes, "fit").get_zorder()


def test_one_point_has_room_around_it(tmp_path):
    figure = plots.points_and_curves({"data": ([3.0], [4.0])}, {})
    assert figure.axes[0].get_xlim() == (2.5, 3.5)
    plots.save(figure, tmp_path / "point.png")


@pytest.mark.parametrize(
    ("points", "curves", "message"),
    [
        ({}, {}, "at least one group of finite points"),
        ({"a": ([], [])}, {}, r"got \{'a': 0\} points"),
        ({"a": ([0, np.nan], [1, 2])}, {}, "finite points"),
        ({"a": ([0, 1], [1])}, {}, r"y of 'a' must have shape \(2,?\), got \(1,?\)"),
        ({"a": ([0], [1])}, {"f": ([[0]], [[1]])}, r"x of 'f' must have shape \(N,?\)"),
    ],
)
def test_points_and_curves_refuses_what_it_cannot_draw(points, curves, message):
    with pytest.raises(ValueError, match=message):
        plots.points_and_curves(points, curves)


def step_at_zero(points):
    """Class 1 right of x1 = 0, more surely the further."""
    right = 1 / (1 + np.exp(-2 * points[:, 0]))
    return np.stack([1 - right, right], axis=1)


def test_decision_regions_are_colored_by_class_and_paler_where_unsure(tmp_path):
    train = (np.array([[-1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    test = (np.array([[2.0, 5.0]]), np.array([1]))
    figure = plots.decision_regions(step_at_zero, {"train": train, "test": test}, ("a", "b"))
    (axes,) = figure.axes
    assert legend(axes) == ["train: a", "train: b", "test: b"]
    assert line(axes, "test: b").get_marker() == "*"
    assert line(axes, "test: b").get_color() == line(axes, "train: b").get_color()
    (image,) = axes.get_images()
    left, right, low, high = image.get_extent()
    assert (left, right, low, high) == pytest.approx((-1.3, 2.3, -0.5, 5.5))
    pixels = np.asarray(image.get_array())
    size = pixels.shape[1]
    middle = int((0 - left) / (right - left) * size)
    row = pixels[0]
    assert row[0, 2] > row[0, 0]  # blue, the color of class 0
    assert row[-1, 1] > row[-1, 0]  # green
    assert row[middle].mean() > max(row[0].mean(), row[-1].mean())
    np.testing.assert_allclose(pixels[-1], row)  # nothing changes upwards
    (border,) = axes.collections
    vertices = np.concatenate([path.vertices for path in border.get_paths()])
    assert np.abs(vertices[:, 0]).max() <= (right - left) / size
    plots.save(figure, tmp_path / "regions.png")


def test_up_is_up_in_decision_regions():
    def above(points):
        high = (points[:, 1] > 0).astype(float)
        return np.stack([1 - high, high], axis=1)

    data = (np.array([[0.0, -1.0], [0.0, 1.0]]), np.array([0, 1]))
    (image,) = plots.decision_regions(above, {"train": data}, ("a", "b")).axes[0].get_images()
    assert image.origin == "lower"
    pixels = np.asarray(image.get_array())
    assert pixels[0, 0, 2] > pixels[0, 0, 1]  # below, blue
    assert pixels[-1, 0, 1] > pixels[-1, 0, 2]  # above, green


@pytest.mark.filterwarnings("error")
def test_one_class_everywhere_has_no_border():
    def always(points):
        return np.stack([np.ones(len(points)), np.zeros(len(points))], axis=1)

    data = (np.zeros((1, 2)), np.array([0]))
    assert not plots.decision_regions(always, {"train": data}, ("a", "b")).axes[0].collections


@pytest.mark.parametrize(
    ("predict", "points", "message"),
    [
        (step_at_zero, (np.zeros((2, 3)), np.zeros(2, int)), r"inputs of 'train' .* \(N, 2\)"),
        (step_at_zero, (np.zeros((2, 2)), np.zeros(3, int)), "labels of 'train' must have shape"),
        (step_at_zero, (np.zeros((1, 2)), np.array([2])), "labels must lie in 0 to 1, got 2"),
        (lambda x: x, (np.zeros((1, 2)), np.array([0])), "sum to 1 for every example.*softmax"),
        (lambda x: x[:, :1], (np.zeros((1, 2)), np.array([0])), "predict.*must have shape"),
    ],
)
def test_decision_regions_refuse_what_does_not_fit(predict, points, message):
    with pytest.raises(ValueError, match=message):
        plots.decision_regions(predict, {"train": points}, ("a", "b"))
