"""Versions of installed packages."""

import importlib.metadata
from collections.abc import Iterable

PACKAGES = ("jaxdl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""Packages whose versions decide the results of a run; recorded in run folders and bundles."""


def version(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of the packages that are installed.

    >>> list(installed(["jax", "no-such-package"]))
    ['jax']
    """
    versions = {package: version(package) for package in packages}
    return {package: found for package, found in versions.items() if found is not None}
