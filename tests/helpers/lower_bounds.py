"""Installs the lower bounds of pyproject.toml into a fresh environment and trains a model there.

python tests/helpers/lower_bounds.py FOLDER
"""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMOKE = """
import jax, jax.numpy as jnp
import jaxdl
from jaxdl import checkpoint, data, interop, losses, optim, plots, sweep, tensorboard, text, train
"""


def lower_bounds() -> list[str]:
    """The dependencies and those of the extra ``all``, at their lower bounds: ``"jax==0.10"``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    given, extras = [*project["dependencies"]], project["optional-dependencies"]
    for extra in re.findall(r"\w+", extras["all"][0].removeprefix("jaxdl")):
        given += extras[extra]
    bounds = (re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in given)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})


def main() -> None:
    folder = Path(sys.argv[1])
    venv.create(folder, with_pip=True, clear=True)
    python = folder.resolve() / "bin" / "python"
    bounds = lower_bounds()
    print(*bounds)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *bounds], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", ROOT], check=True)
    subprocess.run([python, "-c", SMOKE], check=True, cwd=folder)
    script = ROOT / "experiments" / "mnist.py"
    workdir = folder.resolve() / "run"
    flags = ["--num_epochs", "2", "--workdir", str(workdir)]
    subprocess.run([python, script, *flags], check=True, cwd=folder)
    subprocess.run([python, "-m", "jaxdl", "inspect", workdir], check=True, cwd=folder)


if __name__ == "__main__":
    main()
