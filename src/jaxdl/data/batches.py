"""Batches of data that fits in memory: gathered on the device, by index, inside the compiled step.

An epoch's order is a function of the epoch's number, so nothing is carried from one to the next
and any batch of any epoch can be made again.
"""

import jax
import jax.numpy as jnp

from jaxdl.checks import check_batch_size
from jaxdl.types import Array, Batch


def num_batches(num_examples: int, batch_size: int) -> int:
    """The batches of an epoch, a ragged last one included.

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
        key: root key of the order; it never advances.
        epoch: number of the epoch, from 0.
        num_examples: N.
        batch_size: B.

    Returns:
        (num_batches, B) int32, every example once. A ragged last batch is filled with the first
        indices of the same epoch; :func:`take` masks them.
    """
    order = jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)
    return _fill(order, num_examples, batch_size)


def sequential_order(num_examples: int, batch_size: int) -> Array:
    """The indices of batches in the order of the data; otherwise as :func:`epoch_order`."""
    return _fill(jnp.arange(num_examples), num_examples, batch_size)


def _fill(order: Array, num_examples: int, batch_size: int) -> Array:
    rows = num_batches(num_examples, batch_size)
    filled = order[jnp.arange(rows * batch_size) % num_examples]
    return filled.reshape(rows, batch_size).astype(jnp.int32)


def take(data: Batch, order: Array, index: Array | int, num_examples: int | None = None) -> Batch:
    """Batch number ``index`` of an order.

    Args:
        data: arrays (N, ...) on the device.
        order: (num_batches, B) from :func:`epoch_order` or :func:`sequential_order`.
        index: number of the batch, int32, shape ().
        num_examples: how many indices of the order are no filling; N by default.

    Returns:
        arrays (B, ...). Where B does not divide N, ``"mask"`` (B,) float32 is 0 for the examples
        that fill up the last batch; a ``"mask"`` that the data has is multiplied by it.
    """
    if num_examples is None:
        num_examples = next(iter(data.values())).shape[0]
    rows, batch_size = order.shape
    batch = {name: array[order[index]] for name, array in data.items()}
    if rows * batch_size != num_examples:
        real = (index * batch_size + jnp.arange(batch_size) < num_examples).astype(jnp.float32)
        batch["mask"] = batch["mask"] * real if "mask" in batch else real
    return batch
