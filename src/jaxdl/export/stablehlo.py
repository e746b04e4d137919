"""StableHLO: a model as one file that runs without its code, on CPU and CUDA, at any batch size.

The file is 8 bytes with the length of a header (little-endian), the header (JSON), and what
``jax.export`` serialised, so that JAX alone can read it too::

    content = open("model.stablehlo", "rb").read()
    start = 8 + int.from_bytes(content[:8], "little")
    exported = jax.export.deserialize(bytearray(content[start:]))
    logits = exported.call(images)  # uint8 (B, H, W, C)

``exported.mlir_module_serialized`` is the portable StableHLO for other runtimes.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxdl._files import write_bytes
from jaxdl.nn import prefer_implementation

FORMAT = "jaxdl stablehlo"


BATCHES = (1, 7, 64)
"""Batch sizes at which every export is compared with the function it was made from."""


class Exported(NamedTuple):
    """A function from a file.

    Attributes:
        call: raw inputs (B, ...) → outputs (B, ...), compiled once for each batch size.
        info: the file's header: shapes, dtypes, class names, what was checked.
        module: JAX's own object, with the StableHLO in it.
    """

    call: Callable[..., Any]
    info: dict[str, Any]
    module: jax.export.Exported


def write_stablehlo(
    path: Path | str,
    function: Callable[[Any], Any],
    shape: Sequence[int],
    dtype: Any = "uint8",
    *,
    platforms: Sequence[str] = ("cpu", "cuda"),
    gradients: bool = False,
    tolerance: float = 1e-5,
    info: Mapping[str, Any] | None = None,
) -> float:
    """Writes a function of a batch as StableHLO, if it computes the same when it is read back.

    Args:
        path: of the file.
        function: pure; inputs (B, *shape) → outputs with the batch first. Weights and
            preprocessing inside it become part of the file. Products are computed in full float32
            on every platform (TF32 is off).
        shape: of one input.
        dtype: of the inputs.
        platforms: on which it shall run; the machine that writes needs none of them but its own.
        gradients: also keep the derivative with respect to the inputs, for ``jax.grad`` and
            ``jax.vjp`` of ``call``; the inputs must be floating point.
        tolerance: largest difference from ``function``, relative to its largest output, on random
            inputs at each of the batch sizes :data:`BATCHES`.
        info: JSON values for the header.

    Returns:
        the largest difference.

    Raises:
        ValueError: the outputs differ by more, or gradients of integers; nothing is written.

    Source: ``torch.export`` and ``torch.jit.save``.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "double.stablehlo"
    >>> difference = write_stablehlo(path, lambda x: 2.0 * x, (3,), "float32", gradients=True)
    >>> call = load_exported(path).call
    >>> print(call(jnp.ones((2, 3))).shape, jax.grad(lambda x: call(x).sum())(jnp.ones((1, 3))))
    (2, 3) [[2. 2. 2.]]
    """
    path, dtype, platforms = Path(path), np.dtype(dtype), tuple(platforms)
    if gradients and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{dtype} inputs have no gradients: export a function of float32 inputs.")
    (batch,) = jax.export.symbolic_shape("batch")
    specification = jax.ShapeDtypeStruct((batch, *shape), dtype)
    here = jax.default_backend().replace("gpu", "cuda")
    with portable():
        # not the caller's function itself: what JAX has traced of it before stays as it is
        exported = jax.export.export(jax.jit(lambda inputs: function(inputs)), platforms=platforms)(
            specification
        )
    serialised = bytes(exported.serialize(vjp_order=1 if gradients else 0))
    if here not in platforms:
        raise ValueError(
            f"the export for {', '.join(platforms)} cannot be checked on this machine, which has "
            f"{here}: add it to the platforms."
        )
    read_back = jax.jit(jax.export.deserialize(bytearray(serialised)).call)
    inputs = random_inputs(shape, dtype)
    found = largest_difference(
        function, lambda x: jax.tree.leaves(read_back(jnp.asarray(x))), inputs, tolerance
    )
    header = {
        "format": FORMAT,
        "version": 1,
        "input": {"shape": ["batch", *shape], "dtype": dtype.name},
        "platforms": list(platforms),
        "gradients": gradients,
        "jax": jax.__version__,
        "largest_difference": found,
        "sha256": hashlib.sha256(serialised).hexdigest(),
        **(info or {}),
    }
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, len(text).to_bytes(8, "little") + text + serialised)
    return found


def load_exported(path: Path | str) -> Exported:
    """A function that :func:`write_stablehlo` wrote; needs no code of the model.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another kind of file, or a damaged one.
    """
    content, info = Path(path).read_bytes(), read_header(path)
    serialised = content[8 + int.from_bytes(content[:8], "little") :]
    if hashlib.sha256(serialised).hexdigest() != info.get("sha256"):
        raise ValueError(f"{path} is damaged: its checksum (sha256) is not that of its content.")
    module = jax.export.deserialize(bytearray(serialised))
    return Exported(jax.jit(module.call), info, module)


def read_header(path: Path | str) -> dict[str, Any]:
    """The header of an exported file: what goes in, what it is, what was checked.

    Raises:
        ValueError: another kind of file.
    """
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length < 2**24 else b""
    try:
        info = json.loads(text)
    except ValueError:
        info = None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ValueError(f"{path} is no file of write_stablehlo, or it is cut short.")
    return info


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Inside it, functions are traced for any device: XLA's convolutions, full float32."""
    with prefer_implementation("lax"), jax.default_matmul_precision("highest"):
        yield


def random_inputs(shape: Sequence[int], dtype: Any) -> list[np.ndarray]:
    """Random inputs at each of the batch sizes: all of uint8, floats in [0, 1), integers 0 or 1."""
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    result = []
    for batch in BATCHES:
        if jnp.issubdtype(dtype, jnp.floating):
            result.append(rng.random((batch, *shape)).astype(dtype))
        else:
            high = 256 if dtype == np.uint8 else 2
            result.append(rng.integers(0, high, (batch, *shape)).astype(dtype))
    return result


def largest_difference(
    ours: Callable[[Any], Any],
    theirs: Callable[[np.ndarray], Sequence[Any]],
    inputs: Sequence[np.ndarray],
    tolerance: float,
) -> float:
    """How far two functions are apart, relative to the largest output of ours.

    Args:
        ours: the function that was exported, traced anew as it runs on this machine.
        theirs: what was made of it: inputs → the leaves of the outputs.
        inputs: batches.
        tolerance: more is an error.

    Raises:
        ValueError: the outputs differ by more, in number or in shape.
    """
    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(lambda x: jax.tree.leaves(ours(x)))
        worst = 0.0
        for batch in inputs:
            expected = [np.asarray(leaf, np.float64) for leaf in compiled(jnp.asarray(batch))]
            found = [np.asarray(leaf, np.float64) for leaf in theirs(batch)]
            shapes, others = [a.shape for a in expected], [b.shape for b in found]
            if shapes != others:
                raise ValueError(f"the export returns shapes {others}, expected {shapes}.")
            for a, b in zip(expected, found, strict=True):
                scale = max(np.abs(a).max(initial=0), 1e-30)
                difference = float(np.abs(a - b).max(initial=0) / scale)
                if not difference <= tolerance:
                    raise ValueError(
                        f"the export differs by {difference:.1e} of the largest output at batch "
                        f"{len(batch)}, allowed {tolerance:.0e}; it is not written. A larger "
                        "tolerance accepts it."
                    )
                worst = max(worst, difference)
    return worst
