"""What a sweep knows of a training function before it is compiled, and what it makes of that."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl._machine import num_cores
from jaxdl.train import _batches
from jaxdl.types import Array, PyTree

TrainOne = Callable[..., tuple[PyTree, Mapping[str, Array]]]


CACHE_BYTES = 6e6
"""Weights and optimizer states that a CPU core trains at once without waiting for memory."""


class Traced(NamedTuple):
    """What is known of a training function before it is compiled.

    Attributes:
        state: form of the final state, PRNG keys and all.
        history: form of the history, (E, ...) by name.
        convolutions: it has some.
    """

    state: PyTree
    history: dict[str, Any]
    convolutions: bool


def takes_state(train_one: TrainOne) -> bool:
    """Whether a training function can go on from a state for some epochs."""
    return {"state", "num_epochs"} <= inspect.signature(train_one).parameters.keys()


def trace(function: TrainOne, seed: int, traced: Mapping[str, Any], data: PyTree) -> Traced:
    """Runs a training function on shapes only; see :func:`blame` for what may go wrong."""
    closed, (state, history) = jax.make_jaxpr(function, return_shape=True)(
        jax.random.key(seed), as_arrays(traced), data
    )
    # convolutions written as products have none of XLA's, but weights of four axes
    kernels = any(leaf.ndim >= 4 for leaf in jax.tree.leaves(state))
    return Traced(state, dict(history), kernels or _batches.has_convolution(closed.jaxpr))


def split(
    function: TrainOne,
    settings: Sequence[Mapping[str, Any]],
    seed: int,
    data: PyTree,
    outer: Sequence[str] | str,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The hyperparameters that are traced, (settings,) by name, and those of the outer loop.

    Raises:
        ValueError: one that cannot be traced and is not in ``outer``.
    """
    names = list(settings[0])
    asked = [] if outer == "auto" else [outer] if isinstance(outer, str) else list(outer)
    for name in asked:
        if name not in names:
            raise ValueError(
                f"outer names {name!r}, which is no hyperparameter; there are {names}."
            )
    inner = {name: [setting[name] for setting in settings] for name in names if name not in asked}
    guilty = {name: why for name, values in inner.items() if (why := _no_scalar(values))}
    columns = as_arrays({name: values for name, values in inner.items() if name not in guilty})
    others = {name: value for name, value in settings[0].items() if name not in columns}
    first = {name: column[0] for name, column in columns.items()}

    def with_fixed(key: Any, hparams: dict, data: PyTree) -> Any:
        return function(key, {**others, **hparams}, data)

    try:
        trace(with_fixed, seed, first, data)
    except Exception:
        found = blame(function, seed, settings[0], first, data)
        if not found:
            raise
        guilty |= found
    if guilty and outer != "auto":
        listed = "\n  ".join(f"{name!r}: {reason}" for name, reason in guilty.items())
        raise ValueError(
            "these hyperparameters decide a shape or a branch of Python, or are no numbers that an "
            f"array holds, so their values cannot share one compiled program:\n  {listed}\nLoop "
            f"over them outside: sweep(..., outer={[*asked, *guilty]!r}) compiles once for each of "
            'their values; outer="auto" finds them by itself.'
        )
    columns = {name: column for name, column in columns.items() if name not in guilty}
    return columns, [*asked, *guilty]


def blame(
    function: TrainOne,
    seed: int,
    setting: Mapping[str, Any],
    scalars: Mapping[str, Any],
    data: PyTree,
) -> dict[str, str]:
    """The hyperparameters that cannot be traced, with the reason: they make shapes or branches.

    Each of the scalars is traced alone, the others being plain numbers of the setting.
    """
    guilty = {}
    for name, scalar in scalars.items():
        fixed = {other: value for other, value in setting.items() if other != name}

        def alone(key: Array, one: dict[str, Array], data: PyTree, fixed: dict = fixed) -> Any:
            return function(key, {**fixed, **one}, data)

        try:
            jax.eval_shape(alone, jax.random.key(seed), as_arrays({name: scalar}), data)
        except Exception as error:  # whatever a library makes of a tracer that it cannot use
            guilty[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if guilty:
        try:  # does it work at all?
            jax.eval_shape(lambda key, data: function(key, setting, data), jax.random.key(0), data)
        except Exception:
            return {}
    return guilty


def is_number(value: Any) -> bool:
    """Whether a hyperparameter can become a traced scalar."""
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"


def _no_scalar(values: Sequence[Any]) -> str | None:
    """Why the values of a hyperparameter cannot become traced scalars; None where they can."""
    for value in values:
        if not is_number(value):
            return f"its value {value!r} is no number"
    column = np.asarray(values)
    if column.dtype.kind in "iu":
        held = np.iinfo(jax.dtypes.canonicalize_dtype(column.dtype))
        for value in values:
            if not held.min <= int(value) <= held.max:
                return f"its value {value} does not fit {held.dtype}; write {float(value)!r}"
    return None


def check_history(history: Mapping[str, Any], monitor: str) -> None:
    """Every metric must have one value an epoch, and the monitored one a scalar."""
    if monitor not in history or history[monitor].ndim != 1:
        curves = sorted(name for name, form in history.items() if form.ndim == 1)
        raise ValueError(f"monitor {monitor!r} is not a metric of this sweep: {curves}.")
    epochs = history[monitor].shape[0]
    for name, form in history.items():
        if form.shape[:1] != (epochs,):
            raise ValueError(
                f"the history of {name!r} must hold one value an epoch, shape ({epochs}, ...) as "
                f"that of {monitor!r}, got {form.shape}. Stack what each epoch gives, or return it "
                "in the state."
            )


def as_arrays(setting: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Hyperparameters, or lists of their values, as float32, int32 or bool."""
    return {name: np.asarray(jnp.asarray(value)) for name, value in setting.items()}


def choose_method(traced: Traced, num_members: int) -> tuple[str, str]:
    """``"vmap"`` or ``"loop"``, with the reason.

    The choice depends on the model and the kind of device, not on a clock, so that a sweep that is
    repeated computes the same bits. The rules are what ``experiments/benchmarks/sweep_speed.py``
    measures.
    """
    if num_members == 1:
        return "loop", "there is one member"
    if traced.convolutions:
        return (
            "loop",
            "convolutions with weights of their own for every member are slow in one program",
        )
    size = tree.num_bytes(traced.state)
    if jax.default_backend() == "cpu" and size > CACHE_BYTES / 4:
        return (
            "loop",
            f"{size / 1e6:.1f} MB of weights and optimizer state keep a CPU busy alone",
        )
    return "vmap", "small members share what they have in common"


def num_workers(num_members: int) -> int:
    """Programs at a time: one a core where there is one CPU device, else one."""
    if jax.default_backend() != "cpu" or len(jax.local_devices()) > 1:
        return 1
    return min(num_cores(), num_members)
