"""A source that several files of tests share."""

import pytest
from helpers.small_sources import IMAGES, LABELS

from jaxdl import data


@pytest.fixture
def source():
    return data.ArraySource({"image": IMAGES, "label": LABELS}, ["a", "b", "c"])
