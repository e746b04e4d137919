"""Videos as folders of frames: which frames of one to look at, and a source of them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxdl._checks import check_positive
from jaxdl.data.source import BaseSource, Example, check_index
from jaxdl.data.sources.image_files import SUFFIXES, read_image


def segment_indices(
    num_frames: int, num_segments: int, generator: np.random.Generator | None = None
) -> np.ndarray:
    r"""One frame of each of K equal segments of a video.

    Segment k covers the frames from :math:`\lfloor kN/K \rfloor` to
    :math:`\lfloor (k+1)N/K \rfloor - 1`. In training a frame is drawn evenly from it; in evaluation
    it is the middle one, :math:`\lfloor (a + b) / 2 \rfloor` of the first a and the last b. Of a
    video of fewer frames than segments every frame is taken, over and over in order, until there
    are K.

    Args:
        num_frames: N, at least 1.
        num_segments: K, at least 1.
        generator: of the random numbers; None takes the middle.

    Returns:
        (K,) int64 from 0 to N − 1, in order where N ≥ K.

    Raises:
        ValueError: N or K below 1.

    Source: Wang et al. 2016 (temporal segment networks), section 3.1. The tutorials' version
    computes the middle with a division in floating point and pads only where K ≤ 2 N; here all is
    integer arithmetic and any K is filled.

    >>> segment_indices(10, 3), segment_indices(2, 5)
    (array([1, 4, 7]), array([0, 1, 0, 1, 0]))
    """
    check_positive(num_frames=num_frames, num_segments=num_segments)
    if num_frames < num_segments:
        return np.arange(num_segments) % num_frames
    bounds = np.arange(num_segments + 1) * num_frames // num_segments
    if generator is None:
        return (bounds[:-1] + bounds[1:] - 1) // 2
    return generator.integers(bounds[:-1], bounds[1:])


class VideoFrames(BaseSource):
    """K frames of each video in ``directory/CLASS/VIDEO/FRAME``, sampled by segments.

    Frames count in the order of their names. The random frames of a video are a function of
    ``seed`` and its number; give another seed for every epoch to see others.

    Args:
        directory: of one split.
        num_segments: K.
        seed: draws frames at random, for training; None takes the middle ones.
        size: (height, width) to which every frame is resized, or None.

    Returns:
        ``"video"`` (K, H, W, 3) uint8 and ``"label"`` () int32.

    Raises:
        FileNotFoundError: no such folder, or no folders in it.
        ValueError: a class without videos, a video without frames; the message names the folder.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        num_segments: int,
        *,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        check_positive(num_segments=num_segments)
        self.num_segments, self.seed, self.size = num_segments, seed, size
        directory = Path(directory).expanduser()
        names = _folders(directory)
        if not names:
            raise FileNotFoundError(f"{directory} holds no folders; expected one a class.")
        self.class_names = tuple(names)
        self.frames: list[list[str]] = []
        self.labels = np.zeros(0, np.int32)
        for label, name in enumerate(names):
            videos = _folders(directory / name)
            if not videos:
                raise ValueError(f"{directory / name} holds no folders of frames: an empty class.")
            for video in videos:
                folder = directory / name / video
                frames = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
                if not frames:
                    raise ValueError(f"{folder} holds no frames.")
                self.frames.append([os.fspath(path) for path in frames])
                self.labels = np.append(self.labels, np.int32(label))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Example:
        number = check_index(index, len(self))
        frames = self.frames[number]
        generator = None if self.seed is None else np.random.default_rng((self.seed, number))
        chosen = segment_indices(len(frames), self.num_segments, generator)
        images = [read_image(frames[frame], self.size) for frame in chosen]
        for frame, image in zip(chosen, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"{frames[frame]} is {image.shape[0]}x{image.shape[1]} pixels, "
                    f"{frames[chosen[0]]} {images[0].shape[0]}x{images[0].shape[1]}; pass "
                    "size=(height, width) to resize them all."
                )
        return {"video": np.stack(images), "label": np.asarray(self.labels[number])}


def _folders(directory: Path) -> Sequence[str]:
    if not directory.is_dir():
        raise FileNotFoundError(f"there is no folder {directory}; expected CLASS/VIDEO/FRAME.")
    return sorted(path.name for path in directory.iterdir() if path.is_dir())
