"""Strict JAX for all tests, and the optional real data."""

import os

from helpers import compilation

# The tests are about one CPU device, unless one starts another process.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# They compile much and compute little, so programs are hardly optimized, in child processes too.
# JAX_DISABLE_MOST_OPTIMIZATIONS=0 XLA_FLAGS= pytest ... tests what users run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("XLA_FLAGS", compilation.quick_flags())

from pathlib import Path

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def forget_what_was_compiled():
    """Thousands of compiled programs would fill gigabytes; a file shares few with the next."""
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def optimized():
    """Programs as users compile them, here and in child processes: for tests that compute much.
    A file asks for it by ``pytest.mark.usefixtures``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "0")
        jax.config.update("jax_disable_most_optimizations", False)
        yield
    jax.config.update(
        "jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    )


@pytest.fixture(scope="session")
def fashion_mnist():
    """Fashion-MNIST where ../shared/data is there, else scikit-learn's digits."""
    from jaxdl import data

    if (SHARED_DATA / "fashion_mnist").is_dir():
        return data.load("fashion_mnist", SHARED_DATA)
    return data.load("digits")


@pytest.fixture(scope="session", params=["digits", "fashion_mnist"])
def reference_set(request):
    """Name, data and PyTorch's losses of a set on which the reference run was recorded."""
    import numpy as np

    from jaxdl import data

    if request.param == "fashion_mnist" and not (SHARED_DATA / request.param).is_dir():
        pytest.skip("needs ../shared/data/fashion_mnist")
    fixture = np.load(Path(__file__).parent / "fixtures" / f"r02_{request.param}.npz")
    return request.param, data.load(request.param, SHARED_DATA), fixture


def pytest_addoption(parser):
    parser.addoption("--parity-table", action="store_true", help="print the differences from torch")


def pytest_sessionfinish(session):
    from helpers import oracle

    if hasattr(session.config, "workeroutput"):  # in a process of pytest-xdist
        session.config.workeroutput["differences"] = oracle.differences


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    from helpers import oracle

    for name, difference in getattr(node, "workeroutput", {}).get("differences", {}).items():
        oracle.differences[name] = max(difference, oracle.differences.get(name, 0.0))


def pytest_terminal_summary(terminalreporter, config):
    from helpers import oracle

    if config.getoption("--parity-table"):
        terminalreporter.section("largest difference from PyTorch, of the largest value")
        for name, difference in sorted(oracle.differences.items()):
            terminalreporter.write_line(f"| {name} | {difference:.1e} |")
