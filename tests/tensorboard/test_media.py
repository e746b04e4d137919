"""Images, figures, video and sound come back from the event file as they went in."""

import io
import wave

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import accumulate
from matplotlib.figure import Figure
from PIL import Image

from jaxdl import tensorboard
from jaxdl.tensorboard._grids import feature_grid, filter_grid, input_grid, make_grid

RNG = np.random.default_rng(0)


def decode(directory, tag="image"):
    (event,) = accumulate(directory).Images(tag)
    pixels = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    assert (event.height, event.width) == pixels.shape[:2]
    return event.step, pixels


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_bytes_come_back_as_they_were(channels, tmp_path):
    image = RNG.integers(0, 256, (5, 7, channels)).astype(np.uint8)
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_image(writer, "image", image, 3)
    step, pixels = decode(tmp_path)
    assert step == 3
    np.testing.assert_array_equal(pixels, image[..., 0] if channels == 1 else image)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, np.float64])
def test_floating_point_is_rounded_to_bytes(dtype, tmp_path):
    too_much = 1.0001 if dtype == np.float64 else 1.0  # by rounding
    image = np.array([[0.0, 0.5, 1.0, too_much]]).astype(dtype)
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_image(writer, "image", image, 0)
    assert decode(tmp_path)[1].tolist() == [[0, 128, 255, 255]]


def test_truth_values_are_black_and_white(tmp_path):
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_image(writer, "image", np.array([[True, False]]), 0)
    assert decode(tmp_path)[1].tolist() == [[255, 0]]


def test_a_grid_is_what_make_grid_makes(tmp_path):
    images = RNG.normal(size=(6, 4, 4, 1)).astype(np.float32)
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_image_grid(
            writer, "image", images, 1, num_columns=3, padding=1, normalize="each"
        )
        tensorboard.write_image_grid(writer, "bytes", np.full((1, 2, 2, 1), 7, np.uint8), 1)
    expected = make_grid(images, num_columns=3, padding=1, normalize="each")
    _, pixels = decode(tmp_path)
    np.testing.assert_array_equal(pixels, np.round(expected.astype(float) * 255))
    assert set(np.unique(decode(tmp_path, "bytes")[1])) == {0, 7}


def test_a_figure_is_drawn_in_its_size(tmp_path):
    figure = Figure((3, 2), facecolor="#ff0000")
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_figure(writer, "image", figure, 5, dpi=50)
    step, pixels = decode(tmp_path)
    assert (step, pixels.shape) == (5, (100, 150, 4))
    assert (pixels == [255, 0, 0, 255]).all()


def test_every_frame_of_a_film_is_there_and_lasts(tmp_path):
    frames = RNG.random((5, 6, 8, 1)).astype(np.float32)
    colors = np.zeros((2, 4, 4, 3), np.uint8)
    colors[0, ..., 0], colors[1, ..., 2] = 200, 100
    with tensorboard.open_writer(tmp_path) as writer:
        tensorboard.write_video(writer, "gray", frames, 9)
        tensorboard.write_video(writer, "colors", colors, 9, fps=20)
    accumulator = accumulate(tmp_path)
    (event,) = accumulator.Images("gray")
    film = Image.open(io.BytesIO(event.encoded_image_string))
    assert (event.step, film.format, film.n_frames, film.info["loop"]) == (9, "GIF", 5, 0)
    for index, frame in enumerate(frames):
        film.seek(index)
        assert film.info["duration"] == 250
        np.testing.assert_array_equal(film.convert("L"), np.round(frame[..., 0] * 255.0))
    (event,) = accumulator.Images("colors")
    film = Image.open(io.BytesIO(event.encoded_image_string))
    for index, frame in enumerate(colors):
        film.seek(index)
        assert film.info["duration"] == 50
        np.testing.assert_array_equal(film.convert("RGB"), frame)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_comes_back_to_one_part_in_30000(channels, tmp_path):
    waveform = np.sin(np.arange(200.0))[:, None] * [[1.0, -0.5]][:channels]
    waveform = waveform[:, :channels]
    with tensorboard.open_writer(tmp_path) as writer:
        given = waveform[:, 0] if channels == 1 else waveform
        tensorboard.write_audio(writer, "tone", given, 2, sample_rate=8000)
    (event,) = accumulate(tmp_path).Audio("tone")
    assert (event.step, event.sample_rate, event.length_frames) == (2, 8000, 200)
    assert event.content_type == "audio/wav"
    with wave.open(io.BytesIO(event.encoded_audio_string)) as file:
        assert (file.getframerate(), file.getnchannels()) == (8000, channels)
        samples = np.frombuffer(file.readframes(200), "<i2").reshape(200, channels)
    np.testing.assert_allclose(samples / 32767, waveform, atol=0.5 / 32767 + 1e-9)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 28, 28)), r"\(H, W, C\) .* got \(3, 28, 28\)\. Is it PyTorch's layout"),
        (np.zeros((28, 28, 2)), r"with 1, 3 or 4 channels, got \(28, 28, 2\)\.$"),
        (np.zeros((1, 28, 28, 1)), "image must have shape"),
        (np.full((4, 4), 255.0), r"must lie in 0 to 1, got 255 to 255\. Divide by 255"),
        (np.full((4, 4), -0.42), r"got -0.42 to -0.42.*undo the normalization"),
        (np.full((4, 4), np.nan), r"must lie in 0 to 1, got nan"),
        (np.zeros((4, 4), np.int32), r"uint8 \(0 to 255\) or floating point .*got dtype int32"),
        (np.zeros((0, 4)), "must have pixels"),
    ],
)
def test_a_wrong_image_is_named(image, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_image(writer, "image", image, 0)


def test_pytorchs_batches_are_refused(tmp_path):
    with (
        tensorboard.open_writer(tmp_path) as writer,
        pytest.raises(ValueError, match=r"\(N, H, W, C\).*PyTorch's layout"),
    ):
        tensorboard.write_image_grid(writer, "image", np.zeros((8, 3, 32, 32)), 0)


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((4, 8, 8)), 4, "frames must have shape"),
        (np.zeros((4, 8, 8, 4)), 4, r"\(T, H, W, 1 or 3\)"),
        (np.zeros((4, 8, 8, 1)), 100, "fps must be greater than 0 and at most 50"),
    ],
)
def test_a_wrong_film_is_named(frames, fps, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_video(writer, "film", frames, 0, fps=fps)


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros((100, 3)), r"\(T,\) or \(T, 1 or 2\), got \(100, 3\)"),
        (np.full(100, 2.0), r"must lie in -1 to 1, got 2 to 2"),
        (np.zeros(100, np.int16), "floating point .-1 to 1., got dtype int16"),
    ],
)
def test_a_wrong_sound_is_named(waveform, message, tmp_path):
    with tensorboard.open_writer(tmp_path) as writer, pytest.raises(ValueError, match=message):
        tensorboard.write_audio(writer, "tone", waveform, 0)


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


def test_colours_stay_colours():
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


def test_filters_are_scaled_each_and_three_inputs_are_colours():
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
