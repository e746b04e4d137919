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
        The exit status: 0 where all is well, 1 where the doctor found a problem or weights could
        not be converted.
    """
    parser = make_parser()
    options, rest = parser.parse_known_args(arguments)
    if options.command == "convert":
        return run_convert(options, rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
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
    convert = commands.add_parser(
        "convert",
        help="load PyTorch's weights into a model and compare it with PyTorch's, layer by layer",
        description="Loads a file of PyTorch's weights (safetensors or torch.save) into a model of "
        "jaxdl and says what fitted. Where torch is installed it runs both models on the same "
        "input and names the first layer that differs. Every field of the model is a flag too: "
        "--num_classes 10 --stem cifar. Exit status 0: all fits and agrees; 1: not.",
        allow_abbrev=False,
    )
    convert.add_argument("file", help="safetensors, its index, a .pth file, or their folder")
    convert.add_argument("--model", required=True, help="name of the model: resnet18, vit_b_16, …")
    convert.add_argument("--out", help="write the variables to this safetensors file")
    convert.add_argument("--key", help="where in a checkpoint the weights are: model, ema/model")
    convert.add_argument("--prefix", help="load only what stands under this prefix: backbone.")
    convert.add_argument(
        "--rename", action="append", default=[], metavar="PATTERN=REPLACEMENT",
        help="regular expression that turns PyTorch's names into ours; may be repeated",
    )  # fmt: skip
    convert.add_argument(
        "--leave_out", action="append", default=[], metavar="PATTERN",
        help="names that are not loaded, such as those of a head; may be repeated",
    )  # fmt: skip
    convert.add_argument("--partial", action="store_true", help="load what fits by name and shape")
    convert.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="convert the numbers to this"
    )
    convert.add_argument(
        "--input_shape", type=int, nargs="+", help="of one example: 224 224 3; sets ViT's positions"
    )
    convert.add_argument(
        "--torch_module", metavar="PACKAGE.MODULE:FUNCTION",
        help="function that returns PyTorch's model; torchvision's where it has the model",
    )  # fmt: skip
    convert.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference that counts as equal"
    )
    return parser


def run_convert(options: argparse.Namespace, flags: Sequence[str]) -> int:
    """Converts weights, and returns the exit status."""
    from jaxdl.interop import convert  # imports JAX, which the doctor must do without

    try:
        return convert.run(options, flags)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


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
