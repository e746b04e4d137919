"""``python -m jaxdl predict``: classes of image files or texts."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxdl._text import align_table, plural, shorten
from jaxdl.cli._arguments import add_checkpoint, count

if TYPE_CHECKING:
    import numpy as np

    from jaxdl.export.bundle import Bundle
    from jaxdl.export.preprocessing import Preprocessing

MAX_SHOWN = 64
"""Number of images in the picture."""


class Images(NamedTuple):
    """Image files that were read.

    Attributes:
        paths: of N files.
        pixels: (N, H, W, C) uint8.
        notes: conversions of each image, "" if there were none.
        errors: a sentence for each file that could not be read.
    """

    paths: list[Path]
    pixels: "np.ndarray"
    notes: list[str]
    errors: list[str]


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "predict",
        help="classify image files or texts with a run or bundle: a table and a picture",
        description="Classifies image files with the model of a run folder or a bundle. Images of "
        "another size or other colors are converted by the model's preprocessing, and the table "
        "names the conversions. For files in folders with the names of classes, it prints the "
        "accuracy too. A model of texts takes sentences, in quotes, or .txt files with one per "
        "line. Exit status: 0, or 1 if an input could not be used.",
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, metavar="RUN|BUNDLE", help="folder of a run or bundle")
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IMAGE|TEXT",
        help="image files or folders of them; for a model of texts, sentences or .txt files",
    )
    parser.add_argument(
        "--top_k", type=count(), help="number of classes per row; default: 3, or all of fewer"
    )
    add_checkpoint(parser)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("predictions.png"),
        help=f"picture of up to {MAX_SHOWN} images; default: predictions.png",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the table, draws the picture, and returns the exit status."""
    from jaxdl.export.bundle import open_model

    bundle = open_model(options.path, which=options.checkpoint)
    names = bundle.class_names
    if not names:
        raise ValueError(f"{options.path} is not a classifier: it has no class names.")
    top_k = min(3, len(names)) if options.top_k is None else options.top_k
    if top_k > len(names):
        raise ValueError(f"--top_k must be at most {len(names)}, the number of classes.")
    if bundle.preprocessing.vocabulary:
        texts = read_texts(options.inputs)
        shown = [shorten(text, 60) for text in texts]
        print(make_table("text", shown, bundle.predict(texts), names, top_k))
        return 0
    images = read_images([Path(each) for each in options.inputs], bundle.preprocessing)
    if images.paths:
        _report(bundle, images, top_k, options.out)
    for error in images.errors:
        print(f"error: {error}", file=sys.stderr)
    return 1 if images.errors else 0


def _report(bundle: "Bundle", images: Images, top_k: int, out: Path) -> None:
    names, labels = bundle.class_names, _labels(images.paths, bundle.class_names)
    probabilities = bundle.predict(images.pixels)
    print(make_table("image", images.paths, probabilities, names, top_k, images.notes))
    if labels is not None:
        right = int((probabilities.argmax(axis=1) == labels).sum())
        print(
            f"{right} of {plural(len(labels), 'image')} in the folder of their class "
            f"({right / len(labels):.1%})"
        )
    _draw(out, images.pixels, probabilities, names, labels)
    more = f", the first {MAX_SHOWN} images" if len(images.paths) > MAX_SHOWN else ""
    print(f"picture: {out}{more}")


def read_texts(inputs: Sequence[str]) -> list[str]:
    """The texts among the arguments, and the lines of those that are ``.txt`` files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is not UTF-8, or no text.
    """
    from jaxdl.data.sources.text_files import read_text

    texts: list[str] = []
    for each in inputs:
        texts += read_text(each).splitlines() if each.lower().endswith(".txt") else [each]
    texts = [each.strip() for each in texts if each.strip()]
    if not texts:
        raise ValueError("expected at least one text to classify.")
    return texts


def read_images(inputs: Sequence[Path], preprocessing: "Preprocessing") -> Images:
    """Reads image files and folders of them; files that cannot be read become errors."""
    import numpy as np

    from jaxdl.export.preprocessing import find_images

    preprocessing.check_takes_images()
    paths, pixels, notes, errors = [], [], [], []
    for path in find_images(inputs):
        try:
            image, note = preprocessing.read(path)
        except (ValueError, OSError) as error:
            errors.append(str(error))
            continue
        paths.append(path)
        pixels.append(image)
        notes.append(note)
    stacked = np.stack(pixels) if pixels else np.zeros((0, *preprocessing.shape), np.uint8)
    return Images(paths, stacked, notes, errors)


def make_table(
    kind: str,
    inputs: Sequence[Path | str],
    probabilities: "np.ndarray",
    class_names: Sequence[str],
    top_k: int,
    notes: Sequence[str] = (),
) -> str:
    """A table of the most likely classes, one row per input.

    Args:
        kind: of the inputs, for the header.
        inputs: N files or texts.
        probabilities: (N, C).
        class_names: C names.
        top_k: number of classes per row.
        notes: conversions of each input, "" if there were none.
    """
    header = [kind, *(f"{i + 1}." for i in range(top_k))]
    rows = []
    for each, row in zip(inputs, probabilities, strict=True):
        best = (-row).argsort(kind="stable")[:top_k]
        rows.append([str(each), *(f"{class_names[i]} {100 * row[i]:.1f} %" for i in best)])
    if any(notes):
        header.append("converted")
        rows = [[*row, note or "-"] for row, note in zip(rows, notes, strict=True)]
    return align_table(header, rows)


def _labels(paths: Sequence[Path], class_names: Sequence[str]) -> "np.ndarray | None":
    """The classes by the names of the folders, or None if one is not a class."""
    import numpy as np

    folders = [path.absolute().parent.name for path in paths]
    if not all(folder in class_names for folder in folders):
        return None
    return np.array([list(class_names).index(folder) for folder in folders])


def _draw(
    out: Path,
    images: "np.ndarray",
    probabilities: "np.ndarray",
    class_names: Sequence[str],
    labels: "np.ndarray | None",
) -> None:
    from jaxdl import plots

    images, probabilities = images[:MAX_SHOWN], probabilities[:MAX_SHOWN]
    if labels is not None:
        figure = plots.predictions(images, labels[:MAX_SHOWN], probabilities, class_names)
    else:
        best = probabilities.argmax(axis=1)
        titles = [
            f"{shorten(class_names[index])}\n{100 * row[index]:.0f} %"
            for index, row in zip(best, probabilities, strict=True)
        ]
        figure = plots.image_grid(images, titles=titles)
    plots.save(figure, out)
