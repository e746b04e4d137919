"""Time of ``import jaxdl``, compared with importing its dependencies.

    python experiments/benchmarks/import_time.py

Every import is a fresh process; the two alternate and the ratio is that of the shortest processor
times, which other work on the machine disturbs least. Both run from bytecode that the first round
compiles into a folder of this script's own, as after an installation: without it the compiler may
be measured instead. The heavy packages (TFDS, Orbax, matplotlib, scikit-learn) must not be loaded
by it.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile

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

    repeats: int = 7
    """Processes for each of the two."""
    limit: float = 1.3
    """Fail above this ratio."""


def output(code: str, bytecode: str) -> str:
    """Returns the output of a new process that keeps the bytecode it compiles."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = bytecode
    return subprocess.check_output([sys.executable, "-c", code], text=True, env=environment)


def seconds(statement: str, bytecode: str) -> float:
    """Returns the processor time of a statement in a new process."""
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    return float(output(code, bytecode))


def main(cfg: Config) -> float:
    with tempfile.TemporaryDirectory() as bytecode:
        loaded = output(f"{OURS}; import sys; print(*sys.modules)", bytecode).split()
        heavy = sorted(set(HEAVY) & set(loaded))
        if heavy:
            raise ValueError(f"import jaxdl loads {heavy}; import them where they are used.")
        seconds(BASE, bytecode), seconds(OURS, bytecode)  # fill the file cache
        times = [(seconds(BASE, bytecode), seconds(OURS, bytecode)) for _ in range(cfg.repeats)]
    base, ours = (min(column) for column in zip(*times, strict=True))
    print(f"{BASE}: {base:.2f} s; jaxdl with all its parts: {ours:.2f} s; ratio {ours / base:.2f}")
    if ours / base > cfg.limit:
        raise ValueError(f"the ratio must be at most {cfg.limit}, got {ours / base:.2f}.")
    return ours / base


if __name__ == "__main__":
    config.main(main, Config, description=__doc__)
