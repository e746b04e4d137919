"""Many runs in one picture: the heat map of a sweep, and the curves of several runs."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jaxdl.checks import check_shape
from jaxdl.plots.curves import NOT_DRAWN, find_scalar
from jaxdl.plots.figure import OTHERS, TEST, TRAIN, label_axes, new_figure, shorten, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (TRAIN, TEST, *OTHERS)
DASHES = ("-", "--", ":", "-.")


def heat_map(
    values: Any,
    rows: Sequence[Any],
    columns: Sequence[Any],
    *,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
    better: Literal["min", "max"] = "min",
) -> "Figure":
    """Draws a value for every pair of two settings: the better, the darker; the best is framed.

    Where the values span more than 10×, the colours are logarithmic; one far worse than the median
    is as pale as the palest. A cell whose value is not finite is grey and says so.

    Args:
        values: (R, C) numbers.
        rows: R values of the first setting, from the top.
        columns: C values of the second.
        labels: names of the two settings.
        title: above the picture.
        better: whether less or more is better.

    Returns:
        A figure with one axes and a colour bar.

    Raises:
        ValueError: values that are not (R, C), or none.

    >>> figure = heat_map([[0.5, 0.2]], [0.0], [0.1, 0.01], labels=("decay", "rate"))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0.5', '0.2']
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    values = np.asarray(values, np.float64)
    check_shape("values", values, (len(rows), len(columns)))
    if not values.size:
        raise ValueError("values must hold at least one cell, got none.")
    finite = np.isfinite(values)
    shown = values[finite]
    figure = new_figure(2.6 + 0.85 * max(len(columns), 3), 1.6 + 0.55 * max(len(rows), 2))
    axes = figure.add_subplot()
    axes.set_facecolor("#DDDDDD")
    if shown.size:
        low, high = _color_range(shown, better)
        logarithmic = low > 0 and high > 10 * low
        norm = LogNorm(low, high, True) if logarithmic else Normalize(low, high, True)
        cmap = "Blues" if better == "max" else "Blues_r"
        masked = np.ma.masked_where(~finite, values)
        picture = axes.imshow(masked, cmap=cmap, norm=norm, aspect="auto", interpolation="nearest")
        bar = figure.colorbar(picture, ax=axes, aspect=30)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=9)
    else:
        axes.imshow(np.full(values.shape, np.nan), aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        text, color = "not\nfinite", "#555555"
        if finite[row, column]:
            shade = float(norm(value))
            text = f"{value:.3g}"
            color = "white" if (shade if better == "max" else 1 - shade) > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    if shown.size:
        signed = np.where(finite, values if better == "min" else -values, np.inf)
        row, column = divmod(int(signed.argmin()), values.shape[1])
        frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=TEST, linewidth=3)
        frame.set_clip_on(False)
        axes.add_patch(frame)
    axes.set_yticks(range(len(rows)), [_text(row) for row in rows], fontsize=9)
    axes.set_xticks(range(len(columns)), [_text(column) for column in columns], fontsize=9)
    if len(columns) > 6:
        axes.tick_params(axis="x", rotation=45)
    label_axes(axes, title, labels[1].replace("_", " "), labels[0].replace("_", " "))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def scattered_values(
    x: Any,
    y: Any,
    values: Any,
    *,
    labels: tuple[str, str] = ("x", "y"),
    title: str = "",
    better: Literal["min", "max"] = "min",
) -> "Figure":
    """Draws settings that are on no grid as points, the better the darker; the best has a ring.

    An axis whose values are positive and span more than 20× is logarithmic, and so are the colours
    beyond 10×. A cross is a setting whose value is not finite.

    Args:
        x: (N,) numbers, one setting.
        y: (N,) numbers, the other.
        values: (N,).
        labels: names of the two settings.
        title: above the picture.
        better: whether less or more is better.

    Returns:
        A figure with one axes and a colour bar.

    Raises:
        ValueError: shapes that disagree.
    """
    from matplotlib.colors import LogNorm, Normalize

    x, y, values = (np.asarray(array, np.float64) for array in (x, y, values))
    check_shape("x", x, ("N",))
    check_shape("y", y, x.shape)
    check_shape("values", values, x.shape)
    figure = new_figure(6.0, 4.6)
    axes = figure.add_subplot()
    finite = np.isfinite(values)
    if not finite.all():
        axes.scatter(x[~finite], y[~finite], marker="x", color="#888888", label="not finite")
    if finite.any():
        low, high = _color_range(values[finite], better)
        norm = LogNorm(low, high) if low > 0 and high > 10 * low else Normalize(low, high)
        cmap = "Blues" if better == "max" else "Blues_r"
        points = axes.scatter(
            x[finite], y[finite], c=values[finite], cmap=cmap, norm=norm, edgecolors="#666666", s=60
        )
        figure.colorbar(points, ax=axes, aspect=30).outline.set_visible(False)
        signed = np.where(finite, values if better == "min" else -values, np.inf)
        best = int(signed.argmin())
        axes.scatter(
            x[best], y[best], s=220, facecolors="none", edgecolors=TEST, linewidths=2.5,
            label=f"best: {values[best]:.4g}",
        )  # fmt: skip
    for numbers, scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if numbers.size and numbers.min() > 0 and numbers.max() > 20 * numbers.min():
            scale("log")
    label_axes(axes, title, *(label.replace("_", " ") for label in labels))
    tidy_axes(axes)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9, frameon=False)
    return figure


