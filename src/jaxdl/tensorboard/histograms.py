"""Histograms of values on the host, or of buckets counted on the device."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from jaxdl._checks import check_positive, check_shape
from jaxdl.tensorboard.writer import Writer, write_values
from jaxdl.types import Array

LARGEST = float(np.finfo(np.float32).max)
LARGE = 1e30  # of larger values neither the difference nor its reciprocal is sure to be in range


class Buckets(NamedTuple):
    """A histogram as :func:`bucket_counts` counts it.

    Attributes:
        counts: (K,) values in each bucket.
        edges: (K + 1,) ascending, or equal; bucket k reaches from edge k up to edge k + 1.
        minimum, maximum, total, total_squares: of the finite values; shape (). Sums that float32
            does not hold are not finite; TensorBoard draws nothing of them.
        num_not_finite: values that were NaN or infinite and lie in no bucket; shape ().
    """

    counts: Array
    edges: Array
    minimum: Array
    maximum: Array
    total: Array
    total_squares: Array
    num_not_finite: Array


def bucket_counts(values: Array, num_buckets: int = 30) -> Buckets:
    """Counts values in equal buckets from the smallest to the largest; pure, to be jitted.

    Counting on the device keeps the array there; only a few numbers travel to the host. Equal
    values get buckets around them, of width 1 in all, or 2e-6 of a large value.

    Args:
        values: any shape, floating point or integer; NaN and infinity are counted apart.
        num_buckets: K.

    Returns:
        :class:`Buckets` in float32, for :func:`write_buckets`.

    Source: the buckets of ``tf.summary.histogram``. ``SummaryWriter.add_histogram`` has buckets of
    exponential width, for which the whole array is needed: :func:`write_histogram`.

    >>> count = jax.jit(lambda values: bucket_counts(values, num_buckets=4))
    >>> count(jnp.array([0.0, 1.0, 1.5, 4.0])).counts.tolist()
    [1.0, 2.0, 0.0, 1.0]
    """
    check_positive(num_buckets=num_buckets)
    values = jnp.asarray(values, jnp.float32).reshape(-1)
    finite = jnp.isfinite(values)
    number = jnp.sum(finite, dtype=jnp.float32)
    minimum = jnp.min(values, initial=jnp.inf, where=finite)
    maximum = jnp.max(values, initial=-jnp.inf, where=finite)
    minimum, maximum = (jnp.where(number > 0, end, 0.0) for end in (minimum, maximum))
    scale = jnp.where(jnp.maximum(-minimum, maximum) > LARGE, 2.0**-32, 1.0)
    equal = maximum * scale - minimum * scale == 0
    margin = jnp.where(equal, jnp.maximum(0.5, 1e-6 * jnp.abs(minimum)), 0.0)
    low = jnp.maximum(minimum - margin, -LARGEST) * scale
    high = jnp.minimum(maximum + margin, LARGEST) * scale
    # jnp.linspace is not monotone where a bucket is narrower than the spacing of float32
    edges = jnp.minimum(low + (high - low) * np.linspace(0, 1, num_buckets + 1, dtype="f"), high)
    edges = edges.at[-1].set(high) / scale
    indices = jnp.floor((values * scale - low) / (high - low) * num_buckets)
    indices = jnp.where(finite, jnp.clip(indices, 0, num_buckets - 1), num_buckets)
    # A comparison with every bucket is quicker on an accelerator than a scatter, and fuses; on CPU
    # the scatter is up to 60 times quicker.
    counts = jax.lax.platform_dependent(
        indices,
        cpu=lambda indices: _scatter(indices, num_buckets),
        default=lambda indices: _compare(indices, num_buckets),
    )
    kept = jnp.where(finite, values, 0.0)
    return Buckets(
        counts,
        edges,
        minimum,
        maximum,
        jnp.sum(kept),
        jnp.sum(jnp.square(kept)),
        values.size - number,
    )


def _scatter(indices: Array, num_buckets: int) -> Array:
    counts = jnp.zeros(num_buckets, jnp.int32)
    return counts.at[indices.astype(jnp.int32)].add(1, mode="drop").astype(jnp.float32)


def _compare(indices: Array, num_buckets: int) -> Array:
    buckets = jax.lax.broadcasted_iota(jnp.float32, (num_buckets, 1), 0)
    return jnp.sum(indices[None] == buckets, axis=1, dtype=jnp.float32)


def write_buckets(writer: Writer, tag: str, buckets: Buckets, step: int) -> None:
    """Writes a histogram that was counted before; one without any finite value is left out.

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"gradients/Dense_0/kernel"``.
        buckets: see :class:`Buckets`; arrays of JAX or NumPy.
        step: position on the horizontal axis, in updates.

    Raises:
        ValueError: not one edge more than counts, descending edges, or a negative count.

    Source: ``SummaryWriter.add_histogram_raw``.
    """
    counts, edges = (np.asarray(array, np.float64) for array in buckets[:2])
    check_shape("buckets.counts", counts, (None,))
    check_shape("buckets.edges", edges, (len(counts) + 1,))
    if (counts < 0).any() or not (np.diff(edges) >= 0).all():
        raise ValueError(
            "buckets must have counts of 0 or more and ascending edges, got counts "
            f"{counts.tolist()} and edges {edges.tolist()}."
        )
    if counts.sum() > 0:
        _write(writer, tag, counts, edges[1:], [float(value) for value in buckets[2:6]], step)


def write_histogram(writer: Writer, tag: str, values: ArrayLike, step: int) -> None:
    """Writes the histogram of an array, in tensorboardX's buckets, 10 % wide each.

    NaN and infinity are left out; where nothing else is there, nothing is written. (TensorBoard
    draws no histogram that holds one: log their number as a scalar.)

    Args:
        writer: from :func:`~jaxdl.tensorboard.open_writer`.
        tag: ``"params/Dense_0/kernel"``.
        values: array of numbers, any shape.
        step: position on the horizontal axis, in updates.

    Raises:
        ValueError: an array without elements.

    Source: ``SummaryWriter.add_histogram(bins="tensorflow")``.

    >>> import tempfile
    >>> from jaxdl import tensorboard
    >>> with tensorboard.open_writer(tempfile.mkdtemp()) as writer:
    ...     tensorboard.write_histogram(writer, "params/kernel", np.linspace(-1, 1, 50), 1)
    """
    from tensorboardX.summary import make_histogram

    flat = np.asarray(values).astype(np.float64).reshape(-1)
    if not flat.size:
        raise ValueError(f"the histogram {tag!r} needs values, got an array without elements.")
    finite = flat[np.isfinite(flat)]
    if finite.size:
        # Beyond these limits are no buckets; TensorBoard draws the outermost up to the extremes.
        inside = np.clip(finite, writer.default_bins[0], writer.default_bins[-1])
        histogram = make_histogram(inside, writer.default_bins)
        statistics = (finite.min(), finite.max(), finite.sum(), np.square(finite).sum())
        _write(writer, tag, histogram.bucket, histogram.bucket_limit, statistics, step)


def _write(
    writer: Writer,
    tag: str,
    counts: Sequence[float] | np.ndarray,
    limits: Sequence[float] | np.ndarray,
    statistics: Sequence[float],
    step: int,
) -> None:
    from tensorboardX.proto.summary_pb2 import HistogramProto

    minimum, maximum, total, total_squares = statistics
    histogram = HistogramProto(
        min=minimum,
        max=maximum,
        num=sum(counts),
        sum=total,
        sum_squares=total_squares,
        bucket_limit=limits,
        bucket=counts,
    )
    write_values(writer, [{"tag": tag, "histo": histogram}], step)
