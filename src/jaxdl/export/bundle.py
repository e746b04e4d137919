"""Model bundles: a folder that is enough to use a model on a new machine, and to know what it is.

======================= ==========================================================================
``config.json``         the model's constructor and fields, preprocessing, class names, metrics,
                        results by class, data, versions, and a checksum of the weights
``model.safetensors``   the variables, by Linen's names
``README.md``           the model card
======================= ==========================================================================

Nothing in it is executed: the constructor is looked up in ``jaxdl.models``.
"""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _versions, tree
from jaxdl import metrics as metrics_of
from jaxdl._checks import check_positive
from jaxdl._files import read_json, replacing, write_json
from jaxdl.export.from_run import describe_run, is_described, read_run
from jaxdl.export.model_card import results_by_class, write_card
from jaxdl.export.model_spec import make_model
from jaxdl.export.preprocessing import Preprocessing
from jaxdl.interop._transfer import transfer
from jaxdl.interop.weight_files import read_variables, write_variables
from jaxdl.types import Array, PyTree

FORMAT = "jaxdl bundle"


CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


TIMING = re.compile(r"_seconds$|_per_second$")
"""Metrics that say nothing of the model."""


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A model that is ready to use.

    Attributes:
        model: the Linen module.
        variables: its weights and statistics.
        preprocessing: what is done to raw inputs.
        class_names: a name for every output; empty where the model is no classifier.
        config: all else that is known: ``"metrics"``, ``"by_class"``, ``"data"``, ….
    """

    model: nn.Module
    variables: PyTree
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    config: dict[str, Any]

    def apply(self, variables: PyTree, inputs: Array) -> Any:
        """The outputs for a batch of raw inputs; pure, for ``jit`` and ``export``."""
        return self.model.apply(variables, self.preprocessing(inputs), train=False)

    @functools.cached_property
    def _compiled(self) -> Any:
        return jax.jit(self.apply)

    def outputs(self, inputs: Any, *, batch_size: int = 64) -> Any:
        """The model's outputs for raw inputs: logits, where it is a classifier.

        Args:
            inputs: (N, *shape) as ``preprocessing`` says: uint8 images, say; or a list of N texts,
                where it has a vocabulary.
            batch_size: inputs at a time; batches are padded to powers of two, so that few sizes
                are compiled.

        Returns:
            (N, ...) NumPy arrays, one or a tree of them, as the model has it.

        Raises:
            ValueError: another shape or dtype.
        """
        check_positive(batch_size=batch_size)
        array = self.preprocessing.check(inputs)
        pieces = []
        for start in range(0, max(len(array), 1), batch_size):
            piece = array[start : start + batch_size]
            size = min(batch_size, 1 << max(len(piece) - 1, 0).bit_length())
            padding = [(0, size - len(piece))] + [(0, 0)] * (array.ndim - 1)
            result = self._compiled(self.variables, np.pad(piece, padding))
            pieces.append(jax.tree.map(lambda a, n=len(piece): np.asarray(a[:n]), result))
        return jax.tree.map(lambda *parts: np.concatenate(parts), *pieces)

    def predict(self, inputs: Any, *, batch_size: int = 64) -> Any:
        """The probability of every class for raw inputs; of other models, the outputs.

        Args:
            inputs, batch_size: as for :meth:`outputs`.

        Returns:
            (N, C) float32, the softmax of the logits.
        """
        outputs = self.outputs(inputs, batch_size=batch_size)
        if not self.class_names:
            return outputs
        logits = outputs.astype(np.float32)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)


def make_bundle(
    description: Mapping[str, Any],
    variables: PyTree,
    *,
    metrics: Mapping[str, float] | None = None,
    confusion_matrix: Any = None,
    step: int | None = None,
) -> Bundle:
    """A bundle in memory, checked: the variables are those of the model.

    Args:
        description: of :func:`jaxdl.export.from_run.describe_run`.
        variables: of the model, floating point in any precision.
        metrics: numbers by name, ``"test/accuracy"``.
        confusion_matrix: (C, C) counts on test data, rows true; gives the results by class.
        step: updates that made the weights.

    Raises:
        ValueError: an unknown model or field, weights that are missing, too many or of another
            shape, class names that are not as many as the model has outputs.
    """
    for name in ("model", "preprocessing"):
        if name not in description:
            raise ValueError(f"the description lacks {name!r}; it has {sorted(description)}.")
    model = make_model(description["model"])
    preprocessing = Preprocessing.from_json(description["preprocessing"])
    class_names = tuple(description.get("class_names", ()))
    _check_weights(model, preprocessing, variables, class_names)
    by_class = []
    if confusion_matrix is not None and class_names:
        by_class = [list(each) for each in results_by_class(confusion_matrix, class_names)]
    config = {
        "format": FORMAT,
        "version": 1,
        **{k: v for k, v in description.items() if k != "averaged"},
        "step": step,
        "metrics": {k: v for k, v in (metrics or {}).items() if not TIMING.search(k)},
        "by_class": by_class,
        "versions": _versions.installed(),
    }
    return Bundle(model, transfer(variables), preprocessing, class_names, config)


def save_bundle(
    path: Path | str,
    model: nn.Module | Bundle,
    variables: PyTree = None,
    *,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    data: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    confusion_matrix: Any = None,
    title: str = "",
    intended_use: str = "",
    limits: str = "",
) -> None:
    """Writes a bundle: all of it, or nothing.

    Args:
        path: of the folder, which must be new or empty.
        model: of a class in ``jaxdl.models``; or a :class:`Bundle`, which needs nothing else.
        variables: of the model.
        preprocessing: from raw inputs to the model's.
        class_names: a name for every output of a classifier.
        data: what it was trained on, JSON values by name, for the card.
        metrics: numbers by name, ``{"test/accuracy": 0.98}``.
        confusion_matrix: (C, C) counts on test data, rows true; the card's results by class.
        title, intended_use, limits: sentences for the card.

    Raises:
        ValueError: as :func:`make_bundle`; a folder that holds something.

    >>> import tempfile, jax, jaxdl
    >>> from jaxdl import models
    >>> model, folder = models.MLP((4, 2)), tempfile.mkdtemp() + "/bundle"
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 3, 3, 1)))
    >>> rule = Preprocessing((3, 3, 1), mean=(0.5,), std=(0.25,))
    >>> save_bundle(folder, model, variables, preprocessing=rule, class_names=["cat", "dog"])
    >>> jaxdl.load_bundle(folder).predict(np.zeros((5, 3, 3, 1), np.uint8)).shape
    (5, 2)
    """
    if isinstance(model, Bundle):
        bundle = model
    elif preprocessing is None or variables is None:
        raise ValueError("save_bundle needs the model's variables and its preprocessing=.")
    else:
        bundle = make_bundle(
            describe_run(model, preprocessing, class_names, data=data),
            variables,
            metrics=metrics,
            confusion_matrix=confusion_matrix,
        )
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists already; choose a new folder for the bundle.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.mkdir()
        weights = temporary / WEIGHTS
        write_variables(weights, bundle.variables, {"format": "jaxdl"})
        about = {
            key: value for key, value in bundle.config.get("data", {}).items() if key != "data_dir"
        }
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
        write_json(temporary / CONFIG, config)
        title = title or f"{config['model']['name']} {about.get('name', '')}".strip()
        card = write_card(config, title=title, intended_use=intended_use, limits=limits)
        (temporary / CARD).write_text(card, encoding="utf-8")
        if path.exists():
            path.rmdir()


def load_bundle(path: Path | str) -> Bundle:
    """A model from the folder that :func:`save_bundle` wrote; also ``jaxdl.load_bundle``.

    Args:
        path: of the folder.

    Raises:
        FileNotFoundError: no bundle there.
        ValueError: a damaged or missing file, an unknown model or field, weights of another model.
    """
    path = Path(path)
    if not (path / CONFIG).is_file():
        there = sorted(each.name for each in path.glob("*"))[:10] if path.is_dir() else "no folder"
        raise FileNotFoundError(
            f"{path} is no bundle: expected {CONFIG}, {WEIGHTS} and {CARD}, found {there}."
        )
    config = read_json(path / CONFIG)
    if config.get("format") != FORMAT:
        hint = " It is a run folder: export it with --to bundle." if is_described(path) else ""
        raise ValueError(f"{path / CONFIG} is not that of a bundle.{hint}")
    if config.get("version") != 1:
        raise ValueError(
            f"{path} has version {config.get('version')}, this jaxdl knows version 1: update it."
        )
    weights = path / WEIGHTS
    if not weights.is_file():
        raise ValueError(f"{path} lacks {WEIGHTS}: its weights were not copied with it.")
    expected = config.get("weights", {}).get("sha256")
    if expected != _sha256(weights):
        raise ValueError(
            f"{weights} is not the file that was saved (sha256): it is damaged or of another "
            "bundle. Copy it again."
        )
    bundle = make_bundle(config, read_variables(weights))
    return dataclasses.replace(bundle, config=config)


def open_model(path: Path | str, *, which: str | None = None) -> Bundle:
    """A model from a bundle or a run folder.

    Args:
        path: of the folder.
        which: of a run, its "best" or "last" checkpoint; None: the best that there is.

    Raises:
        FileNotFoundError, ValueError: as :func:`load_bundle` and
            :func:`jaxdl.export.from_run.read_run`.
    """
    path = Path(path)
    if not (is_described(path) or (path / "checkpoints").is_dir()):
        return load_bundle(path)
    run = read_run(path, which=which)
    return make_bundle(
        run.description,
        run.variables,
        metrics=run.metrics,
        confusion_matrix=run.confusion_matrix,
        step=run.step,
    )


def evaluate(bundle: Bundle, inputs: Any, labels: Any) -> Bundle:
    """The bundle with accuracy, loss and results by class on the given data.

    Args:
        bundle: of a classifier.
        inputs: N raw inputs, as :meth:`Bundle.outputs` takes them.
        labels: (N,) integers.
    """
    logits, labels = bundle.outputs(inputs), np.asarray(labels)
    matrix = metrics_of.confusion_matrix(jnp.asarray(logits), jnp.asarray(labels))
    wide = logits.astype(np.float64)
    total = np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1)) + wide.max(-1)
    measured = {
        "test/loss": float((total - wide[np.arange(len(labels)), labels]).mean()),
        "test/accuracy": float((logits.argmax(-1) == labels).mean()),
    }
    by_class = [list(each) for each in results_by_class(matrix, bundle.class_names)]
    metrics = {**bundle.config["metrics"], **measured}
    config = {**bundle.config, "metrics": metrics, "by_class": by_class}
    return dataclasses.replace(bundle, config=config)


def _check_weights(
    model: nn.Module, preprocessing: Preprocessing, variables: PyTree, class_names: Sequence[str]
) -> None:
    def start(key: Array) -> tuple[Any, Any]:
        raw = jnp.zeros((1, *preprocessing.shape), preprocessing.dtype)
        inputs = preprocessing(raw)
        expected = model.init(key, inputs, train=False)
        return expected, model.apply(expected, inputs, train=False)

    expected, outputs = jax.eval_shape(start, jax.random.key(0))
    found, wanted = tree.named_leaves(variables), tree.named_leaves(expected)
    lines = tree.differences(
        {name: str(list(leaf.shape)) for name, leaf in wanted.items()},
        {name: str(list(leaf.shape)) for name, leaf in found.items()},
    )
    if lines:
        raise ValueError(
            f"the weights are not those of the model {type(model).__name__}:\n  "
            f"{tree.shorten(lines)}"
        )
    integers = [n for n, leaf in found.items() if not jnp.issubdtype(leaf.dtype, jnp.floating)]
    wrong = [n for n in integers if jnp.issubdtype(wanted[n].dtype, jnp.floating)]
    if wrong:
        raise ValueError(f"{wrong[0]} holds {found[wrong[0]].dtype}, expected floating point.")
    if class_names and getattr(outputs, "shape", None) != (1, len(class_names)):
        raise ValueError(
            f"there are {len(class_names)} class names, but the model's output has shape "
            f"{getattr(outputs, 'shape', None)}; expected (1, {len(class_names)})."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
