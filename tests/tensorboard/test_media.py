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
from jaxdl.tensorboard.grids import make_grid

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
