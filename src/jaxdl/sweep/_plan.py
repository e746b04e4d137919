"""Plan of a sweep: which members share a compiled program, and how they are trained."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import tree
from jaxdl._jaxpr import has_convolution
from jaxdl._machine import num_cores
from jaxdl.sweep.space import Setting
from jaxdl.types import Array, PyTree

TrainOne = Callable[..., tuple[PyTree, Mapping[str, Array]]]
"""``(key, hparams, data) -> (state, history)``."""

CACHE_BYTES = 6e6
"""Weights and optimizer states that a CPU core can train at once without waiting for memory."""


class Traced(NamedTuple):
    """Shapes and operations of a training function before it is compiled.

    Attributes:
        state: form of the final state, PRNG keys included.
        history: form of the history, (E, ...) by name.
        has_convolutions: True if it contains convolutions.
    """

    state: PyTree
    history: dict[str, jax.ShapeDtypeStruct]
    has_convolutions: bool


class GroupPlan(NamedTuple):
    """Members that share compiled programs because they differ in traced values only.

    Attributes:
        train: ``(key, hparams, data, **options) -> (state, history)``.
        options: keyword arguments of the first call of ``train``.
        traced: shapes of its outputs.
        fixed: the hyperparameters that are constants of the program.
        columns: the traced hyperparameters, (H,) by name.
        settings: positions of the H settings in the search space.
        seeds: S seeds.
        method: "vmap", or "loop" for one member at a time on every device.
        reason: the reason for the method.
        num_workers: programs that run at a time, each in its own thread.
    """

    train: TrainOne
    options: dict[str, int]
    traced: Traced
    fixed: Setting
    columns: dict[str, np.ndarray]
    settings: list[int]
    seeds: list[int]
    method: str
    reason: str
    num_workers: int

    @property
    def num_members(self) -> int:
        return len(self.settings) * len(self.seeds)


def plan_groups(
    train_one: TrainOne,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    data: PyTree,
    *,
    outer: Sequence[str] | str = "auto",
    method: str = "auto",
    options: dict[str, int] | None = None,
) -> list[GroupPlan]:
    """Groups the settings of a sweep by the values of the outer hyperparameters.

    Args:
        train_one, settings, seeds, data, outer, method: see :func:`jaxdl.sweep.sweep`.
        options: keyword arguments of the first call of ``train_one``.

    Raises:
        ValueError: a hyperparameter that cannot be traced and is not in ``outer``, or groups whose
            histories have different forms.
    """
    options = options or {}
    columns, outer_names = split(
        functools.partial(train_one, **options), settings, seeds[0], data, outer
    )
    plans = []
    for indices in _group_by_values(settings, outer_names):
        fixed = {name: settings[indices[0]][name] for name in outer_names}
        train = functools.partial(_train_with_fixed, train_one, fixed)
        own = {name: column[indices] for name, column in columns.items()}
        first = {name: column[0] for name, column in own.items()}
        traced = trace(functools.partial(train, **options), seeds[0], first, data)
        num_members = len(indices) * len(seeds)
        chosen, reason = method, "as requested"
        if method == "auto":
            chosen, reason = choose_method(traced, num_members)
        plans.append(
            GroupPlan(
                train, options, traced, fixed, own, indices, [int(seed) for seed in seeds],
                chosen, reason, num_workers(num_members),
            )
        )  # fmt: skip
    _check_same_history([plan.traced.history for plan in plans])
    return plans


def _train_with_fixed(
    train_one: TrainOne, fixed: Setting, key: Array, hparams: Setting, data: PyTree, **options: int
) -> tuple[PyTree, Mapping[str, Array]]:
    return train_one(key, {**fixed, **hparams}, data, **options)


def _group_by_values(settings: Sequence[Setting], names: Sequence[str]) -> list[list[int]]:
    """Positions of the settings, grouped by their values of these names."""
    found: dict[str, list[int]] = {}
    for index, setting in enumerate(settings):
        found.setdefault(repr([setting[name] for name in names]), []).append(index)
    return list(found.values())


def _check_same_history(histories: Sequence[dict[str, jax.ShapeDtypeStruct]]) -> None:
    first, *others = [{name: x.shape[1:] for name, x in one.items()} for one in histories]
    for other in others:
        if other != first:
            raise ValueError(
                "all settings must give the same metrics, with the same shape per epoch: setting 0 "
                f"has {first}, another has {other}."
            )


def accepts_state(train_one: TrainOne) -> bool:
    """Returns True if a training function can continue from a state for some epochs."""
    return {"state", "num_epochs"} <= inspect.signature(train_one).parameters.keys()


def trace(function: TrainOne, seed: int, traced: Mapping[str, object], data: PyTree) -> Traced:
    """Traces a training function with shapes only."""
    closed, (state, history) = jax.make_jaxpr(function, return_shape=True)(
        jax.random.key(seed), as_arrays(traced), data
    )
    # convolutions written as products are not XLA's, but their weights have four axes
    kernels = any(leaf.ndim >= 4 for leaf in jax.tree.leaves(state))
    return Traced(state, dict(history), kernels or has_convolution(closed.jaxpr))


def split(
    function: TrainOne,
    settings: Sequence[Setting],
    seed: int,
    data: PyTree,
    outer: Sequence[str] | str,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The traced hyperparameters, (settings,) by name, and the names of the outer ones.

    Raises:
        ValueError: a hyperparameter that cannot be traced and is not in ``outer``.
    """
    names = list(settings[0])
    given = [] if outer == "auto" else [outer] if isinstance(outer, str) else list(outer)
    for name in given:
        if name not in names:
            raise ValueError(f"outer: {name!r} is not a hyperparameter; there are {names}.")
    inner = {name: [setting[name] for setting in settings] for name in names if name not in given}
    untraceable = {name: why for name, values in inner.items() if (why := _no_scalar(values))}
    columns = as_arrays({name: x for name, x in inner.items() if name not in untraceable})
    others = {name: value for name, value in settings[0].items() if name not in columns}
    first = {name: column[0] for name, column in columns.items()}
    try:
        trace(functools.partial(_train_with_fixed, function, others), seed, first, data)
    except Exception:
        found = find_untraceable_hparams(function, seed, settings[0], first, data)
        if not found:
            raise
        untraceable |= found
    if untraceable and outer != "auto":
        listed = "\n  ".join(f"{name!r}: {reason}" for name, reason in untraceable.items())
        raise ValueError(
            "these hyperparameters determine a shape or a Python branch, or are not numbers that "
            f"an array can hold, so their values cannot share one compiled program:\n  {listed}\n"
            f"Pass outer={[*given, *untraceable]!r}, which compiles once for each of their values, "
            'or outer="auto", which finds them.'
        )
    columns = {name: column for name, column in columns.items() if name not in untraceable}
    return columns, [*given, *untraceable]


