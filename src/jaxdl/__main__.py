"""``python -m jaxdl``: the commands that need no script, and a list of the experiments."""

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxdl.cli import COMMANDS
from jaxdl.config import exit_status

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one subcommand.

    Args:
        arguments: command line without the program's name; ``sys.argv`` by default.

    Returns:
        the exit status: 0; 1 if a command found a problem or could not use an input; others see
        :func:`jaxdl.config.exit_status`.
    """
    return exit_status(lambda: _run_command(arguments))


def _run_command(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command is None:
        if rest:
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        parser.print_help()
        return 0
    command = COMMANDS[options.command]
    if rest and not getattr(command, "TAKES_REST", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    status: int = command.run(argparse.Namespace(**vars(options), rest=rest))
    return status


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line, with one subparser per command."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxdl",
        description="PyTorch's recipes as pure functions on JAX, Flax Linen, Optax and Orbax.",
        epilog=describe_experiments(EXPERIMENTS),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="command", title="commands")
    for command in COMMANDS.values():
        command.add_parser(subparsers)
    return parser


def describe_experiments(folder: Path) -> str:
    """The experiments in a folder, with their commands, for ``--help``."""
    found = list_experiments(folder)
    if not found:
        return "The experiments are in the repository of jaxdl, in experiments/."
    lines = ["experiments, run in the repository:"]
    for name, summary in found:
        lines += [f"  python {folder.name}/{name} --help", f"      {summary}"]
    return "\n".join(lines)


def list_experiments(folder: Path) -> list[tuple[str, str]]:
    """The scripts in a folder by name, without importing them.

    Args:
        folder: to search; may be missing.

    Returns:
        (file name, first line of its docstring), sorted, without names that start with _.
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


if __name__ == "__main__":
    sys.exit(main())
