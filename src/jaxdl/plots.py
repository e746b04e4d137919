"""Pictures of a run: learning curves, images, predictions, a confusion matrix, fits, boundaries.

Every function returns a ``matplotlib.figure.Figure`` and touches no global state (no pyplot), so it
works without a display, in notebooks and in threads. :func:`save` writes one as a PNG.
"""

import functools
import io
import math
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.checks import check_labels, check_shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colours that differ for colour-blind readers too (after Okabe and Ito, 2008).
TRAIN, TEST = "#0072B2", "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
CURVES = ((TEST, "-"), ("#333333", "--"), ("#CC79A7", ":"), ("#56B4E9", "-."))
RIGHT, WRONG = "#007A5A", "#C0390B"

DPI = 150
TEST_SPLITS = ("test", "validation", "valid", "val", "eval")
HIGHER_IS_BETTER = {"accuracy", "precision", "recall", "f1", "auc", "iou", "psnr", "bleu"}
LOWER_IS_BETTER = {"loss", "error", "perplexity", "nll", "mse", "rmse", "mae"}
NOT_DRAWN = re.compile(r"(^|/)(epoch|step|epoch_seconds|eval_seconds)$|_per_second$")


def learning_curves(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draws every quantity of a run over its epochs, one panel a quantity.

    ``train/loss`` and ``test/loss`` share the panel "loss", in which the best test value is marked:
    the highest of an accuracy, the lowest of a loss. Learning rates come last, on a logarithmic
    axis where they span more than 10×. ``epoch``, ``step``, ``epoch_seconds``, ``*_per_second`` and
    values that are not scalars are left out; NaN and infinity leave a gap and are named.

    Args:
        history: one mapping an epoch, as the lines of ``metrics.jsonl``; a key may be absent from
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
    figure = _figure(4.4 * columns, 3.5 * rows)
    epochs = [epoch for lines in panels.values() for line, _ in lines.values() for epoch in line]
    for index, (quantity, lines) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, quantity, lines, (min(epochs), max(epochs)))
    return figure


