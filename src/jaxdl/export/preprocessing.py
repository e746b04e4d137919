"""Preprocessing of images, numbers and texts as data: JSON values, not code."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl import text, transforms
from jaxdl._files import Form, check_form
from jaxdl.data.sources.decode import IMAGE_SUFFIXES, ImageInfo, image_info, read_image
from jaxdl.data.sources.listing import walk
from jaxdl.text.vocabulary import PADDING, UNKNOWN, add_bigrams
from jaxdl.types import Array

FORM: dict[str, Form] = {
    "shape": [int],
    "dtype?": str,
    "scale?": float,
    "mean?": [float],
    "std?": [float],
    "resize?": str,
    "vocabulary?": [str],
    "bigrams?": bool,
}
"""Form of a preprocessing in JSON."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """From raw inputs to those of a model: (x / scale − mean) / std; token indices for texts.

    Calling it prepares a batch on the device: uint8 is divided by ``scale``, floating point is
    taken to lie in [0, 1]; both are normalized. Token indices (int32) pass unchanged.

    Attributes:
        shape: of one input: (H, W, C) for images, (n,) for n numbers, (T,) for tokens.
        dtype: of raw inputs: "uint8" (images), "float32" or "int32" (token indices).
        scale: the value of uint8 that becomes 1.
        mean: one number per channel, or one for all, on the scale 0 to 1.
        std: likewise, greater than 0.
        resize: for image files of another size: "stretch" to H x W; "crop" scales the image to
            cover H x W and keeps the center; "none" refuses them.
        vocabulary: words of the token indices, in the order of
            :func:`jaxdl.text.build_vocabulary`; :func:`jaxdl.text.tokenize` splits texts.
        bigrams: pairs of neighboring words are words, too.

    Raises:
        ValueError: an empty or negative shape, a std of 0, an unknown dtype or rule, a vocabulary
            for anything but token indices or without its first two words.

    Source: ``torchvision.transforms.v2``'s ``Resize``, ``CenterCrop``, ``ToDtype`` and
    ``Normalize``; the ``preprocessor_config.json`` of transformers.

    >>> images = jnp.array([0, 255], jnp.uint8).reshape(1, 1, 2, 1)
    >>> print(Preprocessing((1, 2, 1), mean=(0.5,), std=(0.25,))(images).ravel())
    [-2.  2.]
    >>> Preprocessing((4,), "int32", vocabulary=("<pad>", "<unk>", "good")).check(["So good!"])
    array([[1, 2, 1, 0]], dtype=int32)
    """

    shape: tuple[int, ...]
    dtype: Literal["uint8", "float32", "int32"] = "uint8"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: Literal["stretch", "crop", "none"] = "stretch"
    vocabulary: tuple[str, ...] = ()
    bigrams: bool = False

    def __post_init__(self) -> None:
        for name in ("shape", "mean", "std"):
            value = np.atleast_1d(getattr(self, name)).tolist()
            object.__setattr__(self, name, tuple(value))
        if not self.shape or not all(isinstance(n, int) and n > 0 for n in self.shape):
            raise ValueError(
                f"shape must be positive integers, such as (28, 28, 1), got {self.shape}."
            )
        if self.dtype not in ("uint8", "float32", "int32"):
            raise ValueError(f"dtype must be uint8, float32 or int32, got {self.dtype!r}.")
        if self.resize not in ("stretch", "crop", "none"):
            raise ValueError(f'resize must be "stretch", "crop" or "none", got {self.resize!r}.')
        if not self.scale > 0:
            raise ValueError(f"scale must be greater than 0, got {self.scale}.")
        transforms.normalize(self.mean, self.std)
        channels = self.shape[-1]
        if self.dtype != "int32" and not {len(self.mean), len(self.std)} <= {1, channels}:
            raise ValueError(
                f"mean and std must have 1 or {channels} numbers for inputs of shape {self.shape}, "
                f"got {len(self.mean)} and {len(self.std)}."
            )
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        if self.vocabulary and not (
            self.dtype == "int32"
            and len(self.shape) == 1
            and self.vocabulary[:2] == (PADDING, UNKNOWN)
            and all(isinstance(word, str) for word in self.vocabulary)
            and len(set(self.vocabulary)) == len(self.vocabulary)
        ):
            raise ValueError(
                f"a vocabulary is for int32 of shape (T,), and holds {PADDING}, {UNKNOWN} and then "
                f"different words; got {self.dtype} {self.shape} and "
                f"{', '.join(map(str, self.vocabulary[:3]))}, …"
            )

    def __call__(self, inputs: Array) -> Array:
        """Prepares a batch (B, *shape); pure, for ``jit``."""
        if self.dtype == "int32":
            return inputs
        if inputs.dtype == jnp.uint8:
            # a constant divisor, as in training: XLA multiplies by its reciprocal
            inputs = inputs.astype(jnp.float32) / self.scale
        if self.mean == (0.0,) and self.std == (1.0,):
            return inputs
        return transforms.normalize(self.mean, self.std)(inputs)

    def check(self, inputs: ArrayLike | Sequence[str]) -> np.ndarray:
        """Raw inputs (B, *shape) as an array.

        Args:
            inputs: of ``dtype``; for uint8 also floating point in [0, 1]; with a vocabulary also a
                list of texts.

        Raises:
            ValueError: another shape, dtype or range.
        """
        array = np.asarray(inputs)
        if array.dtype.kind in "UT":
            return self._encode(array)
        if array.shape == self.shape:
            raise ValueError(
                f"expected a batch {('B', *self.shape)}, got one input {array.shape}: pass "
                "inputs[None]."
            )
        if array.ndim == 0 or array.shape[1:] != self.shape:
            raise ValueError(
                f"expected inputs of shape {('B', *self.shape)}, got {array.shape}. Image files of "
                "any size: python -m jaxdl predict, or preprocessing.read(path)."
            )
        floating = jnp.issubdtype(array.dtype, jnp.floating)
        if self.dtype == "int32":
            if not jnp.issubdtype(array.dtype, jnp.integer):
                raise ValueError(f"expected indices (int32), got {array.dtype}.")
            return array.astype(np.int32)
        if array.dtype == np.uint8 and self.dtype == "uint8":
            return array
        if not floating:
            raise ValueError(f"expected {self.dtype} inputs, got {array.dtype}.")
        if self.dtype == "uint8" and array.size and not 0 <= array.min() <= array.max() <= 1:
            raise ValueError(
                f"floating-point images must lie in [0, 1], got {array.min():.4g} to "
                f"{array.max():.4g}: pass uint8, or divide by {self.scale:g}. They are normalized "
                "here."
            )
        return array.astype(np.float32)

    def _encode(self, texts: np.ndarray) -> np.ndarray:
        if not self.vocabulary:
            raise ValueError(
                f"expected {self.dtype} inputs of shape {('B', *self.shape)}, got text, and "
                "there is no vocabulary: pass token indices, or give Preprocessing a vocabulary."
            )
        if texts.ndim != 1:
            raise ValueError(f"expected a list of texts, got {str(texts)[:60]!r}: pass [text].")
        words = [text.tokenize(each) for each in texts.tolist()]
        words = [add_bigrams(each) for each in words] if self.bigrams else words
        return text.encode(words, self._indices, self.shape[0])

    @functools.cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}

    def check_takes_images(self) -> None:
        """Raises ValueError unless image files can be inputs."""
        if len(self.shape) != 3 or self.dtype != "uint8" or self.shape[2] not in (1, 3):
            raise ValueError(
                f"the model takes {self.dtype} inputs of shape {self.shape}, not image files: "
                "expected uint8 and 1 or 3 channels."
            )

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, str]:
        """Reads an image file as a raw input (H, W, C) uint8, as the readers of data sets do.

        Args:
            path: image file in any common format.

        Returns:
            the image, and a note of its conversions such as ``"RGBA on white to gray, 640x480 to
            28x28 (stretched)"``, empty if there were none.

        Raises:
            ValueError: not an image, one whose range is unknown (32-bit or floating point), or one
                of another size if ``resize`` is "none".
        """
        self.check_takes_images()
        height, width, channels = self.shape
        read = functools.partial(read_image, path, mode="L" if channels == 1 else "RGB")
        info = image_info(path)
        rows, columns = info.size
        notes = [_color_note(info, channels)]
        if (rows, columns) == (height, width):
            image = read()
        elif self.resize == "none":
            raise ValueError(
                f"{path} has {columns}x{rows} pixels, expected {width}x{height}: the model's "
                "preprocessing does not resize."
            )
        elif self.resize == "stretch":
            image = read((height, width))
            notes.append(f"{columns}x{rows} to {width}x{height} (stretched)")
        else:
            factor = max(width / columns, height / rows)
            larger = (max(height, round(rows * factor)), max(width, round(columns * factor)))
            image = read(larger)
            top, left = (larger[0] - height) // 2, (larger[1] - width) // 2
            image = image[top : top + height, left : left + width]
            notes.append(f"{columns}x{rows} to {width}x{height} (center)")
        return image, ", ".join(note for note in notes if note)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """A preprocessing from JSON values; the reverse of :meth:`to_json`.

        Raises:
            ValueError: a field that is missing, unknown or invalid.
        """
        check_form("preprocessing", values, FORM)
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(values.keys() - set(known))
        if unknown:
            raise ValueError(
                f"preprocessing: unknown field {unknown[0]!r}; expected one of {', '.join(known)}."
            )
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**fields)


def _color_note(info: ImageInfo, channels: int) -> str:
    """The conversion of an image's mode to gray or RGB, or ""."""
    mode, has_alpha = info.mode, info.has_alpha
    gray = mode in ("1", "L", "LA", "La") or mode.startswith("I")
    if not has_alpha and gray == (channels == 1) and mode in ("1", "L", "RGB"):
        return ""
    kind = {"P": "palette", "1": "gray", "L": "gray"}.get(mode, mode)
    kind = "16-bit gray" if mode.startswith("I") else kind
    return f"{kind}{' on white' if has_alpha else ''} to {'gray' if channels == 1 else 'RGB'}"


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The given image files, and those in and below the given folders, sorted folder by folder.

    Hidden files and folders are ignored.

    Raises:
        FileNotFoundError: a missing path, or a folder without images.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = [each for each in walk(path) if each.suffix.lower() in IMAGE_SUFFIXES]
            if not inside:
                listed = ", ".join(IMAGE_SUFFIXES)
                raise FileNotFoundError(f"no images in {path} (expected {listed}).")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"file not found: {path} (expected an image or a folder).")
    return found
