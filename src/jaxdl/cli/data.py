"""``python -m jaxdl data``: what is in a set, in numbers and pictures."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.data.source import Source


AUGMENTATIONS = ("flip", "crop", "shift", "rotate", "color", "erase", "trivial", "rand")
"""What ``--augment`` knows; several are applied from left to right."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    data = commands.add_parser(
        "data",
        help="summarise a data set and draw its examples, classes and augmentations",
        description="Prints how many examples a set has, of which shapes, classes, ranges, means, "
        "what is missing and what comes twice, and draws grid.png (random examples), classes.png "
        "(examples a class) and augmented.png (before and after); of texts and tables it draws "
        "lengths.png or values_NAME.png instead. NAME: digits, mnist, fashion_mnist, kmnist, "
        "cifar10, a set prepared by TFDS, a folder of images or IDX files, or a file: CSV, TSV, "
        "npz, npy, HDF5, Parquet, array_record, text.",
        allow_abbrev=False,
    )
    data.add_argument("name", metavar="NAME", help="of the set, its folder or its file")
    data.add_argument("--data_dir", help="the folder that holds NAME")
    data.add_argument("--split", default="train", help="train (the default), test, val, …")
    data.add_argument(
        "--augment", default="flip,crop", metavar="NAME,NAME",
        help=f"drawn in augmented.png: {', '.join(AUGMENTATIONS)}; flip,crop by default",
    )  # fmt: skip
    data.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="resize image files to this"
    )
    data.add_argument(
        "--skip_broken", action="store_true", help="leave out image files that cannot be read"
    )
    data.add_argument("--num_examples", type=int, default=32, help="in grid.png; 32 by default")
    data.add_argument(
        "--max_examples", type=int, default=100_000,
        help="of a larger set the summary reads so many, evenly spaced; 100000 by default",
    )  # fmt: skip
    data.add_argument("--seed", type=int, default=0, help="of the choice of examples")
    data.add_argument("--out", help="folder for the pictures; runs/data/NAME by default")


def run(options: argparse.Namespace) -> int:
    """Prints the summary, writes the pictures, and returns the exit status."""
    from pathlib import Path

    from jaxdl.data._open import open
    from jaxdl.data.statistics import format_summary, summarize

    augment = make_augment(options.augment)
    try:
        reader: dict[str, Any] = {} if options.size is None else {"size": tuple(options.size)}
        reader |= {"skip_broken": True} if options.skip_broken else {}
        source = open(options.name, split=options.split, data_dir=options.data_dir, **reader)
    except ImportError as error:
        raise ValueError(str(error)) from error
    summary = summarize(source, max_examples=options.max_examples)
    print(f"{options.name}, {options.split}")
    print(format_summary(summary))
    title = Path(options.name).name
    out = Path(options.out or Path("runs", "data", Path(options.name).stem or "data"))
    for path in draw(source, summary, out, augment, title, options):
        print(f"wrote {path}")
    return 0


def draw(
    source: "Source",
    summary: dict[str, Any],
    out: Any,
    augment: Any,
    title: str,
    options: argparse.Namespace,
) -> list[Any]:
    """Writes the pictures that suit the set, and returns their paths."""
    import jax
    import numpy as np

    from jaxdl import plots
    from jaxdl.data.source import examples_of

    sample_key, augment_key = jax.random.split(jax.random.key(options.seed))
    written = []
    spec = source.spec
    is_image = (
        "image" in spec and len(spec["image"].shape) == 3 and spec["image"].shape[-1] in (1, 3)
    )
    classes = summary["classes"]
    names = source.class_names
    if classes and min(classes) >= 0 and len(classes) < 1000:
        number = max(len(names or ()), max(classes) + 1)
        counts = [classes.get(label, 0) for label in range(number)]
        titles = names or [str(label) for label in range(number)]
        figure = plots.class_balance({options.split: counts}, titles, title=f"{title}: classes")
        written.append(plots.save(figure, out / "classes.png"))
    if is_image:
        figure = plots.samples(source, sample_key, num_examples=options.num_examples)
        written.append(plots.save(figure, out / "grid.png"))
        rows = np.linspace(0, len(source) - 1, min(4, len(source))).astype(np.int64)
        first = examples_of(source, rows)
        shape = first[0]["image"].shape
        images = np.stack([one["image"] for one in first if one["image"].shape == shape])
        figure = plots.augmentations(images, augment, augment_key)
        written.append(plots.save(figure, out / "augmented.png"))
        return written
    rows = np.linspace(0, len(source) - 1, min(len(source), 20_000)).astype(np.int64)
    for name, array in spec.items():
        if name == "label":
            continue
        values = [one[name] for one in examples_of(source, rows)]
        if array.dtype == object:
            lengths = [len(str(value.item())) for value in values]
            figure = plots.histogram(lengths, label=f"characters of {name!r}", title=title)
            written.append(plots.save(figure, out / "lengths.png"))
        else:
            flat: np.ndarray = np.concatenate([np.ravel(value) for value in values])
            if np.isfinite(flat.astype(np.float64)).any():
                figure = plots.histogram(flat, label=f"values of {name!r}", title=title)
                written.append(plots.save(figure, out / f"values_{name}.png"))
    return written


def make_augment(names: str) -> Any:
    """The augmentation that ``--augment`` describes."""
    from jaxdl import transforms

    chosen = [name for name in names.split(",") if name]
    unknown = [name for name in chosen if name not in AUGMENTATIONS]
    if unknown or not chosen:
        raise ValueError(
            f"--augment knows {', '.join(AUGMENTATIONS)}, separated by commas; got {names!r}."
        )

    def crop(key: Any, image: Any) -> Any:
        padding = max(1, round(image.shape[0] / 8))
        return transforms.random_crop(padding)(key, image)

    makers = {
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
