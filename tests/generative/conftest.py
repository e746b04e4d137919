"""A data set and its classifier, trained for three epochs."""

import pytest

from jaxdl import data, generative
from jaxdl.generative.classifier import train_classifier


@pytest.fixture(scope="package")
def digits():
    return data.load("digits")


@pytest.fixture(scope="package")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture(scope="package")
def classifier(digits, cache_dir):
    folder = cache_dir / "digits"
    return train_classifier(digits, num_epochs=3, cache_dir=folder, progress=False)


@pytest.fixture(scope="package")
def reference(digits, classifier, cache_dir):
    """Of the same classifier, from its cache."""
    return generative.make_reference(digits, num_epochs=3, cache_dir=cache_dir, progress=False)
