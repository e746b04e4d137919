"""The public names of jaxdl, and the record of their signatures in docs/api.json.

    python docs/public_api.py            # rewrite the record after an intended change
    python docs/public_api.py --check    # exit 1, naming each difference

The record makes an accidental change visible: a name that is gone, an argument that was renamed,
moved or got another default. Annotations are left out: they do not break a call.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

RECORD = Path(__file__).with_name("api.json")
PAGES = (  # noqa: SIM905
    "data data.sources data.samplers data.collate data.synthetic transforms models models.tutorial "
    "nn nn.initializers nn.conv_ops losses losses.adversarial metrics optim optim.plateau train "
    "train.gan sweep generative generative.classifier generative.snapshots checkpoint interop "
    "export export.quantization tensorboard tensorboard.graph tensorboard.grids "
    "tensorboard.projections "
    "plots text text.vocabulary config tree types"
).split()
"""Packages, and those of their modules that are also used by their own name."""


def public_names(module: ModuleType) -> list[str]:
    """The names that a package lists, or that a module defines and its package does not list."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    package = importlib.import_module(module.__name__.rpartition(".")[0])
    constants = getattr(module, "__annotations__", {})
    return [
        name
        for name, value in vars(module).items()
        if (getattr(value, "__module__", None) == module.__name__ or name in constants)
        and not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(package, name, None) is not value
    ]


def signatures() -> dict[str, str]:
    """Signature of every public function, class and method by name."""
    found = {}
    for page in PAGES:
        module = importlib.import_module(f"jaxdl.{page}")
        for name in public_names(module):
            value = getattr(module, name)
            if not inspect.ismodule(value):
                found |= dict(describe(f"jaxdl.{page}.{name}", value))
    return dict(sorted(found.items()))


def describe(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if not inspect.isclass(value):
        yield name, signature(value) if callable(value) else type(value).__name__
        return
    yield name, signature(value)
    for key, member in vars(value).items():
        if not key.startswith("_") and inspect.isfunction(member) and inspect.getdoc(member):
            yield f"{name}.{key}", signature(member)


def signature(function: Any) -> str:
    """Names, kinds and defaults of the arguments.

    >>> signature(lambda x, *, n=1: x)
    '(x, *, n=1)'
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a type alias, a type variable
        return "type"
    plain = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            default=parameter.default
            if parameter.default is inspect.Parameter.empty
            else Default(parameter.default),
        )
        for parameter in parameters
        if parameter.name != "parent"  # Linen's own
    ]
    return str(inspect.Signature(plain))


class Default:
    """A default that shows a function by its name, not by its address."""

    def __init__(self, value: Any):
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, str | int | float | tuple | None | Path):
            return repr(self.value)
        return getattr(self.value, "__name__", type(self.value).__name__)


def differences(record: dict[str, str], now: dict[str, str]) -> list[str]:
    """One line for each public name that is new, gone or has another signature.

    >>> differences({"f": "(x)", "g": "()"}, {"f": "(y)"})
    ['f was (x), is (y)', 'g() is gone']
    """
    lines = []
    for name in sorted(record.keys() | now.keys()):
        if name not in now:
            lines.append(f"{name}{record[name]} is gone")
        elif name not in record:
            lines.append(f"{name}{now[name]} is new")
        elif record[name] != now[name]:
            lines.append(f"{name} was {record[name]}, is {now[name]}")
    return lines


def main() -> int:
    now = signatures()
    if "--check" not in sys.argv:
        RECORD.write_text(json.dumps(now, indent=0) + "\n", encoding="utf-8")
        return 0
    lines = differences(json.loads(RECORD.read_text(encoding="utf-8")), now)
    if lines:
        print("\n".join(lines), "If that is meant: python docs/public_api.py", sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
