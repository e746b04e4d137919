"""``python -m jaxdl doctor``: versions, devices, memory, and what is wrong with them."""

import argparse
import os
import textwrap

from jaxdl._text import align_table, plural
from jaxdl.cli import _doctor


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    commands.add_parser(
        "doctor",
        help="show versions, devices and memory, and say what is wrong with the installation",
        description="Shows versions, devices, memory and environment, then what is wrong with the "
        "installation and the remedy. Exit status 0: nothing is wrong; 1: something is.",
    )


def run(options: argparse.Namespace) -> int:
    """Prints the facts and the problems, and returns the exit status."""
    environ = dict(os.environ)
    # The doctor must not take 75 % of a GPU on which something else may be running.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices = _doctor.find_devices()
    for title, facts in (
        ("system", _doctor.system_facts()),
        ("packages", _doctor.package_facts()),
        ("devices", _doctor.device_facts(devices)),
        ("GPU memory", _doctor.memory_facts(environ)),
        ("environment", _doctor.environment_facts(environ)),
    ):
        print(title)
        print(textwrap.indent(align_table((), facts), "  "), end="\n\n")
    problems = _doctor.all_problems(devices, environ)
    for problem in problems:
        print(f"PROBLEM: {problem.what}\n  remedy: {problem.remedy}\n")
    print(plural(len(problems), "problem") if problems else "nothing is wrong")
    return 1 if problems else 0
