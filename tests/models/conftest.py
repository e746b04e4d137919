"""Every test draws the same numbers, whichever tests ran before it."""

import numpy as np
import pytest
from helpers import small_models


@pytest.fixture(autouse=True)
def fresh_generator(monkeypatch):
    monkeypatch.setattr(small_models, "RNG", np.random.default_rng(0))
