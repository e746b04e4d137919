"""The small run that is watched."""

import pytest
from helpers.watched_run import Net, make_parts, run

from jaxdl import optim


@pytest.fixture(scope="module")
def parts():
    return make_parts(Net(), optim.adam(optim.step_decay(1e-2, 5, 0.5)))


@pytest.fixture(scope="module")
def plain(parts):
    return run(parts)
