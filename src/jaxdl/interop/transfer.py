"""Conversion of arrays: NumPy to JAX in one pass on all cores, and anything to NumPy."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import ml_dtypes
import numpy as np

from jaxdl._machine import num_cores
from jaxdl.types import PyTree

ALIGNMENT = 64
"""XLA takes over a NumPy buffer whose address is a multiple of this, and copies others."""


LANES = 512
"""Contiguous numbers that a block of a transposition writes."""


BLOCK = 1 << 20
"""Bytes of such a block, which stays in the cache between reading and writing."""


SMALL = 1 << 22
"""Bytes below which one thread is faster than several."""


HUGE_PAGE = 1 << 21
"""Bytes of a huge page, with which new memory costs a fraction."""


SHARED = 1 << 25
"""Bytes of a buffer that small arrays share; it is freed with the last of them."""


def transfer(arrays: PyTree, dtypes: PyTree | None = None) -> PyTree:
    """Copies NumPy arrays to JAX arrays on the default device.

    A view that is transposed, flipped or of another dtype is laid out and converted on the way:
    everything is read once and written once.

    Args:
        arrays: tree of arrays; JAX arrays are returned unchanged.
        dtypes: tree of the same structure, of dtypes to convert to; None keeps each array's.

    Returns:
        tree of the same structure. float64 and int64 become 32-bit unless jax_enable_x64 is on, as
        in ``jnp.array``.

    Source: ``torch.Tensor.to(device, copy=True)``.

    >>> weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> kernel = transfer({"kernel": weight.T})["kernel"]
    >>> weight[:] = 0
    >>> kernel.tolist()
    [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    """
    leaves, structure = jax.tree.flatten(arrays)
    asked = [None] * len(leaves) if dtypes is None else jax.tree.leaves(dtypes)
    sources, forms = {}, {}
    for index, (leaf, dtype) in enumerate(zip(leaves, asked, strict=True)):
        if isinstance(leaf, jax.Array):
            leaves[index] = leaf if dtype is None else leaf.astype(dtype)
            continue
        sources[index] = np.asarray(leaf)
        dtype = jax.dtypes.canonicalize_dtype(sources[index].dtype if dtype is None else dtype)
        forms[index] = (sources[index].shape, np.dtype(dtype))
    targets = dict(zip(forms, _empty(list(forms.values())), strict=True))
    _copy([(targets[index], source) for index, source in sources.items()])
    # nothing else refers to these buffers, so JAX may keep them
    for index, array in zip(targets, jax.device_put(list(targets.values())), strict=True):
        leaves[index] = array
    return jax.tree.unflatten(structure, leaves)


def to_numpy(array: object, name: str) -> np.ndarray:
    """A NumPy, JAX or PyTorch array as NumPy's, without a copy if possible.

    Args:
        array: any array or tensor.
        name: its name in error messages.

    Raises:
        ValueError: anything else, or a tensor that NumPy cannot hold.
    """
    if hasattr(array, "detach"):
        return _tensor_to_numpy(array, name)
    dtype = getattr(array, "dtype", None)
    if dtype is None or jax.dtypes.issubdtype(dtype, jax.dtypes.extended):
        kind = type(array).__name__ if dtype is None else str(dtype)
        raise ValueError(f"{name} must be an array or a tensor, got {kind}.")
    return np.asarray(array)


def _tensor_to_numpy(tensor: Any, name: str) -> np.ndarray:
    import torch

    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype != "bfloat16" and not dtype.startswith("float8"):
            return np.asarray(tensor.numpy())
        bits = {1: torch.uint8, 2: torch.int16}[tensor.element_size()]
        return np.asarray(tensor.contiguous().view(bits).numpy().view(getattr(ml_dtypes, dtype)))
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{name} cannot be an array: {' '.join(str(error).split())}") from error


def _empty(forms: Sequence[tuple[tuple[int, ...], np.dtype]]) -> list[np.ndarray]:
    """Arrays of these shapes and dtypes, aligned; small ones share a buffer."""
    sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in forms]
    starts, groups = [], [0]
    for size in sizes:
        if groups[-1] and groups[-1] + size > SHARED:
            groups.append(0)
        starts.append((len(groups) - 1, groups[-1]))
        groups[-1] += -(-size // ALIGNMENT) * ALIGNMENT
    buffers = [_buffer(size) for size in groups]
    return [
        buffers[group][start : start + size].view(dtype).reshape(shape)
        for (shape, dtype), size, (group, start) in zip(forms, sizes, starts, strict=True)
    ]


def _buffer(size: int) -> np.ndarray:
    """Bytes at an address that XLA takes over; at a huge page if they fill one."""
    alignment = HUGE_PAGE if size >= HUGE_PAGE else ALIGNMENT
    buffer = np.empty(size + alignment, np.uint8)
    start = -buffer.ctypes.data % alignment
    return buffer[start : start + size]


def _copy(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copies the second of each pair into the first."""
    if sum(target.nbytes for target, _ in pairs) < SMALL:
        for target, source in pairs:
            np.copyto(target, source, casting="unsafe")
        return
    blocks = [block for target, source in pairs for block in _blocks(target, source)]
    num_threads = min(num_cores(), 8)
    with ThreadPoolExecutor(num_threads) as pool:
        # NumPy lets other threads run while it copies
        for done in [pool.submit(_copy_some, blocks[i::num_threads]) for i in range(num_threads)]:
            done.result()


def _blocks(target: np.ndarray, source: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of both of about ``BLOCK`` bytes, long in the target's last axis."""
    if source.size == 0:
        return
    order, last, sizes = _order(source), source.ndim - 1, list(source.shape)
    if order and order[-1] != last:
        sizes[last] = min(LANES, sizes[last])
    elif source.nbytes <= BLOCK:
        yield target, source
        return
    for axis in order:  # the axes with the largest strides are cut first
        if axis != last or order[-1] == last:
            rest = math.prod(sizes) // sizes[axis] * source.itemsize
            sizes[axis] = min(sizes[axis], max(1, BLOCK // rest))
    counts = [-(-full // size) for full, size in zip(source.shape, sizes, strict=True)]
    for place in np.ndindex(*counts):
        part = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, sizes, strict=True))
        yield target[part], source[part]


def _copy_some(blocks: list[tuple[np.ndarray, np.ndarray]]) -> None:
    buffer = _buffer(2 * HUGE_PAGE)
    for target, source in blocks:
        _copy_block(target, source, buffer)


def _copy_block(target: np.ndarray, source: np.ndarray, buffer: np.ndarray) -> None:
    """Copies through a buffer if the axes are in another order.

    Rows of the source are often a power of two apart and share the same lines of the cache; in the
    buffer they are 64 bytes further apart.
    """
    order, last = _order(source), source.ndim - 1
    if order[-1:] == [last] or not order:
        np.copyto(target, source, casting="unsafe")
        return
    ordered = source.transpose(order)
    split = order.index(last) + 1
    width = math.prod(ordered.shape[split:])
    padded = (*ordered.shape[:split], width + ALIGNMENT // source.itemsize)
    size = math.prod(padded) * source.itemsize
    if size > buffer.size:
        np.copyto(target, source, casting="unsafe")
        return
    rows = buffer[:size].view(source.dtype).reshape(padded)[..., :width].reshape(ordered.shape)
    np.copyto(rows, ordered)
    np.copyto(target, rows.transpose(np.argsort(order)), casting="unsafe")


def _order(array: np.ndarray) -> list[int]:
    """The axes by stride, the largest first."""
    if array.ndim < 2:
        return list(range(array.ndim))
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