def run_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> "Figure":
    """Draws the curves of several runs over their epochs, one panel a metric, one colour a run.

    Args:
        histories: by the name of the run, one mapping an epoch, as the lines of ``metrics.jsonl``.
            A metric that some runs lack is drawn for the others.

    Returns:
        A figure with the panels in the order of the metrics, test before train.

    Raises:
        ValueError: there is nothing to draw.

    >>> figure = run_curves({"a": [{"test/loss": 0.9}], "b": [{"test/loss": 0.7}]})
    >>> [line.get_label() for line in figure.axes[0].get_lines()]
    ['a', 'b']
    """
    names: dict[str, None] = {}
    for history in histories.values():
        for row in history:
            for name, value in row.items():
                if find_scalar(value) is not None and not NOT_DRAWN.search(name):
                    names[name] = None
    if not names:
        raise ValueError("the runs hold no scalar such as 'test/loss' to draw.")
    panels = sorted(names, key=lambda name: (name.startswith("train/"), "learning_rate" in name))
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    labels = _labels(list(histories))
    figure = new_figure(4.4 * columns, 3.2 * rows + 0.28 * math.ceil(len(labels) / 2) + 0.2)
    for index, name in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        for place, (label, history) in enumerate(zip(labels, histories.values(), strict=True)):
            _draw_run(axes, name, label, history, place)
        label_axes(axes, name.replace("_", " "), "epoch")
        tidy_axes(axes)
    handles, texts = [], []
    for place, label in enumerate(labels):  # a run may lack the first panel's metric
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], **_style(place)))
        texts.append(label)
    figure.legend(handles, texts, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _draw_run(
    axes: "Axes", name: str, label: str, history: Sequence[Mapping[str, Any]], place: int
) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs, values = [], []
    for position, row in enumerate(history, start=1):
        value = find_scalar(row.get(name))
        if value is not None and math.isfinite(value):
            epochs.append(float(row.get("epoch", position)))
            values.append(value)
    if not values:
        return
    marker: dict[str, Any] = {"marker": "o", "markersize": 4} if len(values) <= 12 else {}
    axes.plot(epochs, values, label=label, **_style(place), **marker)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _style(place: int) -> dict[str, Any]:
    dash = DASHES[place // len(COLORS) % len(DASHES)]
    return {"color": COLORS[place % len(COLORS)], "linestyle": dash, "linewidth": 1.8}


def _labels(names: Sequence[str]) -> list[str]:
    """Names short enough for a legend, their ends kept, where runs differ."""
    return [name if len(name) <= 48 else "…" + name[-47:] for name in names]


def _color_range(values: np.ndarray, better: str) -> tuple[float, float]:
    """Least and largest value, but none so bad that it makes all others look alike."""
    low, high, middle = float(values.min()), float(values.max()), float(np.median(values))
    if better == "min":
        return low, min(high, middle + 10 * (middle - low)) if middle > low else high
    return max(low, middle - 10 * (high - middle)) if middle < high else low, high


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return shorten(str(value))
