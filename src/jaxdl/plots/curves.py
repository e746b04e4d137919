"""Curves of one run or of several."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl import metrics
from jaxdl._text import shorten
from jaxdl.plots.style import OTHERS, TEST, TRAIN, label_axes, new_figure, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


TEST_SPLITS = ("test", "validation", "valid", "val", "eval")


NOT_DRAWN = re.compile(r"(^|/)(epoch|step|epoch_seconds|eval_seconds)$|_per_second$")


Row = Mapping[str, Any]
"""A row of a history: numbers and counts by name."""


def learning_curves(history: Sequence[Row]) -> "Figure":
    """Draws every quantity of a run over its epochs, one panel per quantity.

    ``train/loss`` and ``test/loss`` share the panel "loss", in which the best test value is marked:
    the highest of an accuracy, the lowest of a loss. Learning rates come last, on a logarithmic
    axis where they span more than 10×. ``epoch``, ``step``, ``epoch_seconds``, ``*_per_second`` and
    values that are not scalars are left out; NaN and infinity leave a gap and are named.

    Args:
        history: one mapping per epoch, as the lines of ``metrics.jsonl``; a key may be absent from
            some rows. A row without ``epoch`` counts as its position, from 1.

    Returns:
        A figure with the panels in the order of the history's keys.

    Raises:
        ValueError: the history is empty or holds nothing to draw.

    >>> figure = learning_curves([{"epoch": 1, "train/loss": 0.9, "test/loss": 0.8}])
    >>> [axes.get_title() for axes in figure.axes]
    ['loss']
    """
    panels = _panels(history)
    if not panels:
        keys = sorted({key for row in history for key in row})
        raise ValueError(
            "history must hold at least one row with a scalar such as 'train/loss', got "
            f"{len(history)} rows with the keys {keys}."
        )
    columns = min(len(panels), 3 if len(panels) != 4 else 2)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(4.4 * columns, 3.5 * rows)
    epochs = [epoch for lines in panels.values() for line, _ in lines.values() for epoch in line]
    for index, (quantity, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, quantity, lines, (min(epochs), max(epochs)))
    return figure


def _panels(
    history: Sequence[Row],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Sorts a history into quantity → line → (epochs, values), learning rates last."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for position, row in enumerate(history, start=1):
        for key, value in row.items():
            number = find_scalar(value)
            if number is None or NOT_DRAWN.search(key):
                continue
            line, _, quantity = key.rpartition("/") if key.count("/") < 2 else key.partition("/")
            if "learning_rate" in (line, quantity):
                line, quantity = (quantity if line == "learning_rate" else line), "learning_rate"
            epochs, values = panels.setdefault(quantity, {}).setdefault(line, ([], []))
            epochs.append(float(row.get("epoch", position)))
            values.append(number)
    if "learning_rate" in panels:
        panels["learning_rate"] = panels.pop("learning_rate")
    return panels


def find_scalar(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float) or (
        getattr(value, "ndim", None) == 0 and value.dtype != bool
    ):
        return float(value)
    return None


def _draw_panel(
    axes: "Axes",
    quantity: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    span: tuple[float, float],
) -> None:
    from matplotlib.ticker import MaxNLocator

    others = iter(OTHERS * len(lines))
    for name, (epochs, numbers) in lines.items():
        values = np.where(np.isfinite(numbers), numbers, np.nan)
        color = TRAIN if name in ("train", "") else TEST if name == "test" else next(others)
        shown = np.isfinite(values)
        label = name
        if not shown.all():
            first = int(shown.argmin())
            since = "at" if shown[first:].any() else "from"
            label = f"{name} (not finite {since} epoch {epochs[first]:g})".lstrip()
        alone = shown & ~np.append(False, shown[:-1]) & ~np.append(shown[1:], False)
        axes.plot(
            epochs,
            values,
            label=label or None,
            color=color,
            linewidth=1.8,
            marker="o",
            markersize=4,
            markevery=list(np.flatnonzero(shown if len(values) <= 12 else alone)),
        )
        if name in TEST_SPLITS:
            _mark_best(axes, quantity, name, epochs, values, color)

    label_axes(axes, quantity.replace("_", " "), "epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    margin = 0.04 * (span[1] - span[0]) or 0.5
    axes.set_xlim(span[0] - margin, span[1] + margin)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.margins(y=0.12)
    values = np.concatenate([values for _, values in lines.values()])
    values = values[np.isfinite(values)]
    if quantity == "learning_rate" and values.size and values.min() > 0:
        if values.max() > 10.001 * values.min():
            axes.set_yscale("log")
        elif values.max() == values.min():
            axes.set_ylim(0, 1.5 * values.max())
    tidy_axes(axes)
    labels = axes.get_legend_handles_labels()[1]
    if labels:  # below the panel, where it covers no curve
        fitting = 3 if len("".join(labels)) < 45 else 2 if max(map(len, labels)) < 33 else 1
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.17),
            ncols=fitting,
            fontsize=9,
            frameon=False,
            columnspacing=1.2,
            handlelength=1.6,
        )


def _mark_best(
    axes: "Axes",
    quantity: str,
    split: str,
    epochs: Sequence[float],
    values: np.ndarray,
    color: str,
) -> None:
    direction = metrics.direction(quantity)
    if not np.isfinite(values).any() or direction is None:
        return
    best = int(np.nanargmax(values) if direction == "max" else np.nanargmin(values))
    axes.plot(
        [epochs[best]],
        [values[best]],
        label=f"best {split}: {values[best]:.4g} at epoch {epochs[best]:g}",
        color=color,
        linestyle="none",
        marker="*",
        markersize=14,
        markeredgecolor="white",
        zorder=4,
    )


COLORS = (TRAIN, TEST, *OTHERS)


DASHES = ("-", "--", ":", "-.")


def run_curves(histories: Mapping[str, Sequence[Row]]) -> "Figure":
    """Draws the curves of several runs over their epochs, one panel per metric, one color per run.

    Args:
        histories: by the name of the run, one mapping per epoch, as the lines of ``metrics.jsonl``.
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


def _draw_run(axes: "Axes", name: str, label: str, history: Sequence[Row], place: int) -> None:
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
    return [shorten(name, 48, keep_end=True) for name in names]
