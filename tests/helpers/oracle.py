"""Fixtures that PyTorch made, and the comparison with them.

``tests/parity/make_fixtures.py`` writes ``tests/fixtures/GROUP.npz`` from the cases in
``tests/parity/cases_GROUP.py``; the plain tests read them and need no torch.
"""

from pathlib import Path

import jax
import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "fixtures"

differences: dict[str, float] = {}
"""Largest difference relative to the largest value, by the name given to :func:`compare`."""


def read_cases(group: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every case of a group."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(FOLDER / f"{group}.npz") as file:
        for key in file.files:
            case, name = key.split("/", 1)
            cases.setdefault(case, {})[name] = file[key]
    return cases


def compare(name: str, ours, theirs, tolerance: float = 1e-5) -> None:
    """Asserts that arrays, or trees of them, differ by at most ``tolerance`` of the largest value.

    The largest difference is kept by name for the table of parity (``pytest --parity-table``).
    """
    ours_leaves, theirs_leaves = jax.tree.leaves(ours), jax.tree.leaves(theirs)
    assert len(ours_leaves) == len(theirs_leaves), f"{name}: different trees"
    for ours_leaf, theirs_leaf in zip(ours_leaves, theirs_leaves, strict=True):
        a = np.asarray(ours_leaf, np.float64)
        b = np.asarray(theirs_leaf, np.float64)
        assert a.shape == b.shape, f"{name}: {a.shape} is not {b.shape}"
        if a.size == 0:
            continue
        difference = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30))
        differences[name] = max(difference, differences.get(name, 0.0))
        assert difference <= tolerance, (
            f"{name}: differs by {difference:.2e} of the largest value, allowed {tolerance:.0e}"
        )
