"""Pictures of images: grids with titles, and predictions beside the truth."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxdl.checks import check_labels, check_shape
from jaxdl.plots.figure import RIGHT, WRONG, check_distributions, check_images, new_figure, shorten

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    images = check_images(images)
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
    figure = new_figure(cell * columns, (cell * height / width + 0.15 * lines) * rows)
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
    check_distributions(probabilities)
    predicted = probabilities.argmax(axis=1)
    titles = [
        f"{shorten(class_names[guess])}\n{percent:.0f} %"
        if guess == label
        else f"{shorten(class_names[guess])} {percent:.0f} %\ntrue: {shorten(class_names[label])}"
        for guess, label, percent in zip(predicted, labels, 100 * probabilities.max(1), strict=True)
    ]
    colors = [RIGHT if right else WRONG for right in predicted == labels]
    return image_grid(images, titles=titles, columns=min(columns, len(images)), title_colors=colors)
