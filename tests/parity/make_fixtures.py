"""Makes tests/fixtures/*.npz from PyTorch: python tests/parity/make_fixtures.py [GROUP ...]

Needs torch==2.13.0 and, for the reference run on Fashion-MNIST, ../shared/data. The fixtures are
small and committed, so that the tests need neither.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import reference
import torch

from jaxdl import data

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
GROUPS = sorted(path.stem.removeprefix("cases_") for path in Path(__file__).parent.glob("cases_*"))


def make(group: str) -> dict[str, np.ndarray]:
    """The arrays of a group by ``case/array``, computed by torch now."""
    cases = importlib.import_module(f"cases_{group}").cases()
    return {
        f"{case}/{name}": array for case, arrays in cases.items() for name, array in arrays.items()
    }


def make_reference_run() -> None:
    for name, dataset in {
        "digits": data.load("digits"),
        "fashion_mnist": data.load("fashion_mnist", SHARED_DATA),
    }.items():
        losses = reference.torch_losses(name, dataset.train["image"], dataset.train["label"])
        np.savez(FIXTURES / f"r02_{name}.npz", losses=losses)
        print(name, losses[:3], "…", losses[-1])


def main(names: list[str]) -> None:
    if torch.__version__.split("+")[0] != "2.13.0":
        raise SystemExit(f"fixtures come from torch==2.13.0, this is {torch.__version__}")
    FIXTURES.mkdir(exist_ok=True)
    for name in names or ["r02", *GROUPS]:
        if name == "r02":
            make_reference_run()
            continue
        path = FIXTURES / f"{name}.npz"
        np.savez_compressed(path, **make(name))
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
