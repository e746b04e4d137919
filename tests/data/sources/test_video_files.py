"""Frames by segments."""

import numpy as np
import pytest
from PIL import Image

from jaxdl import data
from jaxdl.data.combine import labels_of
from jaxdl.data.sources.video_files import segment_indices


@pytest.mark.parametrize(
    ("num_frames", "num_segments", "expected"),
    [
        (10, 3, [1, 4, 7]),  # segments 0-2, 3-5, 6-9; middles floor((a + b) / 2)
        (9, 3, [1, 4, 7]),
        (8, 4, [0, 2, 4, 6]),
        (4, 4, [0, 1, 2, 3]),
        (5, 1, [2]),
        (2, 5, [0, 1, 0, 1, 0]),  # fewer frames than half the segments too
        (4, 5, [0, 1, 2, 3, 0]),
        (1, 3, [0, 0, 0]),
    ],
)
def test_evaluation_takes_the_middle_of_each_segment(num_frames, num_segments, expected):
    indices = segment_indices(num_frames, num_segments)
    assert indices.tolist() == expected
    assert indices.dtype == np.int64


def test_training_draws_evenly_from_each_segment():
    generator = np.random.default_rng(0)
    drawn = np.stack([segment_indices(10, 3, generator) for _ in range(3000)])
    for column, members in enumerate(([0, 1, 2], [3, 4, 5], [6, 7, 8, 9])):
        frames, counts = np.unique(drawn[:, column], return_counts=True)
        assert frames.tolist() == members
        # five standard deviations of a binomial share
        share = 1 / len(members)
        assert (np.abs(counts / 3000 - share) < 5 * np.sqrt(share * (1 - share) / 3000)).all()


@pytest.mark.parametrize("numbers", [(0, 3), (3, 0)])
def test_there_must_be_frames_and_segments(numbers):
    with pytest.raises(ValueError, match="must be greater than 0, got 0"):
        segment_indices(*numbers)


@pytest.fixture
def videos(tmp_path):
    for label, name in enumerate(("run", "sit")):
        for video, number in (("a", 10), ("b", 2)):
            folder = tmp_path / name / video
            folder.mkdir(parents=True)
            for frame in range(number):
                pixels = np.full((4, 6, 3), 100 * label + frame, np.uint8)
                Image.fromarray(pixels).save(folder / f"{frame:03}.png")
    return tmp_path


def test_videos_in_folders(videos):
    source = data.sources.VideoFrames(videos, 3)
    assert (len(source), source.class_names) == (4, ("run", "sit"))
    batch = source.__getitems__([0, 3])
    assert batch["video"].shape == (2, 3, 4, 6, 3)
    assert batch["video"][:, :, 0, 0, 0].tolist() == [[1, 4, 7], [100, 101, 100]]
    assert batch["label"].tolist() == [0, 1]
    assert labels_of(source).tolist() == [0, 0, 1, 1]


def test_random_frames_are_a_function_of_the_seed(videos):
    def frames(seed):
        return data.sources.VideoFrames(videos, 3, seed=seed)[2]["video"][:, 0, 0, 0].tolist()

    assert frames(0) == frames(0)
    assert len({tuple(frames(seed)) for seed in range(10)}) > 1
    with pytest.raises(IndexError):
        data.sources.VideoFrames(videos, 3)[4]


def test_empty_folders_are_named(videos):
    (videos / "sit" / "c").mkdir()
    with pytest.raises(ValueError, match=r"sit/c holds no frames"):
        data.sources.VideoFrames(videos, 3)
    (videos / "zoom").mkdir()
    (videos / "sit" / "c").rmdir()
    with pytest.raises(ValueError, match=r"zoom holds no videos"):
        data.sources.VideoFrames(videos, 3)
    with pytest.raises(FileNotFoundError, match="folder not found"):
        data.sources.VideoFrames(videos / "absent", 3)
