"""The confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.checks import check_shape
from jaxdl.plots.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion_matrix(matrix: Any, class_names: Sequence[str]) -> "Figure":
    """Draws how often each true class was predicted as each class.

    A cell's colour is its share of the row's true class; up to 20 classes the counts stand in the
    cells. The right edge gives every class's recall, the title the overall accuracy.

    Args:
        matrix: (C, C) counts; row: true class, column: predicted class.
        class_names: C names.

    Returns:
        A figure with one axes, and a colour bar where the cells hold no counts.

    Raises:
        ValueError: the matrix is not (C, C), or holds something other than counts.
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
    ticks = range(number)
    slant = 45 if numbered else 90
    axes.set_xticks(ticks, class_names, fontsize=font, parse_math=False)
    axes.tick_params(axis="x", rotation=slant)
    for label in axes.get_xticklabels():
        label.set(ha="right", va="center", rotation_mode="anchor")
    axes.set_yticks(ticks, class_names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if totals.sum():
        title = f"{np.trace(counts) / totals.sum():.2%} accuracy on {totals.sum():,.0f} examples"
    else:
        title = "no examples"
    axes.set_title(title, fontsize=11, fontweight="bold", pad=20)
    if numbered:
        for row, column in np.ndindex(number, number):
            count, share = counts[row, column], shares[row, column]
            color = "white" if share > 0.5 else "black" if count else "#AAAAAA"
            axes.text(
                column, row, f"{count:.0f}", ha="center", va="center", color=color, fontsize=9
            )
    right = axes.secondary_yaxis("right")
    right.set_yticks(ticks, recalls, fontsize=font)
    right.tick_params(length=0)
    axes.annotate(
        "recall",
        (1, 1),
        xycoords="axes fraction",
        xytext=(4, 4),
        textcoords="offset points",
        fontsize=9,
    )
    for spine in (*axes.spines.values(), *right.spines.values()):
        spine.set_visible(False)
    if not numbered:
        bar = figure.colorbar(
            picture, ax=axes, shrink=0.5, aspect=30, format=PercentFormatter(1), ticks=[0, 0.5, 1]
        )
        bar.set_label("share of the true class", fontsize=9)
        bar.ax.tick_params(labelsize=9)
        bar.outline.set_visible(False)
    return figure
