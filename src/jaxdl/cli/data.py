"""``python -m jaxdl data``: a data set in numbers and pictures."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl.cli._arguments import count

if TYPE_CHECKING:
    from jaxdl.data.source import Source
    from jaxdl.types import Array

AUGMENTATIONS = ("flip", "crop", "shift", "rotate", "color", "erase", "trivial", "rand")
"""Names for ``--augment``, applied from left to right."""

MAX_CLASSES = 1000
"""More classes are not drawn."""

MAX_ROWS = 20_000
"""Number of rows in a histogram of texts or numbers."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "data",
        help="summarize a data set and draw its examples, classes and augmentations",
        description="Prints number of examples, shapes, classes, ranges, means, missing values and "
        "duplicates of a data set, and draws grid.png (random examples), classes.png (examples per "
        "class) and augmented.png (before and after); for texts and tables lengths.png or "
        "values_NAME.png. NAME: digits, mnist, fashion_mnist, kmnist, cifar10, a data set prepared "
        "by TFDS, a folder of images or IDX files, or a file: CSV, TSV, npz, npy, HDF5, Parquet, "
        "array_record, text.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="data set, its folder or its file")
    parser.add_argument("--data_dir", help="folder that holds NAME")
    parser.add_argument("--split", default="train", help="train (the default), test, val, …")
    parser.add_argument(
        "--augment",
        default="flip,crop",
        metavar="NAME,NAME",
        help=f"for augmented.png: {', '.join(AUGMENTATIONS)}; default: flip,crop",
    )
    parser.add_argument(
        "--size",
        type=count(),
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="resize image files to this",
    )
    parser.add_argument(
        "--skip_broken", action="store_true", help="skip image files that cannot be read"
    )
    parser.add_argument(
        "--num_examples", type=count(), default=32, help="images in grid.png; default: 32"
    )
    parser.add_argument(
        "--max_examples",
        type=count(),
        default=100_000,
        help="examples in the summary of a larger set, evenly spaced; default: 100000",
    )
    parser.add_argument("--seed", type=count(0), default=0, help="for the choice of examples")
    parser.add_argument("--out", help="folder of the pictures; default: runs/data/NAME")


def run(options: argparse.Namespace) -> int:
    """Prints the summary, writes the pictures, and returns the exit status."""
    from jaxdl.data import open
    from jaxdl.data.statistics import format_summary, summarize

    augment = make_augment(options.augment)
    reader: dict[str, Any] = {} if options.size is None else {"size": tuple(options.size)}
    reader |= {"skip_broken": True} if options.skip_broken else {}
    source = open(options.name, split=options.split, data_dir=options.data_dir, **reader)
    summary = summarize(source, max_examples=options.max_examples)
    print(f"{options.name}, {options.split}")
    print(format_summary(summary))
    out = Path(options.out or Path("runs", "data", Path(options.name).stem or "data"))
    for path in draw(source, summary, out, augment, options):
        print(f"wrote {path}")
    return 0


def draw(
    source: "Source",
    summary: Mapping[str, Any],
    out: Path,
    augment: "Callable[[Array, Array], Array]",
    options: argparse.Namespace,
) -> list[Path]:
    """Writes the pictures of a data set, and returns their paths."""
    title, written = Path(options.name).name, []
    classes: Mapping[int, int] = summary["classes"]
    if classes and min(classes) >= 0 and len(classes) < MAX_CLASSES:
        written.append(_draw_classes(source, classes, out, options.split, title))
    image = source.spec.get("image")
    if image is not None and len(image.shape) == 3 and image.shape[-1] in (1, 3):
        return written + _draw_images(source, out, augment, options)
    return written + _draw_values(source, out, title)


def _draw_classes(
    source: "Source", classes: Mapping[int, int], out: Path, split: str, title: str
) -> Path:
    from jaxdl import plots
    from jaxdl.data.statistics import class_counts
    from jaxdl.plots.images import class_balance

    names = source.class_names
    counts = class_counts(classes, names)
    titles = names or [str(label) for label in range(len(counts))]
    figure = class_balance({split: counts}, titles, title=f"{title}: classes")
    return plots.save(figure, out / "classes.png")


def _draw_images(
    source: "Source",
    out: Path,
    augment: "Callable[[Array, Array], Array]",
    options: argparse.Namespace,
) -> list[Path]:
    import jax
    import numpy as np

    from jaxdl import plots
    from jaxdl.data.source import examples_of
    from jaxdl.plots.images import augmentations

    sample_key, augment_key = jax.random.split(jax.random.key(options.seed))
    figure = plots.samples(source, sample_key, num_examples=options.num_examples)
    written = [plots.save(figure, out / "grid.png")]
    rows = np.linspace(0, len(source) - 1, min(4, len(source))).astype(np.int64)
    examples = examples_of(source, rows)
    shape = examples[0]["image"].shape
    images = np.stack([one["image"] for one in examples if one["image"].shape == shape])
    figure = augmentations(images, augment, augment_key)
    return [*written, plots.save(figure, out / "augmented.png")]


def _draw_values(source: "Source", out: Path, title: str) -> list[Path]:
    """Histograms of the lengths of texts and of the values of numbers."""
    import numpy as np

    from jaxdl import plots
    from jaxdl.data.source import examples_of

    written = []
    rows = np.linspace(0, len(source) - 1, min(len(source), MAX_ROWS)).astype(np.int64)
    for name, array in source.spec.items():
        if name == "label":
            continue
        values = [one[name] for one in examples_of(source, rows)]
        if array.dtype == object:
            lengths = [len(str(value.item())) for value in values]
            figure = plots.histogram(lengths, label=f"characters of {name!r}", title=title)
            written.append(plots.save(figure, out / "lengths.png"))
            continue
        flat: np.ndarray = np.concatenate([np.ravel(value) for value in values])
        if np.isfinite(flat.astype(np.float64)).any():
            figure = plots.histogram(flat, label=f"values of {name!r}", title=title)
            written.append(plots.save(figure, out / f"values_{name}.png"))
    return written


def make_augment(names: str) -> "Callable[[Array, Array], Array]":
    """The augmentation for ``--augment``: names, separated by commas."""
    from jaxdl import transforms

    chosen = [name for name in names.split(",") if name]
    unknown = [name for name in chosen if name not in AUGMENTATIONS]
    if unknown or not chosen:
        raise ValueError(
            f"--augment must be names of {', '.join(AUGMENTATIONS)}, separated by commas, got "
            f"{names!r}."
        )

    def crop(key: "Array", image: "Array") -> "Array":
        padding = max(1, round(image.shape[0] / 8))
        return transforms.random_crop(padding)(key, image)

    makers: dict[str, Callable[[], Any]] = {
        "flip": lambda: transforms.random_flip(),
        "crop": lambda: crop,
        "shift": lambda: transforms.random_affine(0, translate=(0.1, 0.1)),
        "rotate": lambda: transforms.random_rotation(20),
        "color": lambda: transforms.color_jitter(0.4, 0.4, 0.4, 0.1),
        "erase": lambda: transforms.random_erase(1.0, scale=(0.02, 0.2)),
        "trivial": lambda: transforms.trivial_augment(),
        "rand": lambda: transforms.rand_augment(),
    }
    return transforms.compose(*(makers[name]() for name in chosen))