def _panels(
    history: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Sorts a history into quantity → line → (epochs, values), learning rates last."""
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for position, row in enumerate(history, start=1):
        for key, value in row.items():
            number = _scalar(value)
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


def _scalar(value: Any) -> float | None:
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

    axes.set_title(quantity.replace("_", " "), fontsize=11, fontweight="bold", parse_math=False)
    axes.set_xlabel("epoch")
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
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
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
    words = set(re.split(r"[^a-z0-9]+", quantity.lower()))
    if not np.isfinite(values).any() or not words & (HIGHER_IS_BETTER | LOWER_IS_BETTER):
        return
    best = int(np.nanargmax(values) if words & HIGHER_IS_BETTER else np.nanargmin(values))
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


def image_grid(
    images: Any,
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    title_colors: Sequence[str] | None = None,
) -> "Figure":
    """Draws images side by side in rows, as ``torchvision.utils.make_grid`` but with titles.

    Args:
        images: (N, H, W, C) with C 1 (grey) or 3 (colour); uint8, or floating point in [0, 1].
        titles: N texts to stand above the images.
        columns: images a row; 8, or N if that is fewer, by default. The last row may be shorter.
        title_colors: N Matplotlib colours.

    Returns:
        A figure with one axes an image.

    Raises:
        ValueError: wrong shape, dtype or range, or not one title and colour an image.

    >>> figure = image_grid(np.zeros((8, 28, 28, 1), np.uint8), columns=3)
    >>> len(figure.axes)
    8
    """
    images = _check_images(images)
    number, height, width, _ = images.shape
    for name, given in (("titles", titles), ("title_colors", title_colors)):
        if given is not None and len(given) != number:
            raise ValueError(f"{name} must have one entry an image ({number}), got {len(given)}.")
    columns = min(number, 8) if columns is None else columns
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    rows = math.ceil(number / columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    cell = 1.35 if titles else 1.0
    figure = _figure(cell * columns, (cell * height / width + 0.15 * lines) * rows)
    pad = 0.05 if titles else 0.02
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=pad, wspace=0, hspace=0)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(
            image[..., 0] if image.shape[-1] == 1 else image,
            cmap="gray",
            vmin=0,
            vmax=255 if images.dtype == np.uint8 else 1,
        )
        axes.set_axis_off()
        if titles:
            color = title_colors[index] if title_colors is not None else "black"
            axes.set_title(titles[index], fontsize=8, color=color, pad=3, parse_math=False)
    return figure


def _check_images(images: Any) -> np.ndarray:
    images = np.asarray(images)
    check_shape("images", images, ("N", "H", "W", None))
    if 0 in images.shape or images.shape[-1] not in (1, 3):
        raise ValueError(
            "images must have shape (N, H, W, C) with at least one pixel and C 1 or 3, got "
            f"{images.shape}. PyTorch's (N, C, H, W) becomes this by images.transpose(0, 2, 3, 1)."
        )
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind not in "fV":  # V: bfloat16
        raise ValueError(f"images must be uint8, or floating point in [0, 1], got {images.dtype}.")
    images = images.astype(np.float32)
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"floating-point images must lie in [0, 1], got {low:.4g} to {high:.4g}. "
            "Undo the normalisation first: images * std + mean."
        )
    return images


def predictions(
    images: Any,
    labels: Any,
    probabilities: Any,
    class_names: Sequence[str],
    *,
    columns: int = 8,
) -> "Figure":
    """Draws images with the predicted class and its probability: green if right, else red.

    A wrong one names the true class as well, so the colour is never the only sign.

    Args:
        images: (N, H, W, C) with C 1 or 3; uint8, or floating point in [0, 1].
        labels: (N,) integers, the true classes.
        probabilities: (N, C) floating point, the model's distribution over the classes (softmax of
            its logits).
        class_names: C names.
        columns: images a row.

    Returns:
        A figure with one axes an image.

    Raises:
        ValueError: shapes that disagree, a label out of range, or rows that are no distribution.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    probabilities = np.asarray(probabilities).astype(np.float32)
    check_shape("labels", labels, (len(images),))
    check_shape("probabilities", probabilities, (len(images), len(class_names)))
    check_labels(labels, len(class_names))
    _check_distributions(probabilities)
    predicted = probabilities.argmax(axis=1)
    titles = [
        f"{_shorten(class_names[guess])}\n{percent:.0f} %"
        if guess == label
        else f"{_shorten(class_names[guess])} {percent:.0f} %\ntrue: {_shorten(class_names[label])}"
        for guess, label, percent in zip(predicted, labels, 100 * probabilities.max(1), strict=True)
    ]
    colors = [RIGHT if right else WRONG for right in predicted == labels]
    return image_grid(images, titles=titles, columns=min(columns, len(images)), title_colors=colors)


def _shorten(name: str, length: int = 14) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"


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
    figure = _figure(side + margin + (1.3 if numbered else 2.2), side + 0.75 * margin + 1.0)
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


