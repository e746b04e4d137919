"""The subcommands of ``python -m jaxdl``, one per module.

Each module has ``add_parser(commands)``, which adds its parser, and ``run(options)``, which does
the work and returns the exit status. At import they load argparse only. A module with
``TAKES_REST`` gets the flags that its parser does not define in ``options.rest``.
"""

from types import ModuleType

from jaxdl.cli import compare, convert, data, doctor, export, inspect, predict, torch

COMMANDS: dict[str, ModuleType] = {
    "doctor": doctor,
    "convert": convert,
    "data": data,
    "export": export,
    "predict": predict,
    "inspect": inspect,
    "compare": compare,
    "torch": torch,
}
"""By name, in the order of ``--help``."""

__all__: list[str] = []
