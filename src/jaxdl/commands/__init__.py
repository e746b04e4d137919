"""The subcommands of ``python -m jaxdl``, one a module.

Each module has ``add_parser(commands)``, which adds its own parser, and ``run(options)``, which
does the work and returns the exit status; a ValueError or OSError from it becomes one line. At
import they load argparse only. One with ``TAKES_REST`` finds flags that its parser does not know
in ``options.rest``.
"""

from types import ModuleType

from jaxdl.commands import compare, convert, data, doctor, export, inspect, predict

COMMANDS: dict[str, ModuleType] = {
    "doctor": doctor,
    "convert": convert,
    "data": data,
    "export": export,
    "predict": predict,
    "inspect": inspect,
    "compare": compare,
}
"""By name, in the order of ``--help``."""
