"""Descriptions of models in run folders: enough to use the weights without the training script.

``model.json`` holds the model, its raw inputs and its class names. ``forward.stablehlo`` holds the
forward pass with preprocessing and without weights, unless ``model.json`` describes both: a class
of ``jaxdl.models`` with a :class:`jaxdl.export.Preprocessing`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl._files import write_bytes, write_json
from jaxdl._program import export_forward, load_forward
from jaxdl.models import spec
from jaxdl.types import Array, Batch, Network, PyTree, TrainState

MODEL_FILE, PROGRAM_FILE = "model.json", "forward.stablehlo"

FORM = {
    "model?": spec.FORM,
    "preprocessing?": {"shape": [int], "dtype?": str},
    "class_names?": [str],
    "data?": dict,
    "averaged?": bool,
    "program?": (str, None),
    "no_program?": str,
}
"""Form of ``model.json``."""


def write_description(
    workdir: Path,
    given: Mapping[str, object] | None,
    network: Network | None,
    state: PyTree,
    batch: Batch,
    class_names: Sequence[str] = (),
) -> None:
    """Writes ``model.json``, and ``forward.stablehlo`` where it is needed.

    Args:
        workdir: run folder.
        given: JSON values by name, which come before those found here.
        network: the model in the step; None writes only what is given.
        state: a :class:`~jaxdl.types.TrainState`; only shapes and dtypes count.
        batch: arrays or forms of a batch of training data.
        class_names: of the training data, if known.
    """
    description, program = dict(given or {}), None
    if network is not None and isinstance(state, TrainState):
        found, program = describe(network, state, batch, class_names, description)
        description = {**found, **description}
    if description:
        write_json(workdir / MODEL_FILE, description)
    if program is None:
        (workdir / PROGRAM_FILE).unlink(missing_ok=True)
    else:
        write_bytes(workdir / PROGRAM_FILE, program)


def describe(
    network: Network,
    state: TrainState,
    batch: Batch,
    class_names: Sequence[str],
    given: Mapping[str, object],
) -> tuple[dict[str, Any], bytes | None]:
    """The description of a network, and its forward pass unless the description says all.

    Args: see :func:`write_description`.
    """
    found: dict[str, Any] = {"model": spec.model_to_json(network.model)}
    raw = batch.get(network.image)
    if raw is None:
        return found, None
    dtype = raw_dtype(raw.dtype)
    found["preprocessing"] = {"shape": list(raw.shape[1:]), "dtype": dtype}
    if spec.is_known(network.model) and "preprocessing" in given:
        return found, None

    variables = {"params": state.params, **state.model_state}
    try:
        program = export_network(network, variables, raw.shape[1:], raw.dtype)
        outputs = load_forward(program, PROGRAM_FILE).outputs
    except Exception as error:  # a network without a program trains all the same
        return found | {"program": None, "no_program": _reason(error)}, None
    found["program"] = PROGRAM_FILE
    found["class_names"] = _class_names(batch.get(network.label), outputs, class_names)
    return found, program


def export_network(
    network: Network, variables: PyTree, shape: Sequence[int], dtype: DTypeLike
) -> bytes:
    """The forward pass of a network in evaluation, with its preprocessing; see
    :func:`jaxdl._program.export_forward`.

    Args:
        network: the model and its preprocessing.
        variables: of the model; only names, shapes and dtypes count.
        shape: of one raw input.
        dtype: of raw inputs in training.
    """

    def apply(variables: PyTree, inputs: Array) -> PyTree:
        model_state = {name: values for name, values in variables.items() if name != "params"}
        unused: PyTree = None
        state = TrainState(unused, variables["params"], model_state, None, unused)
        return network.outputs(state, {network.image: inputs.astype(dtype)})

    return export_forward(apply, variables, shape, raw_dtype(dtype))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"The network reads {error} of a batch beside its inputs."
    first = str(error).strip().partition("\n")[0]
    return first if isinstance(error, ValueError) else f"{type(error).__name__}: {first}"


def raw_dtype(dtype: DTypeLike) -> str:
    """The dtype in which a program takes inputs of a dtype."""
    if np.dtype(dtype) == np.uint8:
        return "uint8"
    return "float32" if jnp.issubdtype(dtype, jnp.floating) else "int32"


def _class_names(label: Array | None, outputs: PyTree, names: Sequence[str]) -> list[str]:
    """A name per output of a classifier, its number if unknown; none for other models."""
    shape: tuple[int, ...] = getattr(outputs, "shape", ())
    is_class = label is not None and jnp.issubdtype(label.dtype, jnp.integer) and label.ndim == 1
    if len(shape) != 2 or not is_class or shape[1] < 2:
        return []
    return list(names) if len(names) == shape[1] else [str(index) for index in range(shape[1])]
