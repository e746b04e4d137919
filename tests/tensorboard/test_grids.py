"""Grids of images, feature maps and filters."""

import numpy as np
import pytest

from jaxdl.tensorboard.grids import feature_grid, filter_grid, input_grid, make_grid

RNG = np.random.default_rng(0)


def test_the_sizes_of_the_mnist_example():
    maps1, maps2 = RNG.random((64, 26, 26, 16)), RNG.random((64, 11, 11, 32))
    assert feature_grid(maps1).shape == (114, 58, 3)
    assert feature_grid(maps2).shape == (54, 28, 3)
    assert input_grid(RNG.random((64, 28, 28, 1))).shape == (32, 242, 3)
    assert filter_grid(RNG.normal(size=(3, 3, 1, 16))).shape == (12, 42, 3)


def test_images_stand_row_after_row_with_black_between():
    images = np.arange(1, 6, dtype=np.uint8)[:, None, None, None] * np.ones((5, 1, 1, 1), np.uint8)
    grid = make_grid(images, num_columns=3, padding=1)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(
        grid[..., 0],
        [
            [0, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 2, 0, 3, 0],
            [0, 0, 0, 0, 0, 0, 0],
            [0, 4, 0, 5, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0],
        ],
    )
    np.testing.assert_array_equal(grid[..., 0], grid[..., 2])


def test_eight_images_in_rows_of_any_length_are_all_there():
    images = np.arange(1.0, 9.0).reshape(8, 1, 1, 1)
    for num_columns in range(1, 10):
        grid = make_grid(images, num_columns=num_columns)[..., 0]
        assert grid[grid > 0].tolist() == list(range(1, 9))


def test_normalizing_together_and_each():
    images = np.array([[0.0, 2.0], [2.0, 6.0]]).reshape(2, 1, 2, 1)
    together = make_grid(images, padding=0, normalize="together")[..., 0]
    each = make_grid(images, padding=0, normalize="each")[..., 0]
    np.testing.assert_allclose(together, [[0, 1 / 3, 1 / 3, 1]], rtol=1e-6)
    np.testing.assert_allclose(each, [[0, 1, 0, 1]], rtol=1e-6)


def test_colors_stay_colors():
    images = RNG.random((2, 4, 5, 3)).astype(np.float32)
    grid = make_grid(images)
    np.testing.assert_array_equal(grid[2:6, 2:7], images[0])
    np.testing.assert_array_equal(grid[2:6, 9:14], images[1])


def test_features_are_the_first_maps_of_the_first_example_scaled_together():
    maps = RNG.normal(size=(3, 4, 4, 12)).astype(np.float32)
    grid = feature_grid(maps)
    low, high = maps[0, ..., :8].min(), maps[0, ..., :8].max()
    np.testing.assert_allclose(grid[2:6, 8:12, 0], (maps[0, ..., 1] - low) / (high - low), 1e-5)
    np.testing.assert_allclose(grid[8:12, 2:6, 0], (maps[0, ..., 2] - low) / (high - low), 1e-5)
    np.testing.assert_array_equal(feature_grid(maps[0]), grid)


def test_filters_are_scaled_each_and_three_inputs_are_colors():
    kernel = RNG.normal(size=(3, 3, 4, 16)).astype(np.float32)
    grid = filter_grid(kernel, channel=2)
    one = kernel[:, :, 2, 9]
    np.testing.assert_allclose(
        grid[7:10, 7:10, 1], (one - one.min()) / (one.max() - one.min()), 1e-5, 1e-6
    )
    colors = filter_grid(kernel[:, :, :3])
    assert not np.array_equal(colors[..., 0], colors[..., 1])


def test_raw_images_are_shown_as_they_are_and_normalized_ones_scaled():
    raw = RNG.integers(0, 256, (12, 6, 6, 1)).astype(np.uint8)
    grid = input_grid(raw)
    assert grid.dtype == np.uint8
    np.testing.assert_array_equal(grid[2:8, 2:8, 0], raw[0, ..., 0])
    scaled = input_grid((raw / 255 - 0.1307) / 0.3081)
    low, high = raw[:8].min(), raw[:8].max()
    expected = (raw[7, ..., 0].astype(float) - low) / float(high - low)
    np.testing.assert_allclose(scaled[2:8, -8:-2, 0], expected, atol=1e-5)


def test_a_constant_or_broken_image_still_has_a_grid():
    assert not make_grid(np.full((1, 2, 2, 1), 7.0), normalize="each").any()
    grid = make_grid(np.array([np.nan, 1.0]).reshape(1, 1, 2, 1), normalize="each")
    assert np.isfinite(grid).all()


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((8, 28, 28)), {}, r"images must have shape"),
        (np.zeros((8, 1, 28, 28)), {}, r"\(N, H, W, 1 or 3\), got \(8, 1, 28, 28\)"),
        (np.zeros((0, 28, 28, 1)), {}, "num_images must be greater than 0"),
        (np.zeros((8, 28, 28, 1)), {"num_columns": 0}, "num_columns must be greater than 0"),
        (np.zeros((8, 28, 28, 1)), {"normalize": "all"}, "'together', 'each' or None"),
    ],
)
def test_what_is_no_row_of_images_is_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        make_grid(images, **options)
