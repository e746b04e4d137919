"""The model of a run folder: ``model.json``, ``forward.stablehlo`` and ``evaluation.json``.

``config.json`` holds the flags of the experiment, which only its script can interpret.
``model.json`` describes the model for everyone else; :func:`jaxdl.train.run` writes it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from jaxdl import checkpoint
from jaxdl._checks import check_shape
from jaxdl._files import read_json, write_json
from jaxdl._program import Forward, load_forward
from jaxdl.export.preprocessing import Preprocessing
from jaxdl.models.description import FORM, MODEL_FILE, PROGRAM_FILE
from jaxdl.models.spec import model_to_json
from jaxdl.types import PyTree

EVALUATION_FILE = "evaluation.json"

EVALUATION = {"step": int, "confusion_matrix": [[int]]}
"""Form of ``evaluation.json``."""


class Run(NamedTuple):
    """The model of a run folder.

    Attributes:
        description: content of ``model.json``.
        forward: the forward pass, or None if the description is enough.
        variables: of the checkpoint.
        step: number of updates that made them.
        metrics: numbers measured at that step, by name; may be empty.
        confusion_matrix: (C, C) counts by true class and prediction at that step, or None.
    """

    description: dict[str, Any]
    forward: Forward | None
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
    """Describes a model for ``train.run(description=...)`` and model cards.

    :func:`jaxdl.train.run` describes supervised models automatically; this adds the class names,
    the preprocessing as data, and the data set.

    Args:
        model: trained model.
        preprocessing: preprocessing of raw inputs.
        class_names: one name per output of a classifier.
        data: JSON values about the training data: ``"name"`` and ``"data_dir"``, the arguments of
            :func:`jaxdl.data.load`, and sizes.
        averaged: use the averaged parameters of the optimizer.

    >>> from jaxdl import export, models
    >>> preprocessing = export.Preprocessing(shape=(28, 28, 1))
    >>> describe_run(models.MLP((2,)), preprocessing, ["cat", "dog"])["class_names"]
    ['cat', 'dog']
    """
    return {
        "model": model_to_json(model),
        "preprocessing": preprocessing.to_json(),
        "class_names": list(class_names),
        "data": dict(data or {}),
        "averaged": averaged,
    }


def write_evaluation(workdir: Path | str, step: int, confusion_matrix: Any) -> None:
    """Writes ``evaluation.json``, the source of the results by class in model cards.

    Args:
        workdir: run folder.
        step: number of updates of the evaluated weights.
        confusion_matrix: (C, C) counts; rows are true classes, columns predictions.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_evaluation(folder, 100, [[9, 1], [0, 10]])
    ...     read_json(Path(folder) / "evaluation.json", FORM)["step"]
    100
    """
    matrix = np.asarray(confusion_matrix).astype(int).tolist()
    write_json(Path(workdir) / EVALUATION_FILE, {"step": int(step), "confusion_matrix": matrix})


def read_run(workdir: Path | str, *, which: str | None = None) -> Run:
    """The model of a run folder with the weights of one of its checkpoints.

    Args:
        workdir: run folder.
        which: "best" or "last"; None takes the best, or the last if there is no other.

    Raises:
        FileNotFoundError: no ``model.json``, or no checkpoint.
        ValueError: a damaged file, weights of another model, or a model without a program.
    """
    workdir = Path(workdir)
    if not is_described(workdir):
        raise FileNotFoundError(
            f"{workdir} has no {MODEL_FILE}: the step of its run has no network. Use "
            "train.supervised or types.Loss(loss_fn, network); the weights alone are read by "
            "checkpoint.restore_weights."
        )
    description = read_json(workdir / MODEL_FILE, FORM)
    forward = _read_forward(workdir, description)
    names = [which] if which is not None else ["best", "last"]
    places = [workdir / "checkpoints" / name for name in names]
    place = next((each for each in places if each.is_dir() and any(each.iterdir())), places[0])
    variables, _ = checkpoint.restore_weights(place, averaged=description.get("averaged", False))
    contents = checkpoint.describe(place)
    row = row_of(contents.metadata, contents.step)
    metrics = {k: v for k, v in row.items() if isinstance(v, int | float)}
    matrix = _read_confusion_matrix(workdir, contents.step, len(description.get("class_names", ())))
    return Run(description, forward, variables, contents.step, metrics, matrix)


def _read_forward(workdir: Path, description: Mapping[str, Any]) -> Forward | None:
    path = workdir / PROGRAM_FILE
    if description.get("program") is not None:
        if not path.is_file():
            raise FileNotFoundError(f"file not found: {path}, the model of the run.")
        return load_forward(path.read_bytes(), path)
    if "no_program" in description:
        raise ValueError(
            f"{workdir} holds no program of its model, so only its own script can use it. "
            f"{description['no_program']}"
        )
    return None


def _read_confusion_matrix(workdir: Path, step: int, num_classes: int) -> np.ndarray | None:
    path = workdir / EVALUATION_FILE
    if not path.is_file():
        return None
    evaluation = read_json(path, EVALUATION)
    if evaluation["step"] != step:
        return None
    if any(len(row) != num_classes for row in evaluation["confusion_matrix"]):
        raise ValueError(f"{path}: the confusion matrix must be {num_classes} x {num_classes}.")
    matrix = np.array(evaluation["confusion_matrix"])
    check_shape(f"confusion_matrix of {path}", matrix, (num_classes, num_classes))
    return matrix


def is_described(folder: Path | str) -> bool:
    """Returns True for a run folder with a ``model.json``."""
    return (Path(folder) / MODEL_FILE).is_file()


def row_of(metadata: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The row of ``metrics.jsonl`` of a step in a checkpoint; {} in the middle of an epoch."""
    rows = [metadata["row"]] if "row" in metadata else metadata.get("history", [])
    found = [row for row in rows if isinstance(row, Mapping) and row.get("step") == step]
    return dict(found[-1]) if found else {}
