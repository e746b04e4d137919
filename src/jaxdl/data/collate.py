"""Batches of examples: orders, gathering, padding of sequences."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl._checks import check_batch_size
from jaxdl.data.source import Gather, stack_examples
from jaxdl.types import Array, Batch


def num_batches(num_examples: int, batch_size: int) -> int:
    """The number of batches of an epoch, including a partial last one.

    Raises:
        ValueError: ``batch_size`` is not between 1 and ``num_examples``.

    >>> num_batches(100, 6)
    17
    """
    check_batch_size(batch_size, num_examples)
    return -(-num_examples // batch_size)


def epoch_order(key: Array, epoch: Array | int, num_examples: int, batch_size: int) -> Array:
    """The indices of an epoch's batches, shuffled by ``fold_in(key, epoch)``.

    Args:
        key: root PRNG key of the order; it never advances.
        epoch: index of the epoch.
        num_examples: N.
        batch_size: B.

    Returns:
        (num_batches, B) int32, each example once. A partial last batch is filled up with the first
        indices of the epoch, which :func:`take` masks.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)
    return _fill(order, num_examples, batch_size)


def sequential_order(num_examples: int, batch_size: int) -> Array:
    """The indices of batches in the order of the data; see :func:`epoch_order`."""
    return _fill(jnp.arange(num_examples), num_examples, batch_size)


def _fill(order: Array, num_examples: int, batch_size: int) -> Array:
    rows = num_batches(num_examples, batch_size)
    filled = order[jnp.arange(rows * batch_size) % num_examples]
    return filled.reshape(rows, batch_size).astype(jnp.int32)


def take(
    data: Batch,
    order: Array,
    index: Array | int,
    num_examples: int | None = None,
    gather: Gather | None = None,
) -> Batch:
    """Gathers batch ``index`` of an order.

    Args:
        data: arrays (N, ...) on the device.
        order: (num_batches, B) from :func:`epoch_order` or :func:`sequential_order`.
        index: of the batch; int32, shape ().
        num_examples: number of indices that are not padding; N by default.
        gather: ``(data, indices (B,)) -> batch`` for a source that extracts its examples on the
            device (see ``compact_form``); None takes rows of ``data``.

    Returns:
        Arrays (B, ...). If B does not divide N, ``"mask"`` (B,) float32 is 0 for the padding of the
        last batch; a ``"mask"`` (N, ...) in the data is multiplied by it.
    """
    if num_examples is None:
        num_examples = next(iter(data.values())).shape[0]
    rows, batch_size = order.shape
    batch = dict(take_rows(data, order[index], gather))
    if rows * batch_size != num_examples:
        real = (index * batch_size + jnp.arange(batch_size) < num_examples).astype(jnp.float32)
        if "mask" in batch:
            real = batch["mask"] * real.reshape(-1, *[1] * (batch["mask"].ndim - 1))
        batch["mask"] = real
    return batch


def take_rows(data: Batch, indices: Array, gather: Gather | None = None) -> Batch:
    """Gathers the examples with indices (B,), without a padding mask; see :func:`take`."""
    if gather is not None:
        return gather(data, indices)
    return {name: array[indices] for name, array in data.items()}


def round_up(length: int, boundaries: Sequence[int]) -> int:
    """The smallest boundary that is at least ``length``.

    Raises:
        ValueError: ``length`` exceeds the last boundary.

    >>> round_up(33, (32, 64, 128))
    64
    """
    for boundary in sorted(boundaries):
        if boundary >= length:
            return boundary
    raise ValueError(
        f"a sequence of length {length} exceeds the last boundary {max(boundaries)}; truncate it "
        "or add a boundary."
    )


def pad_sequences(
    sequences: Sequence[Any],
    *,
    boundaries: Sequence[int] | None = None,
    value: float = 0,
    pad_left: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Pads sequences of different lengths to one array, with a mask.

    Args:
        sequences: B arrays (L_i, ...) of one dtype and trailing shape.
        boundaries: L is the smallest of these that fits, so that a compiled step sees few shapes;
            None takes the length of the longest sequence.
        value: padding value.
        pad_left: pad before the sequence instead of after it.

    Returns:
        The sequences (B, L, ...) in their dtype, and the mask (B, L) float32: 0 for padding.

    Raises:
        ValueError: no sequences, different trailing shapes, or a sequence longer than the last
            boundary.

    Source: ``torch.nn.utils.rnn.pad_sequence(batch_first=True)``, which has no mask and no
    boundaries.

    >>> padded, mask = pad_sequences([[1, 2, 3], [4]], boundaries=(4, 8))
    >>> padded.tolist(), mask.tolist()
    ([[1, 2, 3, 0], [4, 0, 0, 0]], [[1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    """
    arrays = [np.asarray(sequence) for sequence in sequences]
    if not arrays or len({array.shape[1:] for array in arrays if array.ndim}) != 1:
        shapes = sorted({array.shape for array in arrays})
        raise ValueError(
            f"sequences must have shape (L, ...) with equal trailing axes, got shapes {shapes}."
        )
    longest = max(len(array) for array in arrays)
    length = longest if boundaries is None else round_up(longest, boundaries)
    dtype = np.result_type(*arrays)
    padded = np.full((len(arrays), length, *arrays[0].shape[1:]), value, dtype)
    mask = np.zeros((len(arrays), length), np.float32)
    for row, array in enumerate(arrays):
        place = slice(length - len(array), None) if pad_left else slice(len(array))
        padded[row, place], mask[row, place] = array, 1
    return padded, mask


@dataclasses.dataclass(frozen=True)
class PadCollate:
    """A collate function that pads some arrays of the examples and stacks the others.

    Args:
        names: arrays (L_i, ...) to pad; ``"NAME_mask"`` (B, L) float32 and ``"NAME_length"`` (B,)
            int32 are added for each.
        boundaries, value, pad_left: see :func:`pad_sequences`.

    >>> collate = PadCollate(["tokens"], boundaries=(4,))
    >>> batch = collate([{"tokens": np.array([5, 6])}, {"tokens": np.array([7])}])
    >>> batch["tokens"].tolist(), batch["tokens_length"].tolist()
    ([[5, 6, 0, 0], [7, 0, 0, 0]], [2, 1])
    """

    names: Sequence[str]
    boundaries: Sequence[int] | None = None
    value: float = 0
    pad_left: bool = False

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Collates examples with sequences (L_i, ...) into arrays (B, L, ...)."""
        batch = stack_examples(
            [{n: x for n, x in one.items() if n not in self.names} for one in examples]
        )
        for name in self.names:
            batch[name], mask = pad_sequences(
                [example[name] for example in examples],
                boundaries=self.boundaries,
                value=self.value,
                pad_left=self.pad_left,
            )
            batch[f"{name}_mask"] = mask
            batch[f"{name}_length"] = mask.sum(axis=1).astype(np.int32)
        return batch
