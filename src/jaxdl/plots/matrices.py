"""Confusion matrices and heat maps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_shape
from jaxdl._text import shorten
from jaxdl.plots.style import TEST, label_axes, new_figure, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def confusion_matrix(matrix: ArrayLike, class_names: Sequence[str]) -> "Figure":
    """Draws a confusion matrix with the recall of each class.

    A cell's color is its share of the row's true class; up to 20 classes the counts stand in the
    cells. The right edge gives every class's recall, the title the overall accuracy.

    Args:
        matrix: (C, C) counts; row: true class, column: predicted class.
        class_names: C names.

    Returns:
        A figure with one axes, and a color bar where the cells hold no counts.

    Raises:
        ValueError: the matrix is not (C, C), or holds something other than counts.

    >>> figure = confusion_matrix([[8, 2], [1, 9]], ["cat", "dog"])
    >>> figure.axes[0].get_title()
    '85.00% accuracy on 20 examples'
    """
    from matplotlib.ticker import PercentFormatter

    counts = np.asarray(matrix)
    number = len(class_names)
    check_shape("matrix", counts, (number, number))
    counts = counts.astype(np.float64)
    if not number or not np.isfinite(counts).all() or (counts < 0).any() or (counts % 1).any():
        raise ValueError(
            "matrix must hold counts (whole numbers from 0, not shares), got "
            f"{counts.min():.4g} to {counts.max():.4g}."
            if number
            else "class_names is empty."
        )
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals, 1)[:, None]
    recalls = [
        f"{share:.1%}" if total else "–"
        for share, total in zip(np.diag(shares), totals, strict=True)
    ]

    numbered = number <= 20
    digits = len(f"{counts.max():.0f}")
    cell = max(0.5, 0.085 * digits + 0.1) if numbered else max(0.13, 10 / number)
    font = 9 if number <= 30 else max(3.5, 60 * cell)
    side = min(max(cell * number, 2.5), 20)
    margin = 0.0085 * font * max(len(name) for name in class_names)
    figure = new_figure(side + margin + (1.3 if numbered else 2.2), side + 0.75 * margin + 1.0)
    figure.set_layout_engine("compressed")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    _label_classes(axes, class_names, font, slant=45 if numbered else 90)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(number), recalls, fontsize=font)
    right.tick_params(length=0)
    axes.annotate("recall", (1, 1), (4, 4), "axes fraction", textcoords="offset points", fontsize=9)
    title = "no examples"
    if totals.sum():
        title = f"{np.trace(counts) / totals.sum():.2%} accuracy on {totals.sum():,.0f} examples"
    axes.set_title(title, fontsize=11, fontweight="bold", pad=20)
    for spine in (*axes.spines.values(), *right.spines.values()):
        spine.set_visible(False)
    if numbered:
        _write_counts(axes, counts, shares)
    else:
        bar = figure.colorbar(
            picture, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1), ticks=[0, 0.5, 1]
        )
        bar.set_label("share of the true class", fontsize=9)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
    return figure


def _label_classes(axes: "Axes", class_names: Sequence[str], font: float, *, slant: int) -> None:
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, fontsize=font, parse_math=False)
    axes.tick_params(axis="x", rotation=slant)
    for label in axes.get_xticklabels():
        label.set(ha="right", va="center", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")


def _write_counts(axes: "Axes", counts: np.ndarray, shares: np.ndarray) -> None:
    for row, column in np.ndindex(counts.shape):
        count, share = counts[row, column], shares[row, column]
        color = "white" if share > 0.5 else "black" if count else "#AAAAAA"
        axes.text(column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=9)


def heat_map(
    values: ArrayLike,
    rows: Sequence[object],
    columns: Sequence[object],
    *,
    labels: tuple[str, str] = ("", ""),
    title: str = "",
    mode: Literal["min", "max"] = "min",
) -> "Figure":
    """Draws a value for every pair of two settings: the better, the darker; the best is framed.

    Where the values span more than 10×, the colors are logarithmic; one far worse than the median
    is as pale as the palest. A cell whose value is not finite is gray and says so.

    Args:
        values: (R, C) numbers.
        rows: R values of the first setting, from the top.
        columns: C values of the second.
        labels: names of the two settings.
        title: above the picture.
        mode: "min" or "max": whether smaller or larger values are better.

    Returns:
        A figure with one axes and a color bar.

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
        low, high = _color_range(shown, mode)
        logarithmic = low > 0 and high > 10 * low
        norm = LogNorm(low, high, True) if logarithmic else Normalize(low, high, True)
        cmap = "Blues" if mode == "max" else "Blues_r"
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
            color = "white" if (shade if mode == "max" else 1 - shade) > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", color=color, fontsize=9)
    if shown.size:
        signed = np.where(finite, values if mode == "min" else -values, np.inf)
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
    x: ArrayLike,
    y: ArrayLike,
    values: ArrayLike,
    *,
    labels: tuple[str, str] = ("x", "y"),
    title: str = "",
    mode: Literal["min", "max"] = "min",
) -> "Figure":
    """Draws settings that are on no grid as points, the better the darker; the best has a ring.

    An axis whose values are positive and span more than 20× is logarithmic, and so are the colors
    beyond 10×. A cross is a setting whose value is not finite.

    Args:
        x: (N,) numbers, one setting.
        y: (N,) numbers, the other.
        values: (N,).
        labels: names of the two settings.
        title: above the picture.
        mode: "min" or "max": whether smaller or larger values are better.

    Returns:
        A figure with one axes and a color bar.

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
        low, high = _color_range(values[finite], mode)
        norm = LogNorm(low, high) if low > 0 and high > 10 * low else Normalize(low, high)
        cmap = "Blues" if mode == "max" else "Blues_r"
        points = axes.scatter(
            x[finite], y[finite], c=values[finite], cmap=cmap, norm=norm, edgecolors="#666666", s=60
        )
        figure.colorbar(points, ax=axes, aspect=30).outline.set_visible(False)
        signed = np.where(finite, values if mode == "min" else -values, np.inf)
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


def _color_range(values: np.ndarray, mode: str) -> tuple[float, float]:
    """Least and largest value, but none so bad that it makes all others look alike."""
    low, high, middle = float(values.min()), float(values.max()), float(np.median(values))
    if mode == "min":
        return low, min(high, middle + 10 * (middle - low)) if middle > low else high
    return max(low, middle - 10 * (high - middle)) if middle < high else low, high


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return shorten(str(value))
