"""Makes tests/fixtures/*.npz from PyTorch: python tests/parity/make_fixtures.py

Needs torch==2.13.0 and, for Fashion-MNIST, ../shared/data. The fixtures are small and committed, so
that the tests need neither.
"""

from pathlib import Path

import numpy as np
import reference
import torch

from jaxdl import data

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def main() -> None:
    if torch.__version__.split("+")[0] != "2.13.0":
        raise SystemExit(f"fixtures come from torch==2.13.0, this is {torch.__version__}")
    FIXTURES.mkdir(exist_ok=True)
    for name, dataset in {
        "digits": data.digits(),
        "fashion_mnist": data.load("fashion_mnist", SHARED_DATA),
    }.items():
        losses = reference.torch_losses(name, dataset.train["image"], dataset.train["label"])
        np.savez(FIXTURES / f"r02_{name}.npz", losses=losses)
        print(name, losses[:3], "…", losses[-1])


if __name__ == "__main__":
    main()
