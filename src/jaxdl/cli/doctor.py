"""``python -m jaxdl doctor``: versions, devices, memory, and problems of the installation."""

import argparse
import os
import textwrap

from jaxdl._text import align_table, plural
from jaxdl.cli import _doctor


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    commands.add_parser(
        "doctor",
        help="show versions, devices and memory, and problems of the installation",
        description="Shows versions, devices, memory and environment, then the problems of the "
        "installation, each with a remedy. Exit status: 0, or 1 if there is a problem.",
    )


def run(options: argparse.Namespace) -> int:
    """Prints facts and problems, and returns the exit status."""
    environ = dict(os.environ)
    # otherwise JAX takes 75 % of a GPU that another process may use
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices = _doctor.find_devices()
    for title, facts in (
        ("system", _doctor.system_facts()),
        ("packages", _doctor.package_facts()),
        ("devices", _doctor.device_facts(devices)),
        ("GPU memory", _doctor.memory_facts(environ)),
        ("GPU reproducibility", _doctor.reproducibility_facts(environ)),
        ("environment", _doctor.environment_facts(environ)),
    ):
        print(title)
        print(textwrap.indent(align_table((), facts), "  "), end="\n\n")
    problems = _doctor.all_problems(devices, environ)
    for problem in problems:
        print(f"PROBLEM: {problem.what}\n  remedy: {problem.remedy}\n")
    print(plural(len(problems), "problem") if problems else "no problems found")
    return 1 if problems else 0
