"""Search spaces: lists of settings, from a grid or drawn at random."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl._checks import check_positive
from jaxdl.types import Array

Setting = dict[str, Any]
"""Hyperparameters by name."""

Draw = Callable[[Array, int], Sequence[object]]
"""``(key, n) -> n values``."""


def grid(**values: Sequence[object]) -> list[Setting]:
    """All combinations of the given values; the last name varies fastest.

    Args:
        **values: the values to try, by name.

    Returns:
        List of settings. It can also be written by hand, extended, or filtered.

    Raises:
        ValueError: no name, or a name without values.

    Source: ``sklearn.model_selection.ParameterGrid``, which sorts the names.

    >>> grid(learning_rate=[0.1, 0.01], weight_decay=[0.0])
    [{'learning_rate': 0.1, 'weight_decay': 0.0}, {'learning_rate': 0.01, 'weight_decay': 0.0}]
    """
    if not values:
        raise ValueError("grid needs at least one hyperparameter: grid(learning_rate=[0.1, 0.01]).")
    columns = {name: list(column) for name, column in values.items()}
    for name, column in columns.items():
        if not column:
            raise ValueError(f"{name} must have at least one value, got none.")
    rows = itertools.product(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in rows]


def random_search(num_settings: int, key: Array, **draws: Draw) -> list[Setting]:
    """Random settings, each hyperparameter from its own distribution.

    Args:
        num_settings: number of settings, n.
        key: PRNG key; the same key gives the same settings.
        **draws: by name :func:`uniform`, :func:`log_uniform`, :func:`choice`, or any function
            ``(key, n) -> n values``.

    Returns:
        List of n settings.

    Raises:
        ValueError: no name, n below 1, or a function that returns another number of values.

    Source: Bergstra & Bengio 2012.

    >>> key = jax.random.key(0)
    >>> rates = log_uniform(1e-5, 1e-1)
    >>> settings = random_search(2, key, learning_rate=rates, nesterov=choice(True, False))
    >>> [sorted(setting) for setting in settings]
    [['learning_rate', 'nesterov'], ['learning_rate', 'nesterov']]
    """
    check_positive(num_settings=num_settings)
    if not draws:
        raise ValueError(
            "random_search needs at least one hyperparameter: learning_rate=log_uniform(1e-5, 0.1)."
        )
    keys = jax.random.split(key, len(draws))
    columns = {}
    for (name, draw), draw_key in zip(draws.items(), keys, strict=True):
        columns[name] = list(draw(draw_key, num_settings))
        if len(columns[name]) != num_settings:
            raise ValueError(f"{name}: expected {num_settings} values, got {len(columns[name])}.")
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def uniform(low: float, high: float) -> Draw:
    """Uniform distribution U(low, high).

    >>> [value] = uniform(2.0, 3.0)(jax.random.key(0), 1)
    >>> 2 <= value < 3
    True
    """
    _check_range(low, high)

    def draw(key: Array, n: int) -> list[float]:
        shares = np.asarray(jax.random.uniform(key, (n,)), np.float64)
        return [float(low + (high - low) * share) for share in shares]

    return draw


def log_uniform(low: float, high: float) -> Draw:
    r"""Log-uniform distribution: :math:`e^u` with u from U(ln low, ln high).

    >>> [rate] = log_uniform(1e-5, 1e-1)(jax.random.key(0), 1)
    >>> 1e-5 <= rate <= 1e-1
    True
    """
    check_positive(low=low)
    _check_range(low, high)
    exponents: Any = uniform(math.log(low), math.log(high))
    return lambda key, n: [math.exp(u) for u in exponents(key, n)]


def choice(*options: object) -> Draw:
    """One of the given values, all equally likely.

    >>> choice("adam")(jax.random.key(0), 2)
    ['adam', 'adam']
    """
    if not options:
        raise ValueError("choice needs at least one value.")

    def draw(key: Array, n: int) -> list[object]:
        return [options[i] for i in np.asarray(jax.random.randint(key, (n,), 0, len(options)))]

    return draw


def check_settings(space: Sequence[Mapping[str, object]]) -> list[Setting]:
    """Settings as dictionaries with the same names.

    Raises:
        ValueError: no setting, or settings with different names.
    """
    settings = [dict(setting) for setting in space]
    if not settings:
        raise ValueError("space has no settings; grid(learning_rate=[0.1, 0.01]) makes two.")
    for index, setting in enumerate(settings):
        if setting.keys() != settings[0].keys():
            raise ValueError(
                f"all settings must have the same names: setting 0 has {sorted(settings[0])}, "
                f"setting {index} has {sorted(setting)}."
            )
    return settings


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low must be less than high, got {low} and {high}.")
