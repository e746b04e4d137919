"""What a run folder says of its model: ``model.json`` and ``evaluation.json``.

``config.json`` holds the experiment's flags; only the experiment knows what they mean.
``model.json`` says the same for everybody: which constructor with which fields, what is done to an
input, what the classes are called.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from jaxdl import checkpoint
from jaxdl._checks import check_shape
from jaxdl._files import read_json, write_json
from jaxdl.export.model_spec import describe_model, make_model
from jaxdl.export.preprocessing import Preprocessing
from jaxdl.types import PyTree

MODEL_FILE, EVALUATION_FILE = "model.json", "evaluation.json"


class Run(NamedTuple):
    """The model of a run folder.

    Attributes:
        description: what ``model.json`` holds.
        model: made of it.
        variables: of the checkpoint.
        step: updates that made them.
        metrics: what was measured at that step, by name; perhaps nothing.
        confusion_matrix: (C, C) counts by true class and prediction at that step, or None.
    """

    description: dict[str, Any]
    model: nn.Module
    variables: PyTree
    step: int
    metrics: dict[str, float]
    confusion_matrix: np.ndarray | None


def describe_run(
    model: nn.Module,
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    *,
    data: Mapping[str, Any] | None = None,
    averaged: bool = False,
) -> dict[str, Any]:
    """What ``model.json`` holds: all that is needed, with the weights, to use a model.

    Args:
        model: of a class in ``jaxdl.models``.
        preprocessing: from raw inputs to the model's.
        class_names: a name for every output of a classifier.
        data: what it was trained on, JSON values: ``"name"`` and ``"data_dir"`` as
            :func:`jaxdl.data.load` takes them, and sizes.
        averaged: the average of the weights that the optimizer keeps is meant, not the weights.
    """
    return {
        "model": describe_model(model),
        "preprocessing": preprocessing.to_json(),
        "class_names": list(class_names),
        "data": dict(data or {}),
        "averaged": averaged,
    }


def keep_description(description: Mapping[str, Any]) -> Callable[[Any], None]:
    """A hook of ``train.run`` that writes ``model.json`` into the run folder.

    Args:
        description: of :func:`describe_run`.
    """

    def hook(epoch: Any) -> None:
        if epoch.workdir is not None and epoch.workdir not in written:
            write_json(epoch.workdir / MODEL_FILE, description)
            written.add(epoch.workdir)

    written: set[Path] = set()
    return hook


def write_evaluation(workdir: Path | str, step: int, confusion_matrix: Any) -> None:
    """Writes ``evaluation.json``: how often each class was taken for each.

    Args:
        workdir: the run folder.
        step: updates of the weights that were evaluated.
        confusion_matrix: (C, C) counts, rows true, columns predicted.
    """
    matrix = np.asarray(confusion_matrix).astype(int).tolist()
    write_json(Path(workdir) / EVALUATION_FILE, {"step": int(step), "confusion_matrix": matrix})


def read_run(folder: Path | str, *, which: str | None = None) -> Run:
    """The model of a run folder with the weights of one of its checkpoints.

    Args:
        folder: ``runs/NAME``.
        which: "best" or "last"; None takes the best, or the last where there is no other.

    Raises:
        FileNotFoundError: no ``model.json``, or no checkpoint.
        ValueError: a damaged file, or weights of another model.
    """
    folder = Path(folder)
    if not (folder / MODEL_FILE).is_file():
        raise FileNotFoundError(
            f"{folder} has no {MODEL_FILE}, which says what model its weights are of; "
            "experiments/classify.py writes it. For another run give model and variables to "
            "jaxdl.export.save_bundle."
        )
    description = read_json(folder / MODEL_FILE)
    model = make_model(description.get("model", {}))
    names = [which] if which is not None else ["best", "last"]
    places = [folder / "checkpoints" / name for name in names]
    place = next((each for each in places if each.is_dir() and any(each.iterdir())), places[0])
    averaged = bool(description.get("averaged"))
    variables, _ = checkpoint.restore_weights(place, averaged=averaged)
    contents = checkpoint.describe(place)
    row = row_of(contents.metadata, contents.step)
    metrics = {k: v for k, v in row.items() if isinstance(v, int | float)}
    matrix = None
    if (folder / EVALUATION_FILE).is_file():
        evaluation = read_json(folder / EVALUATION_FILE)
        if evaluation.get("step") == contents.step:
            matrix = np.array(evaluation["confusion_matrix"])
            number = len(description.get("class_names", ()))
            check_shape(f"confusion_matrix of {EVALUATION_FILE}", matrix, (number, number))
    return Run(description, model, variables, contents.step, metrics, matrix)


def is_described(folder: Path | str) -> bool:
    """Whether a folder is that of a run that says what its model is."""
    return (Path(folder) / MODEL_FILE).is_file()


def row_of(metadata: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The row of ``metrics.jsonl`` of a step; {} in the middle of an epoch."""
    rows = [metadata["row"]] if "row" in metadata else metadata.get("history", [])
    return next((dict(row) for row in reversed(rows) if row.get("step") == step), {})
