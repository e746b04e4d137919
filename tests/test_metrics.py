"""Metrics add: any cut into batches, any padding, the same result."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import metrics
from jaxdl.types import Mean

LOGITS = jnp.array([[5.0, 1.0, 0.0], [1.0, 0.0, 2.0], [0.0, 3.0, 1.0], [2.0, 1.0, 0.5]])
LABELS = jnp.array([0, 0, 1, 2])
MASK = jnp.array([1.0, 1.0, 1.0, 0.0])


def test_mean_without_a_mask_counts_every_example():
    total, count = metrics.mean(jnp.array([1.0, 2.0, 6.0]))
    assert (float(total), float(count)) == (9.0, 3.0)


def test_mean_under_a_mask_equals_the_mean_of_the_slice():
    values = jnp.array([1.0, 2.0, 6.0, 1000.0])
    assert metrics.mean(values, MASK) == metrics.mean(values[:3])


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.int32, jnp.bfloat16])
def test_mean_takes_a_mask_of_any_dtype(dtype):
    assert metrics.mean(jnp.array([1.0, 2.0, 6.0, 9.0]), MASK.astype(dtype)) == Mean(9.0, 3.0)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_mean_ignores_padding_that_is_not_finite(bad):
    values = jnp.array([1.0, 2.0, 6.0, bad])
    assert metrics.mean(values, MASK) == Mean(9.0, 3.0)
    gradient = jax.grad(lambda v: metrics.mean(v, MASK).total)(values)
    np.testing.assert_array_equal(gradient, [1, 1, 1, 0])


def test_mean_sums_in_float32():
    total, _ = metrics.mean(jnp.ones(1000, jnp.bfloat16))
    assert total.dtype == jnp.float32
    assert float(total) == 1000.0


def test_mean_refuses_what_is_reduced_already():
    with pytest.raises(ValueError, match=r"values must have shape \(B, ...\), got a scalar"):
        metrics.mean(jnp.ones(()))


def test_mean_of_tokens_counts_them_not_the_examples():
    values, mask = jnp.arange(6.0).reshape(2, 3), jnp.array([1.0, 0.0])
    tokens = jnp.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    assert metrics.result({"a": metrics.mean(values)}) == {"a": 2.5}
    assert metrics.mean(values, mask) == (3.0, 3.0)
    assert metrics.mean(values, tokens) == (5.0, 3.0)
    with pytest.raises(ValueError, match=r"mask must have shape \(2\), got \(3,\)"):
        metrics.mean(values, jnp.ones(3))


def test_accuracy_by_hand():
    np.testing.assert_array_equal(metrics.accuracy(LOGITS, LABELS), [1, 0, 1, 0])


@pytest.mark.parametrize(("k", "expected"), [(1, [1, 0, 1, 0]), (2, [1, 1, 1, 0]), (3, [1] * 4)])
def test_top_k_accuracy_by_hand(k, expected):
    np.testing.assert_array_equal(metrics.top_k_accuracy(LOGITS, LABELS, k=k), expected)


@pytest.mark.parametrize(
    ("k", "message"),
    [
        (0, "k must be at least 1, got 0"),
        (4, "k must lie in 1 to 3 .* got 4"),
        (1.5, "k must be an integer, got 1.5"),
    ],
)
def test_top_k_accuracy_refuses_k(k, message):
    with pytest.raises(ValueError, match=message):
        metrics.top_k_accuracy(LOGITS, LABELS, k=k)


@pytest.mark.parametrize(
    "metric", [metrics.accuracy, metrics.top_k_accuracy, metrics.confusion_matrix]
)
def test_labels_of_another_shape_are_refused(metric):
    with pytest.raises(ValueError, match=r"labels must have shape \(4\), got \(4, 1\)"):
        metric(LOGITS, LABELS[:, None])


@pytest.mark.parametrize(
    "metric", [metrics.accuracy, metrics.top_k_accuracy, metrics.confusion_matrix]
)
def test_one_class_is_refused_in_favor_of_binary_metrics(metric):
    with pytest.raises(ValueError, match=r"at least 2 classes .* got shape \(4, 1\).*binary"):
        metric(jnp.array([[3.0], [3.0], [-3.0], [-3.0]]), jnp.array([1, 1, 0, 0]))


def test_confusion_matrix_has_true_classes_as_rows():
    expected = [[1, 0, 1], [0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(metrics.confusion_matrix(LOGITS, LABELS), expected)
    masked = metrics.confusion_matrix(LOGITS, LABELS, MASK)
    np.testing.assert_array_equal(masked, [[1, 0, 1], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("num_classes", [3, 200])
def test_confusion_matrix_counts_no_label_out_of_range(num_classes):
    logits, labels = jnp.zeros((4, num_classes)), jnp.array([-100, 2, num_classes, -1])
    matrix = metrics.confusion_matrix(logits, labels)
    assert np.argwhere(np.asarray(matrix)).tolist() == [[2, 0]]


def test_added_batches_equal_everything_at_once():
    def measure(rows):
        return {
            "accuracy": metrics.mean(metrics.accuracy(LOGITS[rows], LABELS[rows])),
            "confusion": metrics.confusion_matrix(LOGITS[rows], LABELS[rows]),
        }

    parts = metrics.add(measure(slice(0, 3)), measure(slice(3, 4)))
    assert metrics.result(parts) == metrics.result(measure(slice(0, 4)))
    assert metrics.result(parts)["accuracy"] == 0.5  # the mean of batch means is 1/3


def stacked_metrics(steps=1000):
    generator = np.random.default_rng(0)
    return {
        "loss": Mean(
            generator.lognormal(size=steps).astype(np.float32), np.full(steps, 32, np.float32)
        ),
        "confusion": generator.integers(0, 9, (steps, 2, 2), np.int32),
    }


@pytest.mark.parametrize("cuts", [(1,), (999,), (3, 4, 500), tuple(range(1, 1000))])
def test_sums_do_not_depend_on_the_cuts(cuts):
    stacked = stacked_metrics()
    whole = metrics.sum_over_steps(stacked)
    sums = None
    for start, stop in zip((0, *cuts), (*cuts, 1000), strict=True):
        piece = jax.tree.map(lambda leaf, rows=slice(start, stop): leaf[rows], stacked)
        sums = metrics.sum_over_steps(piece, sums)
    assert sums["loss"] == whole["loss"]
    np.testing.assert_array_equal(sums["confusion"], stacked["confusion"].sum(axis=0))


def test_sums_keep_digits_that_float32_loses():
    stacked = {"loss": Mean(np.array([2.0**24, 1, 1], np.float32), np.ones(3, np.float32))}
    assert metrics.sum_over_steps(stacked)["loss"].total == 2.0**24 + 2


def test_sums_of_bfloat16_are_not_integers():
    stacked = {"x": jnp.array([0.5, 0.25], jnp.bfloat16)}
    assert metrics.sum_over_steps(stacked)["x"] == 0.75


def test_sums_of_no_steps_are_the_initial_ones():
    empty = {"loss": Mean(np.zeros(0, np.float32), np.zeros(0, np.float32))}
    assert metrics.sum_over_steps(empty)["loss"] == Mean(0.0, 0.0)
    assert metrics.sum_over_steps(empty, {"loss": Mean(1.5, 2.0)})["loss"] == Mean(1.5, 2.0)


def test_result_divides_and_is_json():
    values = {"loss": Mean(jnp.array(6.0), jnp.array(4.0)), "counts": jnp.array([[1, 2], [3, 4]])}
    result = metrics.result(values, "test/")
    assert json.loads(json.dumps(result)) == {"test/loss": 1.5, "test/counts": [[1, 2], [3, 4]]}


def test_result_of_no_examples_is_nan():
    assert np.isnan(metrics.result({"loss": Mean(jnp.array(0.0), jnp.array(0.0))})["loss"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test/accuracy", "max"),
        ("val/top_5_accuracy", "max"),
        ("PSNR", "max"),
        ("test/loss", "min"),
        ("squared_error", "min"),
        ("learning_rate", None),
        ("glossary", None),
    ],
)
def test_direction_by_the_words_of_a_name(name, expected):
    assert metrics.direction(name) == expected
