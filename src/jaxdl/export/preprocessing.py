"""What happens to an image or a text before a model sees it, as data and not as code."""

import dataclasses
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from jaxdl import text, transforms
from jaxdl.data.sources._decode import IMAGE_SUFFIXES, image_info, read_image
from jaxdl.data.sources._listing import walk
from jaxdl.text.vocabulary import PADDING, UNKNOWN
from jaxdl.types import Array


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Inputs of a model, from raw numbers or an image file: (x / scale − mean) / std; from texts.

    Calling it prepares a batch on the device: uint8 is divided by ``scale``; floating point is
    taken to be in [0, 1] already; both are normalised. Token indices (int32) pass unchanged; a
    vocabulary makes them of texts.

    Attributes:
        shape: of one input: (H, W, C) for images, (n,) for n numbers, (T,) for tokens.
        dtype: of raw inputs: "uint8" (images), "float32" or "int32" (indices of tokens).
        scale: the value of uint8 that becomes 1.
        mean: a number for every channel, or one for all, on the scale 0 to 1.
        std: likewise, greater than 0.
        resize: what is done to an image file of another size: "stretch" to H x W; "crop", the
            shorter side fits and the middle is kept; "none", it is refused.
        vocabulary: what token indices stand for, in the order of
            :func:`jaxdl.text.build_vocabulary`; :func:`jaxdl.text.tokenize` splits texts.
        bigrams: pairs of neighbouring words are words, too.

    Raises:
        ValueError: an empty or negative shape, a std of 0, an unknown dtype or rule, a vocabulary
            for anything but token indices or without its first two words.

    Counterpart: ``torchvision.transforms.v2``'s ``Resize``, ``CenterCrop``, ``ToDtype`` and
    ``Normalize``, and the ``preprocessor_config.json`` of transformers.

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
            raise ValueError(f"shape must hold positive integers, (28, 28, 1) say: {self.shape}.")
        if self.dtype not in ("uint8", "float32", "int32"):
            raise ValueError(f"dtype must be uint8, float32 or int32, got {self.dtype!r}.")
        if self.resize not in ("stretch", "crop", "none"):
            raise ValueError(f'resize must be "stretch", "crop" or "none", got {self.resize!r}.')
        if not self.scale > 0:
            raise ValueError(f"scale must be greater than 0, got {self.scale}.")
        transforms.normalize(self.mean, self.std)
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        specials = (PADDING, UNKNOWN)
        if self.vocabulary and not (
            self.dtype == "int32"
            and len(self.shape) == 1
            and self.vocabulary[:2] == specials
            and all(isinstance(word, str) for word in self.vocabulary)
            and len(set(self.vocabulary)) == len(self.vocabulary)
        ):
            raise ValueError(
                f"a vocabulary is for int32 of shape (T,), and begins with {', '.join(specials)} "
                f"and then different words; got {self.dtype} {self.shape} and "
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

    def check(self, inputs: Any) -> np.ndarray:
        """Raw inputs (B, *shape) as an array, or a ValueError that says what was expected.

        Args:
            inputs: of ``dtype``; where that is uint8, floating point in [0, 1] will do; where there
                is a vocabulary, a list of texts.
        """
        array = np.asarray(inputs)
        if array.dtype.kind in "UT":
            return self._encode(array)
        if array.shape == self.shape:
            raise ValueError(
                f"expected a batch {('B', *self.shape)}, got one input {array.shape}: "
                "give inputs[None]."
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
                f"images in floating point must lie in [0, 1], got {array.min():.4g} to "
                f"{array.max():.4g}: give uint8, or divide by {self.scale:g}. They are normalised "
                "here."
            )
        return array.astype(np.float32)

    def _encode(self, texts: np.ndarray) -> np.ndarray:
        if not self.vocabulary:
            raise ValueError(
                f"expected {self.dtype} inputs of shape {('B', *self.shape)}, got text, for which "
                "there is no vocabulary."
            )
        if texts.ndim != 1:
            raise ValueError(f"expected a list of texts, got {str(texts)[:60]!r}: give [text].")
        words = [text.tokenize(each) for each in texts.tolist()]
        words = [text.add_bigrams(each) for each in words] if self.bigrams else words
        return text.encode(words, self._indices, self.shape[0])

    @functools.cached_property
    def _indices(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.vocabulary)}

    def read(self, path: str | os.PathLike[str]) -> tuple[np.ndarray, str]:
        """Reads an image file as a raw input (H, W, C) uint8, as the readers of data sets do.

        Args:
            path: of an image in any common format; see
                :func:`jaxdl.data.sources._decode.read_image`.

        Returns:
            the image, and a note of what was converted, such as ``"RGBA on white to gray, 640x480
            to 28x28 (stretched)"``; empty if nothing was.

        Raises:
            ValueError: not an image, one whose range is unknown (32-bit or floating point), or one
                of another size if ``resize`` is "none".
        """
        if len(self.shape) != 3 or self.dtype != "uint8" or self.shape[2] not in (1, 3):
            raise ValueError(f"the model takes {self.dtype} {self.shape}, which is no image file.")
        height, width, channels = self.shape
        read = functools.partial(read_image, path, mode="L" if channels == 1 else "RGB")
        mode, (rows, columns), has_alpha = image_info(path)
        gray = mode in ("1", "L", "LA", "La") or mode.startswith("I")
        notes = []
        if has_alpha or (gray != (channels == 1)) or mode not in ("1", "L", "RGB"):
            kind = {"P": "palette", "1": "gray", "L": "gray"}.get(mode, mode)
            kind = "16-bit gray" if mode.startswith("I") else kind
            on_white = " on white" if has_alpha else ""
            notes.append(f"{kind}{on_white} to {'gray' if channels == 1 else 'RGB'}")
        if (rows, columns) == (height, width):
            image = read()
        elif self.resize == "none":
            raise ValueError(
                f"{path} has {columns}x{rows} pixels, the model takes {width}x{height} and its "
                "preprocessing does not resize; resize the file."
            )
        elif self.resize == "stretch":
            image = read((height, width))
            notes.append(f"{columns}x{rows} to {width}x{height} (stretched)")
        else:
            factor = max(width / columns, height / rows)
            larger = max(height, round(rows * factor)), max(width, round(columns * factor))
            image = read(larger)
            top, left = (larger[0] - height) // 2, (larger[1] - width) // 2
            image = image[top : top + height, left : left + width]
            notes.append(f"{columns}x{rows} to {width}x{height} (middle)")
        return image, ", ".join(notes)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        fields = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The reverse of :meth:`to_json`.

        Raises:
            ValueError: a field that is missing, unknown or not as it must be.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"preprocessing must be an object of fields, got {values!r}.")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(values.keys() - set(known))
        if unknown or "shape" not in values:
            problem = f"has the unknown field {unknown[0]!r}" if unknown else "lacks the shape"
            raise ValueError(f"preprocessing {problem}; its fields are {', '.join(known)}.")
        try:
            fields: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in values.items()
            }
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"preprocessing {dict(values)!r} is not valid: {error}.") from error


def find_images(paths: list[Path]) -> list[Path]:
    """The given image files, and those in and below the given folders, sorted folder by folder.

    Hidden files and folders are ignored.

    Raises:
        FileNotFoundError: a path that is not there, or a folder without images.
    """
    found = []
    for path in paths:
        if path.is_dir():
            inside = [each for each in walk(path) if each.suffix.lower() in IMAGE_SUFFIXES]
            if not inside:
                raise FileNotFoundError(f"{path} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise FileNotFoundError(f"there is no file {path}.")
    return found
