"""``python -m jaxdl``: what is here, and whether the installation works."""

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxdl import doctor

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: command line without the program's name; ``sys.argv`` by default.

    Returns:
        The exit status: 0 where all is well, 1 where the doctor found a problem.
    """
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command == "doctor":
        return run_doctor()
    parser.print_help()
    return 0


def make_parser() -> argparse.ArgumentParser:
    """The command line: one subparser a command, the experiments below."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxdl",
        description="PyTorch's recipes as pure functions on JAX, Flax Linen, Optax and Orbax.",
        epilog=describe_experiments(EXPERIMENTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    commands.add_parser(
        "doctor",
        help="show versions, devices and memory, and say what is wrong with the installation",
        description="Shows versions, devices, memory and environment, then what is wrong with the "
        "installation and the remedy. Exit status 0: nothing is wrong; 1: something is.",
    )
    return parser


def describe_experiments(folder: Path) -> str:
    """The experiments in a folder, each with its first line and its command."""
    found = list_experiments(folder)
    if not found:
        return "Experiments live in the checkout of jaxdl, in its folder experiments/."
    lines = ["experiments, to be run in the checkout:"]
    for name, summary in found:
        lines += [f"  python {folder.name}/{name} --help", f"      {summary}"]
    return "\n".join(lines)


def list_experiments(folder: Path) -> list[tuple[str, str]]:
    """The scripts in a folder by name, without importing them.

    Args:
        folder: where to look; it need not exist.

    Returns:
        (file name, first line of its docstring), sorted; names that start with _ are left out.
    """
    return [
        (path.name, _summary(path))
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith("_")
    ]


def _summary(path: Path) -> str:
    try:
        docstring = ast.get_docstring(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError) as error:
        return f"(cannot be read: {error})"
    return (
        docstring.strip().splitlines()[0] if docstring and docstring.strip() else "(no docstring)"
    )


def run_doctor() -> int:
    """Prints the facts and the problems, and returns the exit status."""
    environ = dict(os.environ)
    # The doctor must not take 75 % of a GPU on which something else may be running.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices = doctor.find_devices()
    for title, facts in (
        ("system", doctor.system_facts()),
        ("packages", doctor.package_facts()),
        ("devices", doctor.device_facts(devices)),
        ("GPU memory", doctor.memory_facts(environ)),
        ("environment", doctor.environment_facts(environ)),
    ):
        print(title)
        width = max(len(name) for name, _ in facts)
        for name, value in facts:
            print(f"  {name:{width}}  {value}")
        print()
    problems = doctor.all_problems(devices, environ)
    for problem in problems:
        print(f"PROBLEM: {problem.what}\n  remedy: {problem.remedy}\n")
    number = len(problems)
    print("nothing is wrong" if not number else f"{number} problem{'s' * (number > 1)}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
