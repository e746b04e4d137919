"""Generated data: the distributions that the docstrings promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from jaxdl import _checks
from jaxdl.data import synthetic


def key():
    """A fresh object each time: a key is used once."""
    return jax.random.key(0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (synthetic.line, {"input": (20,), "target": (20,)}),
        (synthetic.sine, {"input": (100,), "target": (100,), "clean": (100,)}),
        (synthetic.two_gaussians, {"input": (200, 2), "label": (200,)}),
        (synthetic.dirichlet_argmax, {"input": (100, 10), "label": (100,)}),
        (lambda key: synthetic.pattern_1010(key, 7), {"input": (7, 4)}),
        (lambda key: synthetic.uniform_noise(key, 7, 5), {"input": (7, 5)}),
    ],
    ids=["line", "sine", "two_gaussians", "dirichlet_argmax", "pattern_1010", "uniform_noise"],
)
def test_data_are_a_function_of_the_key(make, shapes):
    one, again, other = make(jax.random.key(3)), make(jax.random.key(3)), make(jax.random.key(4))
    assert {name: array.shape for name, array in one.items()} == shapes
    for name, array in one.items():
        assert array.dtype == (jnp.int32 if name == "label" else jnp.float32)
        np.testing.assert_array_equal(array, again[name])
    last = "target" if "target" in one else "input"
    assert (one[last] != other[last]).mean() > 0.9
    _checks.check_data(one)


def test_the_line_has_its_slope_intercept_and_noise():
    points = synthetic.line(key(), 20_000, slope=-3.0, intercept=1.0, noise=0.5)
    x, y = (np.asarray(points[name], np.float64) for name in ("input", "target"))
    assert 0 <= x.min() < 0.01
    assert 9.99 < x.max() < 10
    assert abs(x.mean() - 5) < 4 * 10 / np.sqrt(12 * 20_000)
    slope, intercept = np.polyfit(x, y, 1)
    assert slope == pytest.approx(-3, abs=0.01)
    assert intercept == pytest.approx(1, abs=0.03)
    rest = y + 3 * x - 1
    assert rest.std() == pytest.approx(0.5, rel=0.03)
    assert abs(np.corrcoef(x, rest)[0, 1]) < 0.03  # x and noise come from different keys


def test_the_line_is_by_default_that_of_the_recipe():
    points = synthetic.line(key(), 20_000)
    slope, intercept = np.polyfit(points["input"], points["target"], 1)
    assert (slope, intercept) == (pytest.approx(2, abs=0.02), pytest.approx(5, abs=0.06))


def test_the_sine_is_one_period_with_both_ends_and_noise():
    points = synthetic.sine(key(), 101)
    np.testing.assert_allclose(points["input"], np.arange(101) / 100, atol=1e-6)
    np.testing.assert_allclose(points["clean"], np.sin(np.arange(101) / 50 * np.pi), atol=1e-5)
    noise = np.asarray(points["target"] - points["clean"])
    assert noise.std() == pytest.approx(0.05, rel=0.25)
    assert np.abs(np.diff(noise)).min() > 0  # each point has its own


def test_the_best_quartic_through_the_clean_sine_has_the_known_error():
    points = synthetic.sine(key(), noise=0.0)
    np.testing.assert_array_equal(points["target"], points["clean"])
    x, y = (np.asarray(points[name], np.float64) for name in ("input", "target"))
    best = np.polyval(np.polyfit(x, y, 4), x)
    assert ((best - y) ** 2).mean() == pytest.approx(0.004756, abs=1e-6)


def test_the_clouds_have_their_centers_and_spread():
    points = synthetic.two_gaussians(key(), 5000, mean=2.0, std=0.5, shift=1.0, num_features=3)
    x, label = np.asarray(points["input"]), np.asarray(points["label"])
    np.testing.assert_array_equal(label, [0] * 5000 + [1] * 5000)
    for index, center in ((0, 3.0), (1, -1.0)):
        cloud = x[label == index]
        np.testing.assert_allclose(cloud.mean(axis=0), center, atol=4 * 0.5 / np.sqrt(5000))
        np.testing.assert_allclose(np.cov(cloud.T), 0.25 * np.eye(3), atol=0.02)


def test_the_best_line_between_the_clouds_is_right_for_992_in_1000():
    points = synthetic.two_gaussians(key(), 20_000)
    right = (points["input"].sum(axis=1) < 2) == (points["label"] == 1)
    assert float(right.mean()) == pytest.approx(0.9919, abs=0.002)


def test_the_toy_points_are_those_of_the_article_and_no_point_has_two_labels():
    train, test = synthetic.toy_points()
    assert train["label"].tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(train["input"][3], [2.3, -1.1], rtol=1e-6)
    np.testing.assert_allclose(test["input"], [[1.1, 2.2], [2.2, -1.1]], rtol=1e-6)
    labels = {}
    for split in (train, test):
        assert _checks.check_data(split, num_classes=2) == len(split["label"])
        for point, label in zip(split["input"].tolist(), split["label"].tolist(), strict=True):
            assert labels.setdefault(tuple(point), label) == label
    assert len(labels) == 7


def test_dirichlet_rows_are_distributions_labeled_by_their_largest_entry():
    examples = synthetic.dirichlet_argmax(key(), 4000, 5)
    x, label = np.asarray(examples["input"]), np.asarray(examples["label"])
    assert x.min() >= 0
    np.testing.assert_allclose(x.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(np.take_along_axis(x, label[:, None], 1)[:, 0], x.max(axis=1))
    np.testing.assert_allclose(np.bincount(label, minlength=5) / 4000, 0.2, atol=0.03)
    # a share of a flat Dirichlet over 5 is Beta(1, 4): variance 4 / (25 · 6)
    np.testing.assert_allclose(x.var(axis=0), 4 / 150, rtol=0.15)


def test_a_higher_concentration_brings_the_shares_together():
    wide = synthetic.dirichlet_argmax(key(), 4000, 5, concentration=0.1)["input"]
    narrow = synthetic.dirichlet_argmax(key(), 4000, 5, concentration=100.0)["input"]
    assert float(wide.max(axis=1).mean()) > 0.8
    assert float(narrow.max(axis=1).mean()) < 0.4


def test_the_pattern_is_high_low_high_low_and_the_noise_is_anything():
    x = np.asarray(synthetic.pattern_1010(key(), 3000)["input"])
    high, low = x[:, [0, 2]], x[:, [1, 3]]
    assert 0.8 <= high.min() < high.max() <= 1
    assert 0 <= low.min() < low.max() < 0.2
    np.testing.assert_allclose(x.mean(axis=0), [0.9, 0.1, 0.9, 0.1], atol=0.005)
    np.testing.assert_allclose(x.std(axis=0), 0.2 / np.sqrt(12), rtol=0.05)
    noise = np.asarray(synthetic.uniform_noise(jax.random.key(1), 3000)["input"])
    assert 0 <= noise.min() < noise.max() < 1
    np.testing.assert_allclose(noise.mean(axis=0), 0.5, atol=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthetic.line(key(), 0), "num_points must be at least 1, got 0"),
        (lambda: synthetic.line(key(), noise=-1.0), "noise is a standard deviation.*got -1.0"),
        (lambda: synthetic.sine(key(), -5), "num_points must be at least 1, got -5"),
        (lambda: synthetic.sine(key(), noise=float("nan")), "noise is a standard deviation.*nan"),
        (lambda: synthetic.two_gaussians(key(), std=-1.0), "std is a standard deviation.*got -1.0"),
        (lambda: synthetic.two_gaussians(key(), num_features=0), "num_features must be at least 1"),
        (lambda: synthetic.dirichlet_argmax(key(), 0), "num_examples must be at least 1, got 0"),
        (
            lambda: synthetic.dirichlet_argmax(key(), concentration=0.0),
            r"concentration must be greater than 0, got 0\.0",
        ),
        (lambda: synthetic.pattern_1010(key(), 0), "num_examples must be at least 1, got 0"),
        (lambda: synthetic.uniform_noise(key(), 1, 0), "num_features must be at least 1, got 0"),
    ],
)
def test_sizes_and_deviations_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_photographs_are_pieces_of_two_pictures_by_seed():
    pieces = synthetic.photographs(6, 32, seed=3)
    assert (pieces.shape, pieces.dtype) == ((6, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(pieces, synthetic.photographs(6, 32, seed=3))
    assert not np.array_equal(pieces, synthetic.photographs(6, 32, seed=4))
    temple, flower = (picture[::2, ::2] for picture in load_sample_images().images)
    windows = np.lib.stride_tricks.sliding_window_view(flower, (32, 32), axis=(0, 1))
    first = pieces[1].transpose(2, 0, 1)  # of the flower, as it is or mirrored
    assert any((windows == each).all((2, 3, 4)).any() for each in (first, first[..., ::-1]))
    assert temple.shape == flower.shape
    with pytest.raises(ValueError, match="size must be at most 214, got 300"):
        synthetic.photographs(1, 300)
