"""Time of ``import jaxdl``, compared with importing its dependencies.

    python experiments/benchmarks/import_time.py

Every import is a fresh process; the two alternate and the ratio is that of the shortest times,
which other work on the machine disturbs least. Both run from compiled bytecode, as after an
installation: where ``PYTHONDONTWRITEBYTECODE`` is set, a checkout would be compiled anew at every
import, and the compiler measured instead. The heavy packages (TFDS, Orbax, matplotlib,
scikit-learn) must not be loaded by it.
"""

import dataclasses
import os
import subprocess
import sys

from jaxdl import config

BASE = "import jax, flax.linen, optax"
# every module that a training script uses, not only the lazy package
OURS = (
    "import jaxdl; from jaxdl import checkpoint, config, data, losses, metrics, models, "
    "nn, optim, plots, tensorboard, train, tree"
)
HEAVY = ("tensorflow_datasets", "orbax.checkpoint", "matplotlib", "sklearn", "torch", "tensorflow")


@dataclasses.dataclass(frozen=True)
class Config:
    """One measurement."""

    repeats: int = 9
    """Processes for each of the two."""
    limit: float = 1.3
    """Fail above this ratio."""


def output(code: str) -> str:
    """Returns the output of a new process that keeps the bytecode it compiles."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)


def seconds(statement: str) -> float:
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(output(code))


def main(cfg: Config) -> float:
    loaded = output(f"{OURS}; import sys; print(*sys.modules)").split()
    heavy = sorted(set(HEAVY) & set(loaded))
    if heavy:
        raise ValueError(f"import jaxdl loads {heavy}; they must be imported where they are used.")
    seconds(BASE), seconds(OURS)  # compile, and fill the file cache
    times = [(seconds(BASE), seconds(OURS)) for _ in range(cfg.repeats)]
    base, ours = (min(column) for column in zip(*times, strict=True))
    print(f"{BASE}: {base:.2f} s; jaxdl with all its parts: {ours:.2f} s; ratio {ours / base:.2f}")
    if ours / base > cfg.limit:
        raise ValueError(f"the ratio must be at most {cfg.limit}, got {ours / base:.2f}.")
    return ours / base


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
