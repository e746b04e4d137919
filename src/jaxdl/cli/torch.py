"""``python -m jaxdl torch``: the counterpart of a PyTorch name."""

import argparse
import sys

from jaxdl._pytorch_names import Row, find_rows, similar_names


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "torch",
        help="show the counterpart of a PyTorch name",
        description="Shows the counterpart of each name, the difference, and both in code. A name "
        "may be full, such as torch.nn.Linear, or its end, such as Linear. Exit status: 0, or 1 if "
        "a name is not in the dictionary.",
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="e.g. CrossEntropyLoss")


def run(options: argparse.Namespace) -> int:
    """Prints the rows of each name, and returns the exit status."""
    status = 0
    for name in options.names:
        rows = find_rows(name)
        for row in rows:
            print(_describe(row))
        if not rows:
            near = similar_names(name)
            hint = f"; similar names: {', '.join(near)}" if near else ""
            print(f"{name} is not in the dictionary{hint}.", file=sys.stderr)
            status = 1
    return status


def _describe(row: Row) -> str:
    lines = [row.torch, f"  jaxdl    {row.jax}"]
    if row.difference:
        lines.append(f"  note     {row.difference}")
    if row.code:
        lines += [f"  PyTorch  {row.pytorch}", f"  JAX      {row.code}"]
    return "\n".join(lines)
