"""StableHLO: a model as one file that runs without its code, on CPU and CUDA, at any batch size."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl._program import PLATFORMS, batch_of, export, write_program
from jaxdl.types import Array, PyTree

BATCHES = (1, 7, 64)
"""Batch sizes at which an exported function is compared with the original."""

QUICK = {"xla_disable_hlo_passes": "constant_folding"}
"""Options for compiling what runs three times: folding weights is slow, and XLA logs that it is."""


def write_stablehlo(
    path: Path | str,
    function: Callable[[Array], PyTree],
    shape: Sequence[int],
    dtype: DTypeLike = "uint8",
    *,
    platforms: Sequence[str] = PLATFORMS,
    gradients: bool = False,
    tolerance: float = 1e-5,
    info: Mapping[str, object] | None = None,
) -> float:
    """Writes a function of a batch as StableHLO, if the program computes the same.

    Args:
        path: file to write.
        function: pure; inputs (B, *shape) → outputs (B, ...). Weights and preprocessing inside it
            become part of the file. Products are computed in full float32 on every platform (TF32
            is off).
        shape: of one input.
        dtype: of the inputs.
        platforms: on which the program runs; this machine's has to be one of them.
        gradients: keep the derivative with respect to the inputs, for ``jax.grad`` and ``jax.vjp``
            of ``call``; the inputs must be floating point.
        tolerance: largest difference from ``function``, relative to its largest output, on random
            inputs at batch sizes of 1, 7 and 64.
        info: JSON values for the header.

    Returns:
        the largest difference.

    Raises:
        ValueError: the outputs differ by more, the function needs the batch size as a number, or
            gradients of integers; nothing is written.

    Source: ``torch.export`` and ``torch.jit.save``.

    >>> import tempfile
    >>> from jaxdl.export import load_exported
    >>> path = Path(tempfile.mkdtemp()) / "double.stablehlo"
    >>> difference = write_stablehlo(path, lambda x: 2.0 * x, (3,), "float32", gradients=True)
    >>> call = load_exported(path).call
    >>> print(call(jnp.ones((2, 3))).shape, jax.grad(lambda x: call(x).sum())(jnp.ones((1, 3))))
    (2, 3) [[2. 2. 2.]]
    """
    dtype = np.dtype(dtype)
    if gradients and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"{dtype} inputs have no gradients: export a function of float32 inputs.")
    here = jax.default_backend().replace("gpu", "cuda")
    if here not in platforms:
        raise ValueError(
            f"a program for {', '.join(platforms)} cannot be checked on this machine, which has "
            f"{here}: add it to the platforms."
        )
    form = batch_of(shape, dtype)
    serialized = export(function, form, platforms=platforms, gradients=gradients)
    read_back = jax.jit(jax.export.deserialize(bytearray(serialized)).call, compiler_options=QUICK)
    difference = largest_difference(
        function,
        lambda batch: jax.tree.leaves(read_back(jnp.asarray(batch))),
        random_inputs(shape, dtype),
        tolerance,
    )
    header = {
        "input": {"shape": ["batch", *shape], "dtype": dtype.name},
        "platforms": list(platforms),
        "gradients": gradients,
        "largest_difference": difference,
        **(info or {}),
    }
    write_program(path, serialized, header)
    return difference


def random_inputs(shape: Sequence[int], dtype: DTypeLike) -> list[np.ndarray]:
    """Random inputs at each of the batch sizes: uint8, floats in [0, 1), or integers 0 and 1."""
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
    function: Callable[[Array], PyTree],
    exported: Callable[[np.ndarray], Sequence[np.ndarray]],
    inputs: Sequence[np.ndarray],
    tolerance: float,
) -> float:
    """The largest difference between a function and its export, relative to the largest output.

    Args:
        function: the original, traced again for this machine.
        exported: inputs → leaves of the outputs.
        inputs: batches.
        tolerance: the largest difference that is accepted.

    Raises:
        ValueError: a larger difference, or outputs of another shape.
    """
    with jax.default_matmul_precision("highest"):
        compiled = jax.jit(lambda x: jax.tree.leaves(function(x)), compiler_options=QUICK)
        worst = 0.0
        for batch in inputs:
            expected = [np.asarray(leaf, np.float64) for leaf in compiled(jnp.asarray(batch))]
            found = [np.asarray(leaf, np.float64) for leaf in exported(batch)]
            shapes, others = [a.shape for a in expected], [b.shape for b in found]
            if shapes != others:
                raise ValueError(f"the export returns shapes {others}, expected {shapes}.")
            for a, b in zip(expected, found, strict=True):
                scale = max(np.abs(a).max(initial=0), 1e-30)
                difference = float(np.abs(a - b).max(initial=0) / scale)
                if not difference <= tolerance:
                    raise ValueError(
                        f"the export differs by {difference:.1e} of the largest output at batch "
                        f"{len(batch)}, more than the tolerance {tolerance:.0e}; nothing is "
                        "written. A larger tolerance accepts it."
                    )
                worst = max(worst, difference)
    return worst
