"""Versions of installed packages."""

import jax

from jaxdl._versions import PACKAGES, installed, version


def test_versions_of_what_is_installed():
    assert version("jax") == jax.__version__
    assert version("no-such-package") is None
    assert installed(["no-such-package", "jax"]) == {"jax": jax.__version__}
    assert list(installed()) == list(PACKAGES)
