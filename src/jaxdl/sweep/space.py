"""The settings that a sweep tries: lists of dictionaries, by grid or by chance."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl._checks import check_positive
from jaxdl.types import Array

Setting = Mapping[str, Any]
"""Hyperparameters by name."""


Draw = Callable[[Array, int], list[Any]]
"""``(key, number) -> values``."""


def grid(**values: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the values given; the last name varies fastest.

    Args:
        **values: by name, the values to try.

    Returns:
        a list of settings; write it by hand, add to it or filter it as you like.

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
            raise ValueError(f"{name} must have at least one value to try, got none.")
    rows = itertools.product(*columns.values())
    return [dict(zip(columns, row, strict=True)) for row in rows]


def random_search(number: int, key: Array, **draws: Draw) -> list[dict[str, Any]]:
    """Settings drawn at random, each hyperparameter from its own distribution.

    Args:
        number: n, of settings.
        key: PRNG key; same key, same settings.
        **draws: by name, :func:`uniform`, :func:`log_uniform`, :func:`choice`, or any function
            ``(key, n) -> n values``.

    Returns:
        a list of n settings.

    Raises:
        ValueError: no name, n below 1, or a function that gives another number of values.

    Source: Bergstra & Bengio 2012.

    >>> key = jax.random.key(0)
    >>> settings = random_search(3, key, rate=log_uniform(1e-5, 1e-1), nesterov=choice(True, False))
    >>> [sorted(setting) for setting in settings]
    [['nesterov', 'rate'], ['nesterov', 'rate'], ['nesterov', 'rate']]
    """
    check_positive(number=number)
    if not draws:
        raise ValueError(
            "random_search needs at least one hyperparameter: learning_rate=log_uniform(1e-5, 0.1)."
        )
    keys = jax.random.split(key, len(draws))
    columns = {}
    for (name, draw), draw_key in zip(draws.items(), keys, strict=True):
        columns[name] = list(draw(draw_key, number))
        if len(columns[name]) != number:
            raise ValueError(f"{name}: expected {number} values, got {len(columns[name])}.")
    return [{name: column[row] for name, column in columns.items()} for row in range(number)]


def uniform(low: float, high: float) -> Draw:
    """Draws from U(low, high).

    >>> [low] = uniform(2.0, 3.0)(jax.random.key(0), 1)
    >>> 2 <= low < 3
    True
    """
    _check_range(low, high)

    def draw(key: Array, number: int) -> list[float]:
        shares = np.asarray(jax.random.uniform(key, (number,)), np.float64)
        return [float(low + (high - low) * share) for share in shares]

    return draw


def log_uniform(low: float, high: float) -> Draw:
    r"""Draws :math:`e^u` with u from U(ln low, ln high): every decade is as likely as the next.

    >>> [rate] = log_uniform(1e-5, 1e-1)(jax.random.key(0), 1)
    >>> 1e-5 <= rate <= 1e-1
    True
    """
    check_positive(low=low)
    _check_range(low, high)
    exponents = uniform(math.log(low), math.log(high))
    return lambda key, number: [math.exp(u) for u in exponents(key, number)]


def choice(*options: Any) -> Draw:
    """Draws one of some values, each as likely as the others.

    >>> choice("adam")(jax.random.key(0), 2)
    ['adam', 'adam']
    """
    if not options:
        raise ValueError("choice needs at least one value.")

    def draw(key: Array, number: int) -> list[Any]:
        return [options[i] for i in np.asarray(jax.random.randint(key, (number,), 0, len(options)))]

    return draw


def check_settings(space: Sequence[Setting]) -> list[dict[str, Any]]:
    """A list of settings as dictionaries, all with the same names.

    Raises:
        ValueError: none, or settings with different names.
    """
    settings = [dict(setting) for setting in space]
    if not settings:
        raise ValueError("space holds no settings; grid(learning_rate=[0.1, 0.01]) makes some.")
    for index, setting in enumerate(settings):
        if setting.keys() != settings[0].keys():
            raise ValueError(
                f"all settings must have the same names: setting 0 has {sorted(settings[0])}, "
                f"setting {index} has {sorted(setting)}."
            )
    return settings


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}.")
