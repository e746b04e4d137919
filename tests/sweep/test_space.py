"""Search spaces."""

import jax
import numpy as np
import pytest

from jaxdl import sweep
from jaxdl.sweep.space import check_settings


def test_random_search_draws_from_the_distributions():
    draws = {"rate": sweep.log_uniform(1e-4, 1e-2), "decay": sweep.uniform(-1.0, 3.0)}
    space = sweep.random_search(2000, jax.random.key(3), **draws, kind=sweep.choice("a", "b", "c"))
    again = sweep.random_search(2000, jax.random.key(3), **draws, kind=sweep.choice("a", "b", "c"))
    assert space == again
    rates, decays = (np.array([setting[name] for setting in space]) for name in draws)
    assert 1e-4 <= rates.min() < 1.1e-4
    assert 0.9e-2 < rates.max() <= 1e-2
    assert abs((rates < 1e-3).mean() - 0.5) < 0.04  # as many in each decade
    assert abs(decays.mean() - 1.0) < 0.1
    assert abs(decays.std() - 4 / np.sqrt(12)) < 0.05
    kinds = [setting["kind"] for setting in space]
    assert all(abs(kinds.count(kind) / 2000 - 1 / 3) < 0.04 for kind in "abc")
    with pytest.raises(ValueError, match="low must be less than high, got 3 and 2"):
        sweep.uniform(3, 2)
    with pytest.raises(ValueError, match="rate: expected 2 values, got 1"):
        sweep.random_search(2, jax.random.key(0), rate=lambda key, number: [1])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda: check_settings([]), "space has no settings"),
        (
            lambda: check_settings([{"a": 1}, {"b": 1}]),
            r"setting 0 has \['a'\], setting 1 has \['b'\]",
        ),
        (sweep.grid, "at least one hyperparameter"),
        (lambda: sweep.grid(rate=[]), "rate must have at least one value, got none"),
        (lambda: sweep.random_search(0, jax.random.key(0)), "num_settings must be greater than 0"),
        (lambda: sweep.log_uniform(0.0, 1.0), "low must be greater than 0"),
        (sweep.choice, "choice needs at least one value"),
    ],
)
def test_bad_spaces_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        function()
