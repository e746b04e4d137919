"""Videos as folders of frames, sampled by segments."""

import os
from collections.abc import Sequence

import numpy as np

from jaxdl._checks import check_positive
from jaxdl._files import expand
from jaxdl.data.source import BaseSource, Example, check_index
from jaxdl.data.sources.decode import IMAGE_SUFFIXES, MAX_PIXELS, check_size, read_image
from jaxdl.data.sources.listing import class_folders, entries


def segment_indices(
    num_frames: int, num_segments: int, generator: np.random.Generator | None = None
) -> np.ndarray:
    r"""Frame numbers of a video, one from each of K equal segments.

    Segment k covers the frames from :math:`\lfloor kN/K \rfloor` to
    :math:`\lfloor (k+1)N/K \rfloor - 1`. In training a frame is drawn uniformly from it; in
    evaluation it is the middle one, :math:`\lfloor (a + b) / 2 \rfloor` of the first a and the last
    b. A video of fewer frames than segments is repeated in order up to K frames.

    Args:
        num_frames: N, at least 1.
        num_segments: K, at least 1.
        generator: random number generator; None takes the middle.

    Returns:
        (K,) int64 from 0 to N − 1, in order where N ≥ K.

    Raises:
        ValueError: N or K below 1.

    Source: Wang et al. 2016 (temporal segment networks), section 3.1. The tutorials' version
    computes the middle in floating point and pads only if K ≤ 2 N; here all is integer arithmetic
    and any K is filled.

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

    Frames are sorted by name. The random frames of a video are a function of ``seed`` and its
    number; pass another seed in every epoch for other frames.

    Args:
        path: folder of one split.
        num_segments: K.
        seed: of random frames, for training; None takes the middle ones.
        size: (height, width) to which every frame is resized, or None.
        class_names: names of the classes, in order; sorted by name if None.
        max_pixels: limit of a frame's height · width, checked before it is decoded.

    Returns:
        ``"video"`` (K, H, W, 3) uint8 and ``"label"`` () int32.

    Raises:
        FileNotFoundError: no such folder, or no class folders.
        ValueError: a class without videos, or a video without frames; the message names it.
    """

    _is_stored = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        num_segments: int,
        *,
        seed: int | None = None,
        size: tuple[int, int] | None = None,
        class_names: Sequence[str] | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        check_positive(num_segments=num_segments)
        check_size(size)
        self.num_segments, self.seed, self.size = num_segments, seed, size
        self.max_pixels = max_pixels
        folders = class_folders(expand(path), class_names)
        self.class_names = tuple(name for name, _ in folders)
        self.frames: list[list[str]] = []
        labels: list[int] = []
        for label, (_, folder) in enumerate(folders):
            videos = [video for video in entries(folder) if video.is_dir()]
            if not videos:
                raise ValueError(f"{folder} holds no videos (folders of frames).")
            for video in videos:
                frames = [p for p in entries(video) if p.suffix.lower() in IMAGE_SUFFIXES]
                if not frames:
                    raise ValueError(f"{video} holds no frames.")
                self.frames.append([os.fspath(frame) for frame in frames])
                labels.append(label)
        self.labels = np.array(labels, np.int32)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Example:
        number = check_index(index, len(self))
        frames = self.frames[number]
        generator = None if self.seed is None else np.random.default_rng((self.seed, number))
        chosen = segment_indices(len(frames), self.num_segments, generator)
        images = [
            read_image(frames[frame], self.size, max_pixels=self.max_pixels) for frame in chosen
        ]
        for frame, image in zip(chosen, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"{frames[frame]} is {image.shape[0]}x{image.shape[1]} pixels, "
                    f"{frames[chosen[0]]} {images[0].shape[0]}x{images[0].shape[1]}; pass "
                    "size=(height, width) to resize them all."
                )
        return {"video": np.stack(images), "label": np.asarray(self.labels[number])}
