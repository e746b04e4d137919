"""Plots of the plane: points, curves and decision regions."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_labels, check_shape
from jaxdl.plots.style import (
    CURVES,
    OTHERS,
    TRAIN,
    check_distributions,
    label_axes,
    new_figure,
    tidy_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def points_and_curves(
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    trace: Sequence[tuple[ArrayLike, ArrayLike]] = (),
    trace_name: str = "earlier",
    labels: tuple[str, str] = ("x", "y"),
    title: str = "",
) -> "Figure":
    """Draws points of the plane and curves through them: a fit and its data, a boundary.

    The points alone decide the part of the plane that is shown; a curve that leaves it is cut off.
    Without points the curves decide.

    Args:
        points: (x (N,), y (N,)) by name, one color and marker per group; {} shows curves only.
        curves: (x (M,), y (M,)) by name, one color and dash per curve.
        trace: earlier curves, oldest first, thin and gray, the latest darkest.
        trace_name: what the legend calls them.
        labels: of the two axes.
        title: above the picture.

    Returns:
        A figure with one axes.

    Raises:
        ValueError: no points, x and y that do not match, or points that are not finite.

    >>> figure = points_and_curves({"data": ([0, 1], [1, 3])}, {"fit": ([0, 1], [1.1, 2.9])})
    >>> [line.get_label() for line in figure.axes[0].get_lines()]
    ['data', 'fit']
    """
    groups = {name: _check_curve(name, pair) for name, pair in points.items()}
    shown = groups or {name: _check_curve(name, pair) for name, pair in curves.items()}
    if not shown or not all(x.size and np.isfinite([x, y]).all() for x, y in shown.values()):
        raise ValueError(
            "points, or else curves, must hold at least one group of finite points, got "
            f"{ {name: x.size for name, (x, _) in shown.items()} } points."
        )
    figure = new_figure(6.0, 4.6)
    axes = figure.add_subplot()
    for index, (name, (x, y)) in enumerate(groups.items()):
        _draw_points(axes, name, x, y, index)
    for index, (name, pair) in enumerate(curves.items()):
        x, y = _check_curve(name, pair)
        color, dash = CURVES[index % len(CURVES)]
        axes.plot(x, y, color=color, linestyle=dash, linewidth=2.0, label=name, zorder=3)
    for index, pair in enumerate(trace):
        x, y = _check_curve(f"trace[{index}]", pair)
        gray = 0.88 - 0.38 * (index + 1) / len(trace)
        label = trace_name if index == len(trace) - 1 else "_"
        axes.plot(x, y, color=str(gray), linewidth=1.0, label=label, zorder=1)
    _show_points(axes, list(shown.values()))
    _finish_plane(axes, labels, title)
    return figure


def decision_regions(
    predict: Callable[[np.ndarray], ArrayLike],
    points: Mapping[str, tuple[ArrayLike, ArrayLike]],
    class_names: Sequence[str],
    *,
    labels: tuple[str, str] = ("x1", "x2"),
    title: str = "",
) -> "Figure":
    """Draws the decision regions of a classifier of two inputs, and points.

    The regions are paler where the model is less sure.

    Args:
        predict: (M, 2) float32 points → (M, C) probabilities (softmax of the logits).
        points: (inputs (N, 2), labels (N,) integers) by the name of the split; the first has round
            markers, the second stars.
        class_names: C names.
        labels: of the two axes.
        title: above the picture.

    Returns:
        A figure with one axes.

    Raises:
        ValueError: points that are not in a plane, a label out of range, or rows that
            are not a distribution.

    >>> def predict(points):  # the second class has a positive first coordinate
    ...     share = 1 / (1 + np.exp(-points[:, 0]))
    ...     return np.stack([1 - share, share], axis=1)
    >>> points = {"train": (np.array([[-1.0, 0.0], [1.0, 2.0]]), np.array([0, 1]))}
    >>> figure = decision_regions(predict, points, ["left", "right"], title="sigmoid")
    >>> figure.axes[0].get_title()
    'sigmoid'
    """
    from matplotlib.colors import to_rgb

    splits = {name: (np.asarray(x), np.asarray(y)) for name, (x, y) in points.items()}
    for name, (inputs, classes) in splits.items():
        check_shape(f"inputs of {name!r}", inputs, ("N", 2))
        check_shape(f"labels of {name!r}", classes, (len(inputs),))
        check_labels(classes, len(class_names))
    figure = new_figure(6.0, 4.6)
    axes = figure.add_subplot()
    _show_points(axes, [(x[:, 0], x[:, 1]) for x, _ in splits.values()])
    left, right, low, high = *axes.get_xlim(), *axes.get_ylim()
    size = 240
    # the middles of size x size pixels
    across, up = (
        start + (np.arange(size) + 0.5) / size * (stop - start)
        for start, stop in ((left, right), (low, high))
    )
    grid = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(np.float32)
    probabilities = np.asarray(predict(grid)).astype(np.float32)
    check_shape("predict(points)", probabilities, (len(grid), len(class_names)))
    check_distributions(probabilities)
    colors = np.array([to_rgb(color) for color, _ in _markers(len(class_names))])
    sure = probabilities.max(axis=1, keepdims=True)
    strength = 0.12 + 0.33 * (sure - 1 / len(class_names)) / (1 - 1 / len(class_names))
    pixels = 1 - strength * (1 - colors[probabilities.argmax(axis=1)])
    axes.imshow(
        pixels.reshape(size, size, 3),
        origin="lower",
        extent=(left, right, low, high),
        aspect="auto",
        interpolation="nearest",
        zorder=0,
    )
    for index in range(1, len(class_names)):
        lead = probabilities[:, index] - np.delete(probabilities, index, axis=1).max(axis=1)
        if lead.min() < 0 < lead.max():
            border = lead.reshape(size, size)
            axes.contour(across, up, border, [0.0], colors="#666666", linewidths=0.8, zorder=1)
    for split, (name, (inputs, classes)) in enumerate(splits.items()):
        for index, class_name in enumerate(class_names):
            x, y = inputs[classes == index].T
            if x.size:
                _draw_points(axes, f"{name}: {class_name}", x, y, index, star=split % 2 == 1)
    _finish_plane(axes, labels, title)
    axes.grid(False)
    return figure


def class_map(
    points: ArrayLike,
    classes: ArrayLike,
    class_names: Sequence[str],
    *,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
) -> "Figure":
    """Draws many points of the plane by class, with each class's name in its middle.

    Args:
        points: (N, 2), finite: e.g. embeddings after PCA or t-SNE.
        classes: (N,) integers.
        class_names: C names.
        labels: of the two axes.
        title: above the picture.

    Returns:
        A figure with one axes.

    Raises:
        ValueError: points that are not in a plane or not finite, or a class out of range.

    >>> figure = class_map([[0, 0], [0, 1], [5, 5]], [0, 0, 1], ["zero", "one"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['zero', 'one']
    """
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    points, classes = np.asarray(points, np.float64), np.asarray(classes)
    check_shape("points", points, ("N", 2))
    check_shape("classes", classes, (len(points),))
    check_labels(classes, len(class_names))
    if not len(points) or not np.isfinite(points).all():
        raise ValueError(f"points must be finite, at least one, got {len(points)} points.")
    shades = np.linspace(0, 1, len(class_names)) if len(class_names) > 10 else None
    colors = colormaps["tab10"].colors if shades is None else colormaps["turbo"](shades)  # type: ignore[attr-defined]
    figure = new_figure(6.0, 5.0)
    axes = figure.add_subplot()
    shown = [colors[index] for index in classes]
    axes.scatter(points[:, 0], points[:, 1], c=shown, s=9, linewidths=0, alpha=0.8)
    for index in np.unique(classes):
        x, y = np.median(points[classes == index], axis=0)
        axes.text(
            x,
            y,
            class_names[index],
            fontsize=12,
            fontweight="bold",
            ha="center",
            va="center",
            parse_math=False,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    label_axes(axes, title, *labels)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _check_curve(name: str, pair: tuple[ArrayLike, ArrayLike]) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(values, np.float64) for values in pair)
    check_shape(f"x of {name!r}", x, ("N",))
    check_shape(f"y of {name!r}", y, x.shape)
    return x, y


def _markers(number: int) -> list[tuple[str, str]]:
    """(color, marker) of each group of points."""
    colors = (TRAIN, *OTHERS)
    return [(colors[i % len(colors)], "os^Dv"[i % 5]) for i in range(number)]


def _draw_points(
    axes: "Axes", name: str, x: np.ndarray, y: np.ndarray, index: int, *, star: bool = False
) -> None:
    color, marker = _markers(index + 1)[index]
    axes.plot(
        x,
        y,
        label=name,
        color=color,
        linestyle="none",
        marker="*" if star else marker,
        markersize=12 if star else 6,
        markeredgecolor="black" if star else "white",
        markeredgewidth=0.8,
        zorder=2,
    )


def _show_points(axes: "Axes", groups: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
    """Limits with a margin about all points, whatever else is drawn."""
    x, y = (np.concatenate(values) for values in zip(*groups, strict=True))
    axes.set_xlim(*_with_margin(x))
    axes.set_ylim(*_with_margin(y))


def _with_margin(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin


def _finish_plane(axes: "Axes", labels: tuple[str, str], title: str) -> None:
    label_axes(axes, title, *labels)
    tidy_axes(axes)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize=9,
        frameon=False,
        columnspacing=1.6,
    )
