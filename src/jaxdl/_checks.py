"""Checks of shapes, dtypes and ranges that raise a readable ``ValueError``.

Shapes and dtypes are checked while JAX traces and cost nothing at run time. Values (label range,
NaN) are checked on the host, where data enters.
"""

import numbers
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxdl.types import IGNORE_LABEL, Array


def check_positive(**values: float | Array) -> None:
    """Raises ValueError unless every value is a number greater than 0.

    A value that JAX traces, such as a swept hyperparameter, is not checked.

    >>> check_positive(temperature=0.5)
    """
    _check_numbers(values, lambda value: value > 0, "be greater than 0")


def check_not_negative(**values: float | Array) -> None:
    """Raises ValueError unless every value is at least 0; see :func:`check_positive`.

    >>> check_not_negative(padding=0)
    """
    _check_numbers(values, lambda value: value >= 0, "be at least 0")


def check_fraction(**values: float | Array) -> None:
    """Raises ValueError unless every value lies in 0 to 1; see :func:`check_positive`.

    >>> check_fraction(dropout_rate=0.3)
    """
    _check_numbers(values, lambda value: 0 <= value <= 1, "lie in 0 to 1")


def check_below_one(**values: float | Array) -> None:
    """Raises ValueError unless 0 <= value < 1 for every value; see :func:`check_positive`.

    >>> check_below_one(b1=0.9, b2=0.999)
    """
    _check_numbers(values, lambda value: 0 <= value < 1, "be at least 0 and less than 1")


def check_count(minimum: int = 1, /, **values: int | Array) -> None:
    """Raises ValueError unless every value is an integer of at least ``minimum``.

    >>> check_count(batch_size=32)
    >>> check_count(0, num_warmup_steps=0)
    """
    for name, value in values.items():
        integral = jnp.issubdtype(getattr(value, "dtype", float), jnp.integer)
        integral |= isinstance(value, jax.core.Tracer | numbers.Integral)
        if isinstance(value, bool) or not integral:
            raise ValueError(f"{name} must be an integer, got {value!r}.")
    _check_numbers(values, lambda value: value >= minimum, f"be at least {minimum}")


def _check_numbers(
    values: Mapping[str, float | Array], holds: Callable[[float | Array], ArrayLike], words: str
) -> None:
    for name, value in values.items():
        if isinstance(value, jax.core.Tracer):
            continue
        if not isinstance(value, numbers.Real) and getattr(value, "shape", None) != ():
            raise ValueError(f"{name} must be a number, got {value!r}.")
        if not holds(value):  # NaN fails every comparison
            raise ValueError(f"{name} must {words}, got {value!r}.")


