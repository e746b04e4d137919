"""Image grids, predictions and pictures of a data set."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_labels, check_positive, check_shape
from jaxdl._extras import require
from jaxdl._text import shorten
from jaxdl.data.source import ArraySource, Source, examples_of
from jaxdl.plots.style import (
    OTHERS,
    RIGHT,
    TEST,
    TRAIN,
    WRONG,
    check_distributions,
    check_images,
    label_axes,
    new_figure,
    tidy_axes,
)
from jaxdl.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def image_grid(
    images: ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    num_columns: int | None = None,
    title_colors: Sequence[str] | None = None,
) -> "Figure":
    """Draws images side by side in rows, as ``torchvision.utils.make_grid`` but with titles.

    Args:
        images: (N, H, W, C) with C 1 (gray) or 3 (color); uint8, or floating point in [0, 1].
        titles: N texts to stand above the images.
        num_columns: images per row; by default 8, or N if that is fewer. The last may be shorter.
        title_colors: N Matplotlib colors.

    Returns:
        A figure with one axes per image.

    Raises:
        ValueError: wrong shape, dtype or range, or not one title and color per image.

    >>> figure = image_grid(np.zeros((8, 28, 28, 1), np.uint8), num_columns=3)
    >>> len(figure.axes)
    8
    """
    images = check_images(images)
    number, height, width, _ = images.shape
    for name, given in (("titles", titles), ("title_colors", title_colors)):
        if given is not None and len(given) != number:
            raise ValueError(f"{name} must have one entry per image ({number}), got {len(given)}.")
    num_columns = min(number, 8) if num_columns is None else num_columns
    if num_columns < 1:
        raise ValueError(f"num_columns must be at least 1, got {num_columns}.")
    rows = math.ceil(number / num_columns)
    lines = max((title.count("\n") + 1 for title in titles), default=0) if titles else 0
    cell = 1.35 if titles else 1.0
    figure = new_figure(cell * num_columns, (cell * height / width + 0.15 * lines) * rows)
    pad = 0.05 if titles else 0.02
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=pad, wspace=0, hspace=0)
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, num_columns, index + 1)
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
    images: ArrayLike,
    labels: ArrayLike,
    probabilities: ArrayLike,
    class_names: Sequence[str],
    *,
    num_columns: int = 8,
) -> "Figure":
    """Draws images with the predicted class and its probability: green if right, else red.

    A wrong one names the true class as well, so the color is never the only sign.

    Args:
        images: (N, H, W, C) with C 1 or 3; uint8, or floating point in [0, 1].
        labels: (N,) integers, the true classes.
        probabilities: (N, C) floating point, the model's distribution over the classes (softmax of
            its logits).
        class_names: C names.
        num_columns: images per row.

    Returns:
        A figure with one axes per image.

    Raises:
        ValueError: shapes that disagree, a label out of range, or rows that are not a distribution.

    >>> images, probabilities = np.zeros((2, 8, 8, 1), np.uint8), [[0.9, 0.1], [0.7, 0.3]]
    >>> figure = predictions(images, [0, 1], probabilities, ["cat", "dog"])
    >>> [axes.get_title().splitlines() for axes in figure.axes]
    [['cat', '90 %'], ['cat 70 %', 'true: dog']]
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
    return image_grid(
        images, titles=titles, num_columns=min(num_columns, len(images)), title_colors=colors
    )


def samples(
    data: Source | Mapping[str, ArrayLike],
    key: Array,
    *,
    num_examples: int = 32,
    class_names: Sequence[str] | None = None,
    num_columns: int = 8,
) -> "Figure":
    """Draws random examples of a set of images, each with its class.

    Args:
        data: a source, or arrays (N, ...) by name, with ``"image"`` and optionally ``"label"``.
        key: chooses the examples; none comes twice.
        num_examples: how many; all, where the set has fewer.
        class_names: a name for every label; those of the source by default.
        num_columns: images per row.

    Returns:
        A figure with one axes per image. Images of other sizes are shown at that of the first.

    Raises:
        ValueError: there is no ``"image"``, or no pictures can be made of it.

    >>> images = np.zeros((5, 8, 8, 1), np.uint8)
    >>> figure = samples({"image": images}, jax.random.key(0), num_examples=3)
    >>> len(figure.axes)
    3
    """
    if isinstance(data, Mapping):
        data = ArraySource({name: np.asarray(array) for name, array in data.items()})
    source: Source = data
    if "image" not in source.spec:
        raise ValueError(f"the data has no 'image', only {', '.join(map(repr, source.spec))}.")
    number = min(num_examples, len(source))
    check_positive(num_examples=number)
    chosen = np.asarray(jax.random.choice(key, len(source), (number,), replace=False))
    examples = examples_of(source, chosen)
    images = np.stack([_fit(one["image"], examples[0]["image"].shape) for one in examples])
    names = source.class_names if class_names is None else class_names
    titles = None
    if "label" in examples[0] and examples[0]["label"].ndim == 0:
        labels = [int(one["label"]) for one in examples]
        titles = [shorten(str(names[i]) if names else str(i)) for i in labels]
    return image_grid(images, titles=titles, num_columns=min(num_columns, number))


