"""Model bundles: a folder with all that another machine needs to use a model.

======================= ==========================================================================
``config.json``         the model, preprocessing, class names, metrics, results by class, data,
                        versions, and a checksum of the weights
``model.safetensors``   the variables, by Linen's names
``forward.stablehlo``   the forward pass with preprocessing and without weights; only for networks
                        that ``config.json`` cannot describe
``README.md``           the model card
======================= ==========================================================================

No code is imported: a model is a class of ``jaxdl.models`` with its fields, or a StableHLO program.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import _versions, losses, train, tree
from jaxdl import metrics as metrics_of
from jaxdl._files import Form, read_json, replacing, write_json
from jaxdl._program import Forward, load_forward
from jaxdl._text import shorten_lines
from jaxdl.export.from_run import describe_run, is_described, read_run
from jaxdl.export.model_card import ClassResult, results_by_class, write_card
from jaxdl.export.preprocessing import Preprocessing
from jaxdl.interop.transfer import transfer
from jaxdl.interop.weight_files import read_variables, write_variables
from jaxdl.models.description import MODEL_FILE, PROGRAM_FILE, export_network
from jaxdl.models.spec import FORM as MODEL_FORM
from jaxdl.models.spec import is_known, model_from_json
from jaxdl.types import Array, Network, PyTree

FORMAT = "jaxdl bundle"

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"

FORM: dict[str, Form] = {
    "format": str,
    "version": int,
    "model": MODEL_FORM,
    "preprocessing": dict,
    "program?": (str, None),
    "class_names?": [str],
    "data?": dict,
    "step?": (int, None),
    "metrics?": {"*": (float, None)},
    "by_class?": [list],
    "versions?": {"*": str},
    "weights": {"sha256": str, "num_parameters": int, "num_bytes": int},
}
"""Form of ``config.json``."""

TIMING = re.compile(r"_seconds$|_per_second$")
"""Metrics of the machine, not of the model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A model that is ready to use.

    Attributes:
        model: the Linen module, or None if it is not a class of ``jaxdl.models``.
        variables: its weights and statistics.
        preprocessing: from raw inputs to the model's; with ``forward`` its shape and dtype only.
        class_names: a name per output; empty if the model is not a classifier.
        config: everything else that is known: ``"metrics"``, ``"by_class"``, ``"data"``, ….
        forward: the forward pass of a network that runs without its code, or None.

    >>> from jaxdl import models
    >>> dense = {"kernel": np.eye(9, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    >>> rule = Preprocessing((3, 3, 1))
    >>> bundle = make_bundle(models.MLP((2,)), {"params": {"Dense_0": dense}}, rule, ["cat", "dog"])
    >>> image = np.zeros((1, 3, 3, 1), np.uint8)
    >>> image[0, 0, 1] = 255  # the second input, which the kernel maps to the second class
    >>> bundle.class_names[int(bundle.outputs(image).argmax())]
    'dog'
    """

    model: nn.Module | None
    variables: PyTree
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    config: dict[str, Any]
    forward: Forward | None = None

    def apply(self, variables: PyTree, inputs: Array) -> PyTree:
        """Outputs for a batch of raw inputs (B, ...); pure, for ``jit`` and ``export``."""
        return self._apply(variables, inputs)

    @functools.cached_property
    def _apply(self) -> Callable[[PyTree, Array], PyTree]:
        # one function for all calls, so that it is compiled once
        if self.forward is not None:
            return self.forward.__call__
        model, preprocessing = self.model, self.preprocessing
        if model is None:
            raise ValueError("a bundle needs a model or its forward pass.")
        return lambda variables, inputs: model.apply(variables, preprocessing(inputs), train=False)

    def outputs(self, inputs: ArrayLike | Sequence[str], *, batch_size: int = 64) -> PyTree:
        """The outputs of the model for raw inputs: logits, if it is a classifier.

        Args:
            inputs: (N, *shape) as ``preprocessing`` says, e.g. uint8 images; a list of N texts for
                a model with a vocabulary.
            batch_size: inputs at a time.

        Returns:
            (N, ...) NumPy arrays, one or a tree of them.

        Raises:
            ValueError: another shape or dtype.
        """
        array = self.preprocessing.check(inputs)
        outputs = train.predict(self._apply, self.variables, array, batch_size=batch_size)
        return jax.tree.map(np.asarray, outputs)

    def predict(self, inputs: ArrayLike | Sequence[str], *, batch_size: int = 64) -> PyTree:
        """The probability of each class for raw inputs; of other models the outputs.

        Args:
            inputs, batch_size: see :meth:`outputs`.

        Returns:
            (N, C) float32, the softmax of the logits.
        """
        outputs = self.outputs(inputs, batch_size=batch_size)
        if not self.class_names:
            return outputs
        return np.asarray(jax.nn.softmax(outputs.astype(np.float32), axis=-1))

    def evaluate(self, inputs: ArrayLike | Sequence[str], labels: ArrayLike) -> "Bundle":
        """The bundle of a classifier with accuracy, loss and results by class on test data.

        Args:
            inputs: N raw inputs, see :meth:`outputs`.
            labels: (N,) integers.
        """
        logits, labels = jnp.asarray(self.outputs(inputs)), jnp.asarray(labels)
        matrix = metrics_of.confusion_matrix(logits, labels)
        measured = {
            "test/loss": float(losses.cross_entropy(logits, labels).mean()),
            "test/accuracy": float(metrics_of.accuracy(logits, labels).mean()),
        }
        config = {
            **self.config,
            "metrics": {**self.config.get("metrics", {}), **measured},
            "by_class": _by_class(matrix, self.class_names),
        }
        return dataclasses.replace(self, config=config)


def bundle_of(
    description: Mapping[str, Any],
    variables: PyTree,
    *,
    forward: Forward | None = None,
    metrics: Mapping[str, float] | None = None,
    confusion_matrix: ArrayLike | None = None,
    step: int | None = None,
) -> Bundle:
    """A bundle in memory whose variables are checked against its model.

    Args:
        description: of :func:`jaxdl.export.describe_run` or ``model.json``.
        variables: of the model, floating point in any precision.
        forward: the forward pass; needed for a model of another class than those of
            ``jaxdl.models``.
        metrics: numbers by name, ``"test/accuracy"``.
        confusion_matrix: (C, C) counts on test data, rows true; gives the results by class.
        step: number of updates that made the weights.

    Raises:
        ValueError: an unknown model or field; weights that are missing, unexpected or of another
            shape; another number of class names than of outputs.
    """
    for name in ("model", "preprocessing"):
        if name not in description:
            raise ValueError(f"the description lacks {name!r}; it has {sorted(description)}.")
    model, described = None, description["model"]
    if "name" in described:
        model = model_from_json(described)
    elif "class" not in described:
        raise ValueError(f"the model needs a 'name' or a 'class', got {sorted(described)}.")
    elif forward is None:
        raise ValueError(
            f"{described['class']} is not a class of jaxdl.models, and its forward pass is missing."
        )
    preprocessing = Preprocessing.from_json(description["preprocessing"])
    class_names = tuple(description.get("class_names", ()))
    if forward is None and model is not None:
        _check_model(model, preprocessing, variables, class_names)
    elif forward is not None:
        _check_forward(forward, preprocessing, variables, class_names)
    by_class = []
    if confusion_matrix is not None and class_names:
        by_class = _by_class(confusion_matrix, class_names)
    config = {
        "format": FORMAT,
        "version": 1,
        **{k: v for k, v in description.items() if k != "averaged"},
        "preprocessing": preprocessing.to_json(),
        "step": step,
        "metrics": {k: v for k, v in (metrics or {}).items() if not TIMING.search(k)},
        "by_class": by_class,
        "versions": _versions.installed(),
    }
    return Bundle(model, transfer(variables), preprocessing, class_names, config, forward)


def reserved_names() -> tuple[str, ...]:
    """Names of the files of a bundle or a run folder that an export must not replace."""
    return (CONFIG, WEIGHTS, CARD, PROGRAM_FILE, MODEL_FILE)


def _by_class(confusion_matrix: ArrayLike, class_names: Sequence[str]) -> list[list[object]]:
    return [list(each) for each in results_by_class(confusion_matrix, class_names)]


def make_bundle(
    model: nn.Module,
    variables: PyTree,
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    *,
    data: Mapping[str, object] | None = None,
    metrics: Mapping[str, float] | None = None,
    confusion_matrix: ArrayLike | None = None,
) -> Bundle:
    """A bundle of a model in memory, whose variables are checked against the model.

    Args:
        model: any Linen module. One that is not a class of ``jaxdl.models`` is exported to
            StableHLO.
        variables: of the model, floating point in any precision.
        preprocessing: from raw inputs to the model's.
        class_names: a name per output of a classifier.
        data: training data, JSON values by name, for the card.
        metrics: numbers by name, ``{"test/accuracy": 0.98}``.
        confusion_matrix: (C, C) counts on test data, rows true; gives the results by class.

    Raises:
        ValueError: weights that are missing, unexpected or of another shape; another number of
            class names than of outputs.

    >>> from jaxdl import models
    >>> dense = {"kernel": np.eye(9, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    >>> variables = {"params": {"Dense_0": dense}}
    >>> rule = Preprocessing((3, 3, 1), mean=(0.5,), std=(0.25,))
    >>> bundle = make_bundle(models.MLP((2,)), variables, rule, ["cat", "dog"])
    >>> bundle.predict(np.zeros((5, 3, 3, 1), np.uint8)).shape
    (5, 2)
    """
    description = describe_run(model, preprocessing, class_names, data=data)
    forward = None
    if not is_known(model):
        network = Network(model, lambda batch: preprocessing(batch["image"]))
        content = export_network(network, variables, preprocessing.shape, preprocessing.dtype)
        forward = load_forward(content, "the forward pass")
        description["program"] = PROGRAM_FILE
    return bundle_of(
        description, variables, forward=forward, metrics=metrics, confusion_matrix=confusion_matrix
    )


def save_bundle(
    path: Path | str,
    bundle: Bundle,
    *,
    title: str = "",
    intended_use: str = "",
    limits: str = "",
) -> None:
    """Writes a bundle: all of it, or nothing.

    Args:
        path: new or empty folder.
        bundle: of :func:`make_bundle` or :func:`open_model`.
        title, intended_use, limits: sentences for the model card.

    Raises:
        ValueError: a folder that is not empty.

    >>> import tempfile, jaxdl
    >>> from jaxdl import export, models
    >>> model, path = models.MLP((2,)), tempfile.mkdtemp() + "/bundle"
    >>> dense = {"kernel": np.eye(9, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    >>> variables = {"params": {"Dense_0": dense}}
    >>> save_bundle(path, make_bundle(model, variables, export.Preprocessing((3, 3, 1))))
    >>> jaxdl.load_bundle(path).outputs(np.zeros((5, 3, 3, 1), np.uint8)).shape
    (5, 2)
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists already; choose a new folder for the bundle.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.mkdir()
        _write_parts(bundle, temporary, title, intended_use, limits)
        if path.exists():
            path.rmdir()


def _write_parts(bundle: Bundle, folder: Path, title: str, intended_use: str, limits: str) -> None:
    weights = folder / WEIGHTS
    write_variables(weights, bundle.variables, {"format": "jaxdl"})
    if bundle.forward is not None:
        (folder / PROGRAM_FILE).write_bytes(bundle.forward.content)
    about = {k: v for k, v in bundle.config.get("data", {}).items() if k != "data_dir"}
    config = {
        **bundle.config,
        "data": about,
        "weights": {
            "file": WEIGHTS,
            "sha256": _sha256(weights),
            "num_parameters": tree.count(bundle.variables["params"]),
            "num_bytes": tree.num_bytes(bundle.variables),
        },
    }
    write_json(folder / CONFIG, config)
    model = config["model"]
    name = model["name"] if "name" in model else model["class"].rpartition(":")[2]
    title = title or f"{name} {about.get('name', '')}".strip()
    card = write_card(config, title=title, intended_use=intended_use, limits=limits)
    (folder / CARD).write_text(card, encoding="utf-8")


def load_bundle(path: Path | str) -> Bundle:
    """Reads a folder that :func:`save_bundle` wrote; also ``jaxdl.load_bundle``.

    Args:
        path: folder to read.

    Raises:
        FileNotFoundError: no bundle there.
        ValueError: a damaged or missing file, an unknown model or field, weights of another model.

    >>> import tempfile
    >>> from jaxdl import models
    >>> dense = {"kernel": np.eye(9, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    >>> model, path = models.MLP((2,)), tempfile.mkdtemp() + "/bundle"
    >>> rule = Preprocessing((3, 3, 1))
    >>> save_bundle(path, make_bundle(model, {"params": {"Dense_0": dense}}, rule, ["cat", "dog"]))
    >>> load_bundle(path).class_names
    ('cat', 'dog')
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        there = sorted(each.name for each in path.glob("*"))[:10] if path.is_dir() else "no folder"
        raise FileNotFoundError(
            f"{path} is not a bundle: expected {CONFIG}, {WEIGHTS} and {CARD}, found {there}."
        )
    config = read_json(path / CONFIG)
    if config.get("format") != FORMAT:
        hint = " It is a run folder: export it with --to bundle." if is_described(path) else ""
        raise ValueError(f"{path / CONFIG} is not the configuration of a bundle.{hint}")
    if config.get("version") != 1:
        raise ValueError(
            f"{path} has version {config.get('version')!r}, expected version 1: update jaxdl."
        )
    config = read_json(path / CONFIG, FORM)
    for name in (WEIGHTS, PROGRAM_FILE) if config.get("program") else (WEIGHTS,):
        if not (path / name).is_file():
            raise ValueError(f"{path} is incomplete: {name} was not copied with it.")
    weights = path / WEIGHTS
    if config["weights"]["sha256"] != _sha256(weights):
        raise ValueError(
            f"{weights} is not the file that was saved (its sha256 differs): it is damaged or of "
            "another bundle. Copy it again."
        )
    if any(len(row) != len(ClassResult._fields) for row in config.get("by_class", [])):
        raise ValueError(f"{path / CONFIG}: 'by_class' needs {', '.join(ClassResult._fields)}.")
    forward = None
    if config.get("program"):
        forward = load_forward((path / PROGRAM_FILE).read_bytes(), path / PROGRAM_FILE)
    bundle = bundle_of(config, read_variables(weights), forward=forward)
    return dataclasses.replace(bundle, config=config)


def open_model(path: Path | str, *, which: str | None = None) -> Bundle:
    """The model of a bundle or a run folder.

    Args:
        path: folder to read.
        which: "best" or "last" checkpoint of a run; None takes the best, if there is one.

    Raises:
        FileNotFoundError, ValueError: see :func:`load_bundle`; or a run without ``model.json``,
            checkpoints or a program of its model.

    >>> import tempfile
    >>> from jaxdl import models
    >>> dense = {"kernel": np.eye(9, 2, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    >>> path = tempfile.mkdtemp() + "/bundle"
    >>> rule = Preprocessing((3, 3, 1))
    >>> save_bundle(path, make_bundle(models.MLP((2,)), {"params": {"Dense_0": dense}}, rule))
    >>> open_model(path).model.features  # a run folder has its model in checkpoints/
    (2,)
    """
    path = Path(path)
    if not (is_described(path) or (path / "checkpoints").is_dir()):
        return load_bundle(path)
    run = read_run(path, which=which)
    return bundle_of(
        run.description,
        run.variables,
        forward=run.forward,
        metrics=run.metrics,
        confusion_matrix=run.confusion_matrix,
        step=run.step,
    )


def _check_model(
    model: nn.Module, preprocessing: Preprocessing, variables: PyTree, class_names: Sequence[str]
) -> None:
    def start(key: Array) -> tuple[PyTree, PyTree]:
        raw = jnp.zeros((1, *preprocessing.shape), preprocessing.dtype)
        inputs = preprocessing(raw)
        expected = model.init(key, inputs, train=False)
        return expected, model.apply(expected, inputs, train=False)

    name = type(model).__name__
    try:
        expected, outputs = jax.eval_shape(start, jax.random.key(0))
    except Exception as error:  # fields of a wrong type or size fail anywhere inside the model
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"the model {name} does not take inputs of shape {preprocessing.shape}: "
            f"{type(error).__name__}: {reason}"
        ) from error
    _check_weights(f"the model {name}", tree.named_leaves(expected), variables)
    _check_class_names(getattr(outputs, "shape", None), class_names)


def _check_forward(
    forward: Forward, preprocessing: Preprocessing, variables: PyTree, class_names: Sequence[str]
) -> None:
    expected = (forward.shape, forward.dtype)
    if (preprocessing.shape, preprocessing.dtype) != expected:
        raise ValueError(
            f"the forward pass takes {forward.dtype} inputs of shape {forward.shape}, but the "
            f"description says {preprocessing.dtype} and {preprocessing.shape}."
        )
    _check_weights("the forward pass", forward.leaves, variables)
    _check_class_names(getattr(forward.outputs, "shape", None), class_names)


def _check_weights(
    what: str, expected: Mapping[str, Array | jax.ShapeDtypeStruct], variables: PyTree
) -> None:
    found = tree.named_leaves(variables)
    lines = tree.differences(
        {name: str(list(leaf.shape)) for name, leaf in expected.items()},
        {name: str(list(leaf.shape)) for name, leaf in found.items()},
    )
    if lines:
        raise ValueError(f"the weights are not those of {what}:\n  {shorten_lines(lines)}")
    for name, leaf in found.items():
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        if jnp.issubdtype(expected[name].dtype, jnp.floating) and not floating:
            raise ValueError(f"{name} holds {leaf.dtype}, expected floating point.")


def _check_class_names(shape: tuple[object, ...] | None, class_names: Sequence[str]) -> None:
    if class_names and (shape is None or shape[1:] != (len(class_names),)):
        raise ValueError(
            f"there are {len(class_names)} class names, but the model's output has shape {shape}; "
            f"expected (B, {len(class_names)})."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