def check_shape(name: str, array: object, expected: tuple[int | str | None, ...]) -> None:
    """Raises ValueError unless ``array`` has the expected shape.

    Args:
        name: name of the array in the message.
        array: anything with ``.shape``.
        expected: one entry per axis: a size, or a letter or None for any size. Axes with the same
            letter must have the same size.

    >>> check_shape("logits", np.zeros((32, 10)), ("B", 10))
    """
    shape = shape_of(name, array)
    sizes: dict[str, int] = {}
    matches = len(shape) == len(expected) and all(
        size == sizes.setdefault(want, size) if isinstance(want, str) else want in (None, size)
        for size, want in zip(shape, expected, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if want is None else str(want) for want in expected)
        raise ValueError(f"{name} must have shape ({wanted}), got {shape}.")


def check_num_classes(name: str, shape: Sequence[int]) -> None:
    """Raises ValueError unless the last axis, the classes, has at least 2 entries."""
    if shape[-1] < 2:
        raise ValueError(
            f"{name} must have at least 2 classes on the last axis, got shape {tuple(shape)}. For "
            "one output per example use losses.binary_cross_entropy, and the accuracy of "
            "(logits > 0) == labels; an argmax over one class is always 0."
        )


def shape_of(name: str, array: object) -> tuple[int, ...]:
    """The shape of an array; raises ValueError for anything else, such as a list."""
    shape = getattr(array, "shape", None)
    if shape is None:
        raise ValueError(
            f"{name} must be an array, got a {type(array).__name__}; "
            "convert a list of numbers with jnp.asarray."
        )
    return tuple(shape)


def check_data(
    data: Mapping[str, Array | np.ndarray],
    *,
    num_classes: int | None = None,
    ignore_label: int | None = IGNORE_LABEL,
) -> int:
    """Checks named arrays before training or evaluation and returns their length.

    Args:
        data: arrays with a common leading axis (N, ...); ``"label"`` holds class indices.
        num_classes: labels must lie in [0, num_classes); None only checks that they are at least 0.
        ignore_label: label that is allowed out of range, or None.

    Returns:
        N, the number of examples.

    Raises:
        ValueError: no mapping, no arrays, no examples or none under the mask, arrays of different
            length, NaN or infinity in a floating-point array, or a label out of range. The message
            names the array, the first offending index and the remedy.
    """
    if not isinstance(data, Mapping):
        raise ValueError(
            "data must be a mapping of arrays such as {'image': …, 'label': …}, got a "
            f"{type(data).__name__}."
        )
    if not data:
        raise ValueError(
            "data holds no arrays; expected a mapping such as {'image': …, 'label': …}."
        )
    for name, array in data.items():
        if not getattr(array, "shape", None):
            raise ValueError(
                f"data[{name!r}] must be an array with a leading example axis, got "
                f"{type(array).__name__} {getattr(array, 'shape', '')}."
            )
    lengths = {name: array.shape[0] for name, array in data.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise ValueError(
            f"all arrays must have the same number of examples, got {listed}. "
            "Are the files of one split, and complete?"
        )
    length = next(iter(lengths.values()))
    if length == 0:
        raise ValueError("data holds no examples (length 0).")
    for name, array in data.items():
        if jnp.issubdtype(array.dtype, jnp.floating):  # NumPy's issubdtype excludes bfloat16
            _check_finite(name, np.asarray(array))
    if "mask" in data and not (np.asarray(data["mask"]) > 0).any():
        raise ValueError("data['mask'] is 0 everywhere: no example is left.")
    if "label" in data:
        check_labels(data["label"], num_classes, ignore_label)
    return int(length)


def _check_finite(name: str, array: np.ndarray) -> None:
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        raise ValueError(
            f"data[{name!r}] must be finite, got NaN or infinity in {len(bad)} of {len(array)} "
            f"examples, the first at index {bad[0]}. Remove or repair them before training."
        )


def check_labels(
    labels: ArrayLike, num_classes: int | None = None, ignore_label: int | None = IGNORE_LABEL
) -> None:
    """Raises ValueError unless labels are integers in [0, num_classes).

    Unlike PyTorch, JAX does not raise for an index out of range (a negative one counts from the
    end, a large one is clamped, dropped or NaN), so the range is checked on the host.

    Args:
        labels: (N,) or (N, ...) integers.
        num_classes: number of classes; None only checks that labels are in [0, 2**31).
        ignore_label: label that is allowed out of range, but not everywhere; or None.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers (class indices from 0), got dtype {labels.dtype}. Store "
            "other targets under another name and pass it to supervised(targets=)."
        )
    ignored = np.zeros(labels.shape, bool) if ignore_label is None else labels == ignore_label
    if ignored.size and ignored.all():
        raise ValueError(f"all labels are {ignore_label}, the ignored label: no example is left.")
    bad = (labels < 0) | (labels >= (2**31 if num_classes is None else num_classes))
    bad &= ~ignored
    if bad.any():
        index = int(np.flatnonzero(bad.reshape(len(labels), -1).any(axis=1))[0])
        expected = "lie in 0 to " + ("2**31 - 1" if num_classes is None else str(num_classes - 1))
        raise ValueError(
            f"labels must {expected}, got {labels[index]} at index {index} "
            f"({int(bad.sum())} of {labels.size} are out of range). Labels start at 0: subtract 1 "
            "if yours start at 1; store targets that are not classes under another name and pass "
            "it to supervised(targets=)."
        )


def check_batch_size(batch_size: int, num_examples: int) -> None:
    """Raises ValueError unless 1 <= batch_size <= num_examples."""
    if not 1 <= batch_size <= num_examples:
        raise ValueError(
            f"batch_size must lie in 1 to {num_examples} (the number of examples), "
            f"got {batch_size}."
        )
