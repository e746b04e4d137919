"""The pictures: what they show, not that they exist."""

import subprocess
import sys
import threading

import jax.numpy as jnp
import matplotlib.colors
import numpy as np
import pytest
from PIL import Image

from jaxdl import plots

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


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, label):
    return next(found for found in axes.get_lines() if found.get_label() == label)


def test_one_panel_a_quantity_and_the_learning_rate_last():
    figure = plots.learning_curves([{"learning_rate": 0.1, **row} for row in HISTORY])
    assert titles(figure) == ["loss", "accuracy", "learning rate"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert list(line(figure.axes[0], "train").get_ydata()) == [1, 1 / 2, 1 / 3, 1 / 4]
    assert list(line(figure.axes[0], "test").get_xdata()) == [1, 2, 3, 4]


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


@pytest.mark.parametrize(("number", "columns", "rows"), [(8, 3, 3), (8, None, 1), (9, None, 2)])
def test_the_grid_rounds_its_rows_up(number, columns, rows):
    figure = plots.image_grid(np.zeros((number, 4, 4, 1), np.uint8), num_columns=columns)
    assert len(figure.axes) == number
    expected = (rows, columns or min(number, 8))
    assert figure.axes[-1].get_gridspec().get_geometry() == expected


def test_the_grid_shows_the_pixels():
    images = np.linspace(0, 1, 2 * 5 * 4 * 3).reshape(2, 5, 4, 3).astype(np.float32)
    figure = plots.image_grid(images, titles=["a", "$b$"], title_colors=["red", "black"])
    np.testing.assert_allclose(figure.axes[1].get_images()[0].get_array(), images[1])
    assert titles(figure) == ["a", "$b$"]
    assert figure.axes[0].title.get_color() == "red"


def test_grey_images_share_one_range():
    images = np.stack([np.full((4, 4, 1), value, np.uint8) for value in (10, 200)])
    figure = plots.image_grid(images)
    assert {axes.get_images()[0].get_clim() for axes in figure.axes} == {(0, 255)}
    assert plots.image_grid(images / 255).axes[0].get_images()[0].get_clim() == (0, 1)


def test_bfloat16_images_are_drawn():
    figure = plots.image_grid(jnp.full((1, 2, 2, 1), 0.5, jnp.bfloat16))
    assert figure.axes[0].get_images()[0].get_array().max() == 0.5


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4, 1), np.uint8), r"shape \(N, H, W, any\), got \(4, 4, 1\)"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"got \(2, 3, 8, 8\).*transpose\(0, 2, 3, 1\)"),
        (np.zeros((0, 8, 8, 1), np.uint8), r"got \(0, 8, 8, 1\)"),
        (np.zeros((1, 2, 2, 1), np.int32), "uint8, or floating point.*got int32"),
        (np.full((1, 2, 2, 1), 1.5), r"lie in \[0, 1\], got 1.5 to 1.5.*std \+ mean"),
        (np.full((1, 2, 2, 1), np.nan), r"lie in \[0, 1\], got nan"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(images)


def test_the_grid_wants_one_title_an_image():
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=r"titles must have one entry per image \(2\), got 1"):
        plots.image_grid(images, titles=["a"])
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        plots.image_grid(images, num_columns=0)


def test_predictions_are_green_if_right_and_red_with_the_true_class_if_wrong():
    figure = plots.predictions(
        np.zeros((2, 4, 4, 1), np.uint8),
        np.array([0, 0]),
        np.array([[0.9, 0.1], [0.25, 0.75]]),
        ["cat", "a very long name of a dog"],
    )
    assert titles(figure) == ["cat\n90 %", "a very long n… 75 %\ntrue: cat"]
    green, red = (matplotlib.colors.to_rgb(axes.title.get_color()) for axes in figure.axes)
    assert max(green) == green[1]
    assert max(red) == red[0]


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [[3.0, -2.0], [0.5, 0.5]], "sums from 1 to 1.*softmax"),
        ([0, 1], [[0.9, 0.9], [0.5, 0.5]], "sums from 1 to 1.8.*softmax"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "labels must lie in 0 to 1, got 2 at index 1"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], r"labels must have shape \(2\), got \(1,\)"),
        ([0, 1], [[1.0], [1.0]], r"probabilities must have shape \(2, 2\), got \(2, 1\)"),
    ],
)
def test_predictions_refuse_what_does_not_fit(labels, probabilities, message):
    images = np.zeros((2, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match=message):
        plots.predictions(images, np.array(labels), np.array(probabilities), ["cat", "dog"])


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


def test_many_classes_have_a_colour_bar_instead_of_numbers():
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


def test_decision_regions_are_coloured_by_class_and_paler_where_unsure(tmp_path):
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


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: plots.learning_curves(HISTORY), (1980, 525)),
        (lambda: plots.image_grid(np.eye(28).reshape(1, 28, 28, 1)), (150, 150)),
        (lambda: plots.confusion_matrix(np.eye(2), ["a", "b"]), None),
    ],
)
def test_the_file_is_a_picture_of_the_expected_size(tmp_path, make, size):
    figure = make()
    path = plots.save(figure, tmp_path / "new" / "picture.png")
    assert path == tmp_path / "new" / "picture.png"
    with Image.open(path) as picture:
        inches = figure.get_size_inches()
        assert picture.size == (size or tuple((inches * plots._style.DPI).astype(int)))
        gray = np.asarray(picture.convert("L"))
    assert gray.max() > 240  # background
    assert gray.min() < 100  # ink
    assert gray[0].mean() > 200 or size == (150, 150)  # text does not run over the edge
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_nothing_is_cut_off_at_the_left_edge(tmp_path):
    rows = [{"epoch": i, "train/loss": 1.75 / i, "test/loss": 1.7 / i} for i in range(1, 31)]
    path = plots.save(plots.learning_curves(rows), tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L"))[:, :2].min() > 250


def test_saving_replaces_the_old_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    plots.save(plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8)), path, dpi=50)
    with Image.open(path) as picture:
        assert picture.size == (50, 50)


def test_a_failed_save_leaves_the_old_picture_and_says_why(tmp_path, monkeypatch):
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"picture.png: No space left on device\. Make the folder"):
        plots.save(figure, path)
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(OSError, match=r"Cannot write the picture .*picture\.png"):
        plots.save(figure, tmp_path / "file" / "picture.png")
    with pytest.raises(ValueError, match=r"must end in .png, got .*picture.jpg"):
        plots.save(figure, tmp_path / "picture.jpg")


def test_threads_draw_the_same_picture(tmp_path):
    def draw(name):
        plots.save(plots.confusion_matrix(np.eye(3), ["a", "b", "c"]), tmp_path / name)

    names = ["0.png", "1.png", "2.png"]
    threads = [threading.Thread(target=draw, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tmp_path / name).read_bytes() for name in names}) == 1


def test_a_notebook_shows_the_figure_without_pyplot():
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_importing_plots_does_not_import_matplotlib_and_drawing_not_pyplot():
    code = """
import sys, numpy
from jaxdl import plots
assert "matplotlib" not in sys.modules
plots.image_grid(numpy.zeros((1, 4, 4, 1), "uint8"))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
