"""Export to ONNX with jax2onnx, checked with onnx and onnxruntime; extra ``onnx``."""

import contextlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jax.export
import numpy as np
from jax.typing import DTypeLike

from jaxdl._files import write_bytes
from jaxdl._program import portable
from jaxdl.export.stablehlo import largest_difference, random_inputs
from jaxdl.types import Array, PyTree

if TYPE_CHECKING:
    from onnx import ModelProto

PACKAGES = ("jax2onnx", "onnx", "onnxruntime")


def write_onnx(
    path: Path | str,
    function: Callable[[Array], PyTree],
    shape: Sequence[int],
    dtype: DTypeLike = "uint8",
    *,
    tolerance: float = 1e-5,
    info: Mapping[str, object] | None = None,
) -> float:
    """Writes a function of a batch as ONNX, once onnxruntime reproduces its outputs.

    Args:
        path: file to write.
        function: pure; maps inputs (B, *shape) to outputs with a leading batch axis. The weights
            and preprocessing that it closes over become part of the file.
        shape: shape of one input; images are (H, W, C), channels last.
        dtype: dtype of the inputs.
        tolerance: largest allowed difference from ``function``, relative to its largest output, on
            random inputs of batch size 1, 7, and 64.
        info: metadata of the file, by name; values other than strings are stored as JSON.

    Returns:
        The largest difference found.

    Raises:
        ValueError: a package is missing, jax2onnx cannot convert the function, onnx or onnxruntime
            rejects the result, or the outputs differ by more than ``tolerance``. Nothing is
            written.

    Source: ``torch.onnx.export(dynamo=True)`` with a dynamic batch axis. The input is called
    ``inputs``, the outputs ``outputs`` or ``outputs_0``, ….

    Example, of a model with its preprocessing::

        bundle = export.open_model("runs/mnist")
        apply = functools.partial(bundle.apply, bundle.variables)
        difference = export.write_onnx("mnist.onnx", apply, (28, 28, 1))
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"ONNX needs {', '.join(missing)}: pip install 'jaxdl[onnx]', in a separate "
            "environment, since jax2onnx requires an older orbax-checkpoint. StableHLO needs no "
            "further package."
        )
    import onnx
    import onnxruntime

    (batch,) = jax.export.symbolic_shape("B")
    specification = jax.ShapeDtypeStruct((batch, *shape), np.dtype(dtype))
    number = len(jax.tree.leaves(jax.eval_shape(function, specification)))
    names = ["outputs"] if number == 1 else [f"outputs_{index}" for index in range(number)]
    content = _convert(function, specification, names)
    for name, value in (info or {}).items():
        entry = content.metadata_props.add()
        entry.key, entry.value = name, value if isinstance(value, str) else json.dumps(value)
    try:
        onnx.checker.check_model(content, full_check=True)
        serialized = content.SerializeToString()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            serialized, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # each library raises different kinds
        raise ValueError(
            f"jax2onnx returned an invalid ONNX model: {_reason(error)}. Export to StableHLO."
        ) from error
    found = largest_difference(
        function,
        lambda batch: session.run(names, {"inputs": batch}),
        random_inputs(shape, dtype),
        tolerance,
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, serialized)
    return found


def _convert(
    function: Callable[[Array], PyTree], specification: jax.ShapeDtypeStruct, names: Sequence[str]
) -> "ModelProto":
    """Converts a function to an ONNX model."""
    with _quiet(), portable():
        import jax2onnx

        try:
            return jax2onnx.to_onnx(
                # a new function, so that cached traces of the caller's are not used
                lambda inputs: (
                    tuple(jax.tree.leaves(function(inputs)))
                    if len(names) > 1
                    else jax.tree.leaves(function(inputs))[0]
                ),
                [specification],
                model_name="jaxdl",
                input_names=["inputs"],
                output_names=list(names),
            )
        except Exception as error:  # whatever a converter raises
            raise ValueError(
                f"jax2onnx cannot convert this model: {_reason(error)}. "
                "Export it to StableHLO, which supports every model (--to stablehlo)."
            ) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the converter's messages about its internals."""
    loggers = [logging.getLogger(name) for name in ("onnx_ir", "jax2onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
