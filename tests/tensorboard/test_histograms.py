"""Histograms, in TensorBoard's readers and against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import accumulate

from jaxdl import tensorboard
from jaxdl.tensorboard import histograms


def histogram(directory, tag="weights"):
    (event,) = accumulate(directory).Histograms(tag)
    return event.step, event.histogram_value


def test_every_value_lies_in_its_bucket(tmp_path):
    values = np.array([-2.0, -0.5, -0.5, 0.0, 1e-3, 3.0])
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_histogram(writer, "weights", values.reshape(2, 3), 7)
    step, found = histogram(tmp_path)
    assert step == 7
    assert (found.min, found.max, found.num) == (-2.0, 3.0, 6)
    assert found.sum == pytest.approx(values.sum())
    assert found.sum_squares == pytest.approx(np.square(values).sum())
    limits = [-np.inf, *found.bucket_limit]
    expected = np.histogram(values, limits)[0]
    np.testing.assert_array_equal(found.bucket, expected)
    kept = {
        float(limit) for limit, count in zip(found.bucket_limit, expected, strict=True) if count
    }
    for value in values:  # the limit above a value is at most 10 % from it
        above = min(limit for limit in kept if limit >= value)
        assert abs(above - value) <= 0.1 * abs(value) + 1e-12


def test_what_is_not_finite_is_left_out(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_histogram(writer, "weights", np.array([1.0, np.nan, np.inf, 1e30]), 0)
        tensorboard.write_histogram(writer, "nothing", np.array([np.nan]), 0)
        tensorboard.write_scalars(writer, {"loss": 1.0}, 0)
    _, found = histogram(tmp_path)
    assert (found.min, found.max, found.num, sum(found.bucket)) == (1.0, 1e30, 2, 2)
    assert accumulate(tmp_path).Tags()["histograms"] == ["weights"]


def test_an_empty_array_has_no_histogram(tmp_path):
    with (
        tensorboard.open_writer(tmp_path) as writer,
        pytest.raises(ValueError, match="'weights' needs values"),
    ):
        tensorboard.write_histogram(writer, "weights", np.zeros((0, 3)), 0)


def test_buckets_counted_on_the_device_are_numpys():
    values = np.random.default_rng(0).normal(2.0, 3.0, (40, 25)).astype(np.float32)
    buckets = jax.jit(tensorboard.histograms.bucket_counts)(values)
    counts, edges = np.histogram(values, 30)
    np.testing.assert_allclose(buckets.edges, edges, rtol=1e-5, atol=1e-5)
    # a value on an edge may fall to either side in float32
    assert np.abs(np.asarray(buckets.counts) - counts).sum() <= 2
    assert float(buckets.counts.sum()) == 1000
    assert float(buckets.minimum) == values.min()
    assert float(buckets.maximum) == values.max()
    np.testing.assert_allclose(buckets.total, values.sum(), rtol=1e-5)
    np.testing.assert_allclose(buckets.total_squares, np.square(values).sum(), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "counts", "edges", "num_not_finite"),
    [
        ([0.0, 1.0, 1.5, 4.0], [1, 2, 0, 1], [0, 1, 2, 3, 4], 0),
        ([2.0, 2.0, 2.0], [0, 0, 3, 0], [1.5, 1.75, 2.0, 2.25, 2.5], 0),
        ([np.nan, 0.0, np.inf, 8.0, -np.inf], [1, 0, 0, 1], [0, 2, 4, 6, 8], 3),
        ([np.nan], [0, 0, 0, 0], [-0.5, -0.25, 0, 0.25, 0.5], 1),
    ],
)
def test_buckets_by_hand(values, counts, edges, num_not_finite):
    buckets = tensorboard.histograms.bucket_counts(jnp.array(values), num_buckets=4)
    assert buckets.counts.tolist() == counts
    assert buckets.edges.tolist() == edges
    assert float(buckets.num_not_finite) == num_not_finite
    assert bool(jnp.isfinite(buckets.total))


@pytest.mark.slow
def test_buckets_come_back_as_they_were_counted(tmp_path):
    buckets = tensorboard.histograms.bucket_counts(jnp.array([0.0, 1.0, 1.5, 4.0]), num_buckets=4)
    nothing = tensorboard.histograms.bucket_counts(jnp.array([jnp.nan]))
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.histograms.write_buckets(writer, "weights", buckets, 50)
        tensorboard.histograms.write_buckets(writer, "nothing", nothing, 50)
    step, found = histogram(tmp_path)
    assert step == 50
    assert list(found.bucket) == [1, 2, 0, 1]
    assert list(found.bucket_limit) == [1, 2, 3, 4]
    assert (found.min, found.max, found.num, found.sum, found.sum_squares) == (0, 4, 4, 6.5, 19.25)
    assert accumulate(tmp_path).Tags()["histograms"] == ["weights"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.zeros(4)}, r"buckets.edges must have shape \(5\)"),
        ({"edges": np.array([0, 2, 1, 3, 4])}, "ascending edges"),
        ({"counts": np.array([1, -1, 0, 1])}, "counts of 0 or more"),
    ],
)
def test_buckets_that_are_none_are_refused(change, message, tmp_path):
    buckets = tensorboard.histograms.bucket_counts(jnp.arange(5.0), num_buckets=4)._replace(
        **change
    )
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.histograms.write_buckets(writer, "weights", buckets, 0)


def test_scattered_and_compared_counts_are_equal():
    """One is for CPU, one for accelerators; what is not finite goes to bucket 5 of 0 to 4."""
    indices = jnp.asarray(np.random.default_rng(0).integers(0, 6, 1000), jnp.float32)
    expected = np.bincount(np.asarray(indices, int), minlength=6)[:5]
    for count in (histograms._scatter, histograms._compare):
        np.testing.assert_array_equal(count(indices, 5), expected)


FLOAT32_MAX = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        # few steps of float32 apart: jnp.linspace would give edges that descend
        (np.float32(-7.1) + np.spacing(np.float32(7.1)) * np.float32([0, 1, 8, 16]), [2, 0, 1, 1]),
        (np.float32(1) + np.spacing(np.float32(1)) * np.float32([0, 0, 3]), [2, 0, 0, 1]),
        # further apart than float32 can say
        ([-3e38, -1e38, 0.0, 3e38], [1, 1, 1, 1]),
        ([-FLOAT32_MAX, FLOAT32_MAX, FLOAT32_MAX], [1, 0, 0, 2]),
        # 0.5 more is the same number
        ([1e8, 1e8], [0, 0, 2, 0]),
        ([-1e30, -1e30], [0, 0, 2, 0]),
        ([FLOAT32_MAX], [0, 0, 0, 1]),
        # closer than the smallest normal number
        ([2.0e-38, 2.1e-38], [0, 0, 2, 0]),
    ],
)
def test_buckets_of_values_at_the_ends_of_float32(values, counts, tmp_path):
    values = np.asarray(values, np.float32)
    padded = np.pad(values, (0, 4 - len(values)), constant_values=np.nan)  # compiled once
    count = jax.jit(tensorboard.histograms.bucket_counts, static_argnums=1)
    buckets = count(padded, 4)
    assert buckets.counts.tolist() == counts
    for num_buckets in (4, 30):
        found = count(padded, num_buckets)
        edges = np.asarray(found.edges)
        assert np.isfinite(edges).all()
        assert (np.diff(edges) >= 0).all()
        assert edges[0] <= values.min()
        assert values.max() <= edges[-1]
        if np.ptp(values.astype(np.float64)) > 1e-37:
            assert (edges[0], edges[-1]) == (values.min(), values.max())
        # every value lies in a bucket that counts some; compilers round an edge up or down
        slack = np.abs(edges, dtype=np.float64) * 2.0**-23
        for value in values.astype(np.float64):
            inside = ((edges - slack)[:-1] <= value) & (value <= (edges + slack)[1:])
            assert np.asarray(found.counts)[inside].any()
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.histograms.write_buckets(writer, "weights", buckets, 0)
    assert list(histogram(tmp_path)[1].bucket) == counts
