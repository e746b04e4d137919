"""What a sweep knows of a training function before it is compiled, and what it makes of that."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl.data.device import num_cores
from jaxdl.train import feed
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
    return Traced(state, dict(history), kernels or feed.has_convolution(closed.jaxpr))


def blame(
    function: TrainOne,
    seed: int,
    setting: Mapping[str, Any],
    names: Sequence[str],
    data: PyTree,
) -> dict[str, str]:
    """The hyperparameters that cannot be traced, with the reason: they make shapes or branches.

    Each is traced alone, the others being plain numbers.
    """
    guilty = {}
    for name in names:
        fixed = {other: value for other, value in setting.items() if other != name}

        def alone(key: Array, one: dict[str, Array], data: PyTree, fixed: dict = fixed) -> Any:
            return function(key, {**fixed, **one}, data)

        try:
            jax.eval_shape(alone, jax.random.key(seed), as_arrays({name: setting[name]}), data)
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
