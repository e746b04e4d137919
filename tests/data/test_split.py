"""Splits: nothing lost, nothing doubled, the sizes and shares that were asked for."""

import jax
import numpy as np
import pytest
from sklearn import model_selection

from jaxdl import data
from jaxdl.data.combine import labels_of
from jaxdl.data.split import select, split_lengths

KEY = jax.random.key(0)
LABELS = np.random.default_rng(0).choice(4, 103, p=[0.5, 0.3, 0.15, 0.05]).astype(np.int32)
ARRAYS = {"index": np.arange(103), "label": LABELS}


def indices(part):
    if isinstance(part, dict):
        return part["index"]
    return part.__getitems__(np.arange(len(part)))["index"]


@pytest.mark.parametrize(
    ("number", "lengths", "expected"),
    [
        (60_000, [0.8, 0.2], [48_000, 12_000]),  # MNIST, as the tutorials split it
        (60_000, [48_000, 12_000], [48_000, 12_000]),
        (10, [0.33, 0.33, 0.34], [4, 3, 3]),  # floors 3, 3, 3 and one left for the first
        (11, [0.3, 0.3, 0.4], [4, 3, 4]),  # floors 3, 3, 4
        (7, [0.5, 0.5], [4, 3]),
        (100, [0.29, 0.71], [29, 71]),  # 0.29 · 100 is 28.999…: floor 28, and one left over
        (10, [0.1] * 10, [1] * 10),  # the sum is 0.9999999999999999
        (5, [1.0], [5]),
        (3, [0, 3], [0, 3]),
    ],
)
def test_lengths_follow_pytorchs_rule(number, lengths, expected):
    counts = split_lengths(number, lengths)
    assert counts == expected
    assert sum(counts) == number


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([8, 3], r"must sum to 10 examples, .* \[8, 3\] with the sum 11"),
        ([0.5, 0.4], "fractions must sum to 1, .* with the sum 0.9"),
        ([-1, 11], "0 or more"),
        ([], "at least one"),
    ],
)
def test_lengths_that_do_not_fit(lengths, message):
    with pytest.raises(ValueError, match=message):
        data.random_split({"x": np.arange(10)}, lengths, KEY)


@pytest.mark.parametrize("stratify", [None, "label"])
@pytest.mark.parametrize("kind", [dict, data.ArraySource])
@pytest.mark.parametrize("lengths", [[0.8, 0.2], [0.6, 0.2, 0.2], [100, 3], [0, 103]])
def test_no_example_is_lost_or_doubled(kind, lengths, stratify):
    parts = data.random_split(kind(ARRAYS), lengths, KEY, stratify=stratify)
    assert [len(indices(part)) for part in parts] == split_lengths(103, lengths)
    together = np.concatenate([indices(part) for part in parts])
    np.testing.assert_array_equal(np.sort(together), np.arange(103))
    assert isinstance(parts[0], dict if kind is dict else data.Source)


def test_a_split_is_random_and_a_function_of_the_key():
    first, again, other = (
        indices(data.random_split(ARRAYS, [80, 23], jax.random.key(seed))[0]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (np.diff(first) < 0).any()


def test_mnist_at_eighty_percent_makes_750_and_375_batches():
    train, test = data.random_split({"i": np.arange(60_000)}, [0.8, 0.2], KEY)
    assert (len(train["i"]), len(test["i"])) == (48_000, 12_000)
    assert data.num_batches(len(train["i"]), 64) == 750
    assert data.num_batches(len(test["i"]), 32) == 375


def test_a_stratified_split_keeps_the_shares():
    train, test = data.random_split(ARRAYS, [0.8, 0.2], KEY, stratify="label")
    totals = np.bincount(LABELS)
    for part, share in ((train, len(train["label"]) / 103), (test, len(test["label"]) / 103)):
        assert (np.abs(np.bincount(part["label"], minlength=4) - share * totals) < 1).all()
    assert (np.diff(train["label"]) < 0).any()  # mixed, not sorted by class
    parts = data.random_split(ARRAYS, [0.5, 0.25, 0.25], KEY, stratify="label")
    for part in parts:
        share = len(part["label"]) / 103
        assert (np.abs(np.bincount(part["label"], minlength=4) - share * totals) < 2).all()


def test_labels_to_stratify_by_are_class_indices():
    with pytest.raises(ValueError, match=r"no 'kind'; it has 'index', 'label'"):
        data.random_split(ARRAYS, [0.5, 0.5], KEY, stratify="kind")
    with pytest.raises(ValueError, match=r"class indices of shape \(N,\), got 'x' of float"):
        data.random_split({"x": np.zeros(4)}, [0.5, 0.5], KEY, stratify="x")


@pytest.mark.parametrize("num_folds", [2, 5, 7])
def test_folds_without_a_key_are_those_of_scikit_learn(num_folds):
    for got, expected in zip(
        data.k_fold(ARRAYS, num_folds),
        model_selection.KFold(num_folds).split(LABELS),
        strict=True,
    ):
        np.testing.assert_array_equal(got[0]["index"], expected[0])
        np.testing.assert_array_equal(got[1]["index"], expected[1])
    splitter = model_selection.StratifiedKFold(min(num_folds, 4))
    for got, expected in zip(
        data.k_fold(ARRAYS, min(num_folds, 4), stratify="label"),
        splitter.split(LABELS, LABELS),
        strict=True,
    ):
        np.testing.assert_array_equal(got[0]["index"], expected[0])
        np.testing.assert_array_equal(got[1]["index"], expected[1])


@pytest.mark.parametrize("stratify", [None, "label"])
def test_every_example_is_validated_once(stratify):
    folds = data.k_fold(data.ArraySource(ARRAYS), 5, jax.random.key(3), stratify=stratify)
    together = np.concatenate([indices(validation) for _, validation in folds])
    np.testing.assert_array_equal(np.sort(together), np.arange(103))
    assert (np.diff(together) < 0).any()
    for train, validation in folds:
        assert not set(indices(train)) & set(indices(validation))
        assert len(train) + len(validation) == 103
        if stratify:
            counts = np.bincount(labels_of(validation), minlength=4)
            assert (np.abs(counts - np.bincount(LABELS) / 5) < 1).all()


def test_folds_that_cannot_be_made():
    with pytest.raises(ValueError, match="num_folds must lie in 2 to 103"):
        data.k_fold(ARRAYS, 1)
    with pytest.raises(ValueError, match=r"num_folds is 3, more than .* any class \(2\)"):
        data.k_fold({"label": np.array([0, 0, 1])}, 3, stratify="label")


def test_select_keeps_what_a_condition_holds_for():
    threes = select(ARRAYS, lambda example: example["label"] == 3)
    np.testing.assert_array_equal(threes["index"], np.flatnonzero(LABELS == 3))
    even = select(data.ArraySource(ARRAYS), lambda example: example["index"] % 2 == 0)
    np.testing.assert_array_equal(indices(even), np.arange(0, 103, 2))
    with pytest.raises(ValueError, match="none of the 103 examples satisfies"):
        select(ARRAYS, lambda example: False)
