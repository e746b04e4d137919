"""``python -m jaxdl predict``: what a trained model says of image files or of texts."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxdl._text import align_table, shorten

if TYPE_CHECKING:
    import numpy as np


MAX_SHOWN = 64
"""Images in the picture."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    predict = commands.add_parser(
        "predict",
        help="classify image files or texts with a run or bundle: a table and a picture",
        description="Classifies image files with the model of a run folder or a bundle. Images of "
        "another size or other colours are converted as the model's preprocessing says, and the "
        "table names what was converted. Where files lie in folders named like the classes, the "
        "share that is right is shown too. A model of texts takes sentences, in quotes, or .txt "
        "files with one in every line.",
        allow_abbrev=False,
    )
    predict.add_argument("path", type=Path, metavar="RUN|BUNDLE", help="folder of a run or bundle")
    predict.add_argument(
        "inputs", nargs="+", metavar="IMAGE|TEXT",
        help="image files, or folders of them; of a model of texts, sentences or .txt files",
    )  # fmt: skip
    predict.add_argument("--top_k", type=int, help="classes a row; 3 by default, or all of fewer")
    predict.add_argument(
        "--checkpoint", choices=["best", "last"], help="of a run; the best where there is one"
    )
    predict.add_argument(
        "--out", type=Path, default=Path("predictions.png"),
        help="the picture of up to 64 images; predictions.png by default",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Prints the table and draws the picture, and returns the exit status."""
    import numpy as np

    from jaxdl.export.bundle import open_model
    from jaxdl.export.preprocessing import find_images

    bundle = open_model(options.path, which=options.checkpoint)
    names = bundle.class_names
    if not names:
        raise ValueError(f"{options.path} is no classifier: it has no class names.")
    top_k = min(3, len(names)) if options.top_k is None else options.top_k
    if not 1 <= top_k <= len(names):
        raise ValueError(f"--top_k must lie in 1 to {len(names)}, got {top_k}.")
    if bundle.preprocessing.vocabulary:
        texts = read_texts(options.inputs)
        shown = [shorten(each, 60) for each in texts]
        probabilities = bundle.predict(texts)
        print(make_table(shown, probabilities, names, [""] * len(texts), top_k, "text"))
        return 0
    paths = find_images([Path(each) for each in options.inputs])
    images, notes = zip(*(bundle.preprocessing.read(path) for path in paths), strict=True)
    pixels = np.stack(images)
    probabilities = bundle.predict(pixels)
    labels = _labels(paths, names)
    print(make_table(paths, probabilities, names, notes, top_k))
    if labels is not None:
        right = int((probabilities.argmax(axis=1) == labels).sum())
        print(
            f"{right} of {len(paths)} are in the folder of their class ({right / len(paths):.1%})"
        )
    _draw(options.out, pixels, probabilities, names, labels)
    more = f", the first {MAX_SHOWN} images" if len(paths) > MAX_SHOWN else ""
    print(f"picture: {options.out}{more}")
    return 0


def read_texts(inputs: Sequence[str]) -> list[str]:
    """The texts among the arguments, and those in the lines of files named ``.txt``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file that is not UTF-8, or no text at all.
    """
    from jaxdl.data.sources.text_files import read_text

    texts: list[str] = []
    for each in inputs:
        texts += read_text(each).splitlines() if each.lower().endswith(".txt") else [each]
    texts = [each.strip() for each in texts if each.strip()]
    if not texts:
        raise ValueError("there is no text to classify.")
    return texts


def make_table(
    inputs: Sequence[Path | str],
    probabilities: "np.ndarray",
    class_names: Sequence[str],
    notes: Sequence[str],
    top_k: int,
    kind: str = "image",
) -> str:
    """One line an input: its likeliest classes, and what was converted.

    Args:
        inputs: N files or texts.
        probabilities: (N, C).
        class_names: C names.
        notes: N texts, empty where nothing was converted.
        top_k: classes a line.
        kind: of the inputs, in the first line.
    """
    header = [kind, *(f"{i + 1}." for i in range(top_k)), "converted"]
    rows = []
    for each, row, note in zip(inputs, probabilities, notes, strict=True):
        best = (-row).argsort(kind="stable")[:top_k]
        rows.append(
            [str(each), *(f"{class_names[i]} {100 * row[i]:.1f} %" for i in best), note or "-"]
        )
    if not any(notes):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return align_table(header, rows)


def _labels(paths: Sequence[Path], class_names: Sequence[str]) -> "np.ndarray | None":
    """The classes by the folders' names, or None where not all are classes."""
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