def find_untraceable_hparams(
    function: TrainOne,
    seed: int,
    setting: Setting,
    scalars: Mapping[str, np.ndarray],
    data: PyTree,
) -> dict[str, str]:
    """Finds the hyperparameters that cannot be traced, with the reasons.

    Each scalar is traced alone, while the others are plain numbers of the setting.
    """
    untraceable = {}
    for name, scalar in scalars.items():
        fixed = {other: value for other, value in setting.items() if other != name}
        alone = functools.partial(_train_with_fixed, function, fixed)
        try:
            jax.eval_shape(alone, jax.random.key(seed), as_arrays({name: scalar}), data)
        except Exception as error:  # libraries raise many kinds of errors for a tracer
            untraceable[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
    if untraceable:
        try:  # a function that also fails without tracers has a different error
            jax.eval_shape(lambda key, data: function(key, setting, data), jax.random.key(0), data)
        except Exception:
            return {}
    return untraceable


def is_number(value: object) -> bool:
    """Returns True if a hyperparameter can become a traced scalar."""
    return np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"  # type: ignore[arg-type]


def _no_scalar(values: Sequence[object]) -> str | None:
    """Returns the reason why values of a hyperparameter cannot be traced, or None."""
    for value in values:
        if not is_number(value):
            return f"its value {value!r} is not a number"
    column = np.asarray(values)
    if column.dtype.kind in "iu":
        held = np.iinfo(jax.dtypes.canonicalize_dtype(column.dtype))
        for number in column.tolist():
            if not held.min <= number <= held.max:
                return f"its value {number} does not fit {held.dtype}; use {float(number)!r}"
    return None


def check_history(history: Mapping[str, jax.ShapeDtypeStruct], monitor: str) -> None:
    """Checks that every metric has one value per epoch, and the monitored one is a scalar."""
    if monitor not in history or history[monitor].ndim != 1:
        curves = sorted(name for name, form in history.items() if form.ndim == 1)
        raise ValueError(f"monitor {monitor!r} is not a metric of this sweep: {curves}.")
    epochs = history[monitor].shape[0]
    for name, form in history.items():
        if form.shape[:1] != (epochs,):
            raise ValueError(
                f"the history of {name!r} must have one value per epoch, shape ({epochs}, ...) "
                f"like {monitor!r}, got {form.shape}. Stack the values of all epochs, or return "
                "the last one in the state."
            )


def as_arrays(setting: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Hyperparameters, or lists of their values, as float32, int32, or bool."""
    return {name: np.asarray(jnp.asarray(value)) for name, value in setting.items()}


def choose_method(traced: Traced, num_members: int) -> tuple[str, str]:
    """``"vmap"`` or ``"loop"``, and the reason.

    The choice depends on the model and the kind of device, not on timing, so that a repeated sweep
    computes the same bits. ``experiments/benchmarks/sweep_speed.py`` measures both.
    """
    if num_members == 1:
        return "loop", "one member"
    if traced.has_convolutions:
        return "loop", "convolutions with different weights per member are slow in one program"
    size = tree.num_bytes(traced.state)
    if jax.default_backend() == "cpu" and size > CACHE_BYTES / 4:
        return "loop", f"{size / 1e6:.1f} MB of weights and optimizer state fill a CPU's cache"
    return "vmap", "small members share batches and the first layers"


def num_workers(num_members: int) -> int:
    """Number of concurrent programs: one per core if there is one CPU device, else one."""
    if jax.default_backend() != "cpu" or len(jax.local_devices()) > 1:
        return 1
    return min(num_cores(), num_members)