def points_and_curves(
    points: Mapping[str, tuple[Any, Any]],
    curves: Mapping[str, tuple[Any, Any]],
    *,
    trace: Sequence[tuple[Any, Any]] = (),
    trace_name: str = "earlier",
    labels: tuple[str, str] = ("x", "y"),
    title: str = "",
) -> "Figure":
    """Draws points of the plane and curves through them: a fit and its data, a boundary.

    The points alone decide what part of the plane is shown; a curve that leaves it is cut off.
    Without points the curves decide.

    Args:
        points: (x (N,), y (N,)) by name, one colour and marker a group; {} shows curves only.
        curves: (x (M,), y (M,)) by name, one colour and dash a curve.
        trace: earlier curves, oldest first, thin and grey, the latest darkest.
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
    figure = _figure(6.0, 4.6)
    axes = figure.add_subplot()
    for index, (name, (x, y)) in enumerate(groups.items()):
        _draw_points(axes, name, x, y, index)
    for index, (name, pair) in enumerate(curves.items()):
        x, y = _check_curve(name, pair)
        color, dash = CURVES[index % len(CURVES)]
        axes.plot(x, y, color=color, linestyle=dash, linewidth=2.0, label=name, zorder=3)
    for index, pair in enumerate(trace):
        x, y = _check_curve(f"trace[{index}]", pair)
        grey = 0.88 - 0.38 * (index + 1) / len(trace)
        label = trace_name if index == len(trace) - 1 else "_"
        axes.plot(x, y, color=str(grey), linewidth=1.0, label=label, zorder=1)
    _show_points(axes, list(shown.values()))
    _finish_plane(axes, labels, title)
    return figure


def decision_regions(
    predict: Callable[[np.ndarray], Any],
    points: Mapping[str, tuple[Any, Any]],
    class_names: Sequence[str],
    *,
    labels: tuple[str, str] = ("x1", "x2"),
    title: str = "",
) -> "Figure":
    """Draws which class a model of two inputs predicts where, and the points it was made from.

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
        ValueError: points that are not in a plane, a label out of range, or no distribution.
    """
    from matplotlib.colors import to_rgb

    splits = {name: (np.asarray(x), np.asarray(y)) for name, (x, y) in points.items()}
    for name, (inputs, classes) in splits.items():
        check_shape(f"inputs of {name!r}", inputs, ("N", 2))
        check_shape(f"labels of {name!r}", classes, (len(inputs),))
        check_labels(classes, len(class_names))
    figure = _figure(6.0, 4.6)
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
    _check_distributions(probabilities)
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


def _check_curve(name: str, pair: tuple[Any, Any]) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(values, np.float64) for values in pair)
    check_shape(f"x of {name!r}", x, ("N",))
    check_shape(f"y of {name!r}", y, x.shape)
    return x, y


def _check_distributions(probabilities: np.ndarray) -> None:
    sums = probabilities.sum(axis=1)
    if not ((probabilities >= 0).all() and (np.abs(sums - 1) < 0.05).all()):
        raise ValueError(
            "probabilities must be at least 0 and sum to 1 for every example, got values from "
            f"{probabilities.min():.4g} to {probabilities.max():.4g} and sums from "
            f"{sums.min():.4g} to {sums.max():.4g}. Logits become them by jax.nn.softmax."
        )


def _markers(number: int) -> list[tuple[str, str]]:
    """(colour, marker) of so many groups of points."""
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
    axes.set_xlabel(labels[0], parse_math=False)
    axes.set_ylabel(labels[1], parse_math=False)
    axes.set_title(title, fontsize=11, fontweight="bold", parse_math=False)
    axes.grid(color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=2,
        fontsize=9,
        frameon=False,
        columnspacing=1.6,
    )


def save(figure: "Figure", path: str | os.PathLike[str], *, dpi: int = DPI) -> Path:
    """Writes a figure as a PNG at once: a reader finds the old file or the whole new one.

    Args:
        figure: what a function of this module returned, or any Matplotlib figure.
        path: a file name ending in ``.png``; missing folders are made.
        dpi: dots an inch.

    Returns:
        The path written.

    Raises:
        ValueError: the name does not end in ``.png``.
        OSError: the folder cannot be made or written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"path must end in .png, got {str(path)!r}.")
    content = _png(figure, dpi)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(
            f"Cannot write the picture {path}: {error.strerror or error}. "
            f"Make the folder {path.parent.absolute()} writable, free space on it, or give another."
        ) from error
    return path


def _png(figure: "Figure", dpi: int = DPI) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that a notebook shows without pyplot."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    figure._repr_png_ = functools.partial(_png, figure)  # type: ignore[attr-defined]
    return figure