def _fit(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if image.shape == shape or image.dtype != np.uint8:
        return image
    require("PIL", "showing images of several sizes")
    from PIL import Image

    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    resized = np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))
    return resized.reshape(shape[0], shape[1], image.shape[-1])


def augmentations(
    images: ArrayLike,
    augment: Callable[[Array, Array], Array],
    key: Array,
    *,
    num_copies: int = 7,
) -> "Figure":
    """Draws images before an augmentation, left, and copies after it, each with its own key.

    Args:
        images: (N, H, W, C) with C 1 or 3; uint8, or floating point in [0, 1]; one row each.
        augment: ``(key, image) -> image``, of :mod:`jaxdl.transforms`.
        key: PRNG key.
        num_copies: columns beside the original.

    Returns:
        A figure with N · (1 + num_copies) axes.

    Raises:
        ValueError: images that cannot be drawn.

    >>> from jaxdl import transforms
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> figure = augmentations(images, transforms.random_flip(), jax.random.key(0), num_copies=3)
    >>> [axes.get_title() for axes in figure.axes[:3]]
    ['original', 'augmented', '']
    """
    images = check_images(images)
    check_positive(num_copies=num_copies)
    keys = jax.random.split(key, (len(images), num_copies))
    many = jax.jit(jax.vmap(jax.vmap(augment, in_axes=(0, None))))
    copies = np.asarray(many(keys, images))
    if copies.dtype != np.uint8:  # rounding may leave the range by a hair
        copies = np.clip(copies.astype(np.float32), 0, 1 if copies.max() < 2 else None)
    rows = [
        image
        for original, row in zip(images, copies, strict=True)
        for image in (_fit(original, row.shape[1:]), *row)
    ]
    titles = ["original", "augmented"] + [""] * (len(rows) - 2)
    return image_grid(np.stack(rows), titles=titles, num_columns=1 + num_copies)


def class_balance(
    counts: Mapping[str, ArrayLike],
    class_names: Sequence[str],
    *,
    title: str = "examples a class",
) -> "Figure":
    """Draws the number of examples of each class, one bar per class and split.

    Args:
        counts: name of a split → (C,) counts.
        class_names: C names.
        title: above the picture.

    Returns:
        A figure with one axes; up to 30 classes the counts stand beside the bars.

    Raises:
        ValueError: counts of another number of classes.

    >>> figure = class_balance({"train": [3, 5]}, ["cat", "dog"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['3', '5']
    """
    number = len(class_names)
    values = {name: np.asarray(count) for name, count in counts.items()}
    for name, count in values.items():
        check_shape(f"counts of {name!r}", count, (number,))
    if not values or not number:
        raise ValueError("there are no classes to draw.")
    few = number <= 30
    bar = 0.8 / len(values)
    height = (0.26 if few else 0.09) * number * len(values) ** 0.5 + 0.9
    figure = new_figure(6.4, min(max(2.0, height), 12.0))
    axes = figure.add_subplot()
    colors = (TRAIN, TEST, *OTHERS)
    for index, (name, count) in enumerate(values.items()):
        places = np.arange(number) + bar * (index - (len(values) - 1) / 2)
        color = colors[index % len(colors)]
        bars = axes.barh(places, count, height=0.92 * bar, color=color, label=name)
        if few:
            axes.bar_label(bars, [f"{value:,}" for value in count], padding=3, fontsize=8)
    step = 1 if few else max(1, number // 50)
    axes.set_yticks(
        range(0, number, step),
        [shorten(str(name), 24) for name in class_names[::step]],
        fontsize=9 if few else 6,
        parse_math=False,
    )
    axes.set_ylim(number - 0.4, -0.6)  # the first class on top
    axes.set_xlim(0, 1.13 * max(1, *(count.max() for count in values.values())))
    label_axes(axes, title)
    tidy_axes(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if len(values) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False)
    return figure


def histogram(values: ArrayLike, *, label: str, title: str = "", num_bins: int = 40) -> "Figure":
    """Draws a histogram, e.g. of text lengths or of a column.

    Args:
        values: (N,) numbers; NaN is left out.
        label: of the horizontal axis.
        title: above the picture.
        num_bins: bars; fewer where the numbers are whole and span fewer.

    Returns:
        A figure with one axes.

    Raises:
        ValueError: no finite values.

    >>> figure = histogram([3, 4, 4, 5], label="words")
    >>> figure.axes[0].get_xlabel()
    'words'
    """
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        raise ValueError("there are no finite values to draw.")
    figure = new_figure(6.4, 3.4)
    axes = figure.add_subplot()
    low, high = numbers.min(), numbers.max()
    edges: list[float] | int = num_bins
    if (numbers % 1 == 0).all():  # bars of whole numbers, each of equally many
        step = math.ceil((high - low + 1) / num_bins)
        edges = (np.arange(low, high + step + 1, step) - 0.5).tolist()
    axes.hist(numbers, bins=edges, color=TRAIN, edgecolor="white", linewidth=0.4)
    label_axes(axes, title, label, "examples")
    tidy_axes(axes, grid="y")
    return figure
