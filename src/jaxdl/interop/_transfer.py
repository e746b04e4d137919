"""Many arrays at once from views of a file to arrays of JAX: in one pass, by all cores."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np

from jaxdl._machine import num_cores
from jaxdl.types import PyTree

ALIGNMENT = 64
"""XLA takes over a buffer of NumPy's that begins at a multiple of this, and copies others."""


LANES = 512
"""Numbers next to each other that a block of a transposition writes."""


BLOCK = 1 << 20
"""Bytes of such a block: it stays in the cache between reading and writing."""


SMALL = 1 << 22
"""Bytes below which one thread is quicker than several."""


HUGE_PAGE = 1 << 21
"""Bytes; where memory comes in such pages, a fresh buffer costs a fraction."""


SHARED = 1 << 25
"""Bytes of the buffer that small arrays share; it is freed with the last of them."""


def transfer(arrays: PyTree, dtypes: PyTree | None = None) -> PyTree:
    """Arrays of NumPy as arrays of JAX on the default device, which share no memory with them.

    A view that is transposed, flipped or of another dtype is laid out and converted on the way, so
    that everything is read once and written once.

    Args:
        arrays: tree of arrays; those of JAX are handed on as they are.
        dtypes: tree like it of dtypes to convert to; None keeps each array's.

    Returns:
        tree like ``arrays``. Of float64 and int64 JAX has the 32-bit form unless jax_enable_x64 is
        on, as with ``jnp.array``.

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
    # nobody else has these buffers, so JAX may keep them for its own
    for index, array in zip(targets, jax.device_put(list(targets.values())), strict=True):
        leaves[index] = array
    return jax.tree.unflatten(structure, leaves)


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
    """Bytes that begin where XLA wants it, and at a huge page where they fill one."""
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
    """Parts of both of about ``BLOCK`` bytes, in which the target's last axis is long."""
    if source.size == 0:
        return
    order, last, sizes = _order(source), source.ndim - 1, list(source.shape)
    if order and order[-1] != last:
        sizes[last] = min(LANES, sizes[last])
    elif source.nbytes <= BLOCK:
        yield target, source
        return
    for axis in order:  # the axes whose neighbours are far apart are cut first
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
    """Copies by way of a buffer where the axes lie in another order.

    Rows of the source are often a power of two apart, which all fall into the same lines of the
    cache; in the buffer they are 64 bytes further apart.
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
    """The axes by the distance of neighbours in memory, the largest first."""
    if array.ndim < 2:
        return list(range(array.ndim))
    return sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
