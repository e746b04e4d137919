"""``python -m jaxdl convert``: PyTorch's weights into a model, checked layer by layer."""

import argparse
import contextlib
import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TAKES_REST = True
"""Every field of the model is a flag, so the parser cannot list them all."""


INPUT_SHAPES = {
    # small images for networks that take any size: the check is as good and much faster
    "ResNet": (64, 64, 3), "VGG": (64, 64, 3), "VisionTransformer": (224, 224, 3),
    "LeNetMaxPool": (32, 32, 3), "RecurrentClassifier": (28, 28), "": (28, 28, 1),
}  # fmt: skip
"""Default shapes of an example by the beginning of the model's name."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "convert",
        help="load PyTorch's weights into a model and compare it with PyTorch's, layer by layer",
        description="Loads a file of PyTorch's weights (safetensors or torch.save) into a model of "
        "jaxdl and reports what was loaded. If torch is installed, both models run on the same "
        "input, and the first layer that differs is named. Every field of the model is a flag: "
        "--num_classes 10 --stem cifar. Exit status 0: all fits and agrees; 1: not.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", help="safetensors, its index, a .pth file, or their folder")
    add("--model", required=True, help="name in jaxdl.models: ResNet18 or resnet18, MLP, …")
    add("--out", type=Path, help="write the variables to this safetensors file")
    add("--key", help="place of the weights in a checkpoint: model, ema/model")
    add("--prefix", help="load only names with this prefix: backbone.")
    add(
        "--rename",
        action="append",
        default=[],
        metavar="PATTERN=REPLACEMENT",
        help="regular expression that turns PyTorch's names into ours; may be repeated",
    )
    add(
        "--leave_out",
        action="append",
        default=[],
        metavar="PATTERN",
        help="names that are not loaded, such as those of a head; may be repeated",
    )
    add("--partial", action="store_true", help="load what fits by name and shape")
    add("--dtype", choices=["float32", "bfloat16", "float16"], help="convert the numbers to this")
    add("--input_shape", type=int, nargs="+", help="of one example: 224 224 3")
    add(
        "--torch_module",
        metavar="PACKAGE.MODULE:FUNCTION",
        help="function that returns PyTorch's model; torchvision's by default, if it has one",
    )
    add("--tolerance", type=float, default=1e-4, help="largest difference that counts as equal")


def run(options: argparse.Namespace) -> int:
    """Converts weights, and returns the exit status."""
    from jaxdl import tree
    from jaxdl._versions import version
    from jaxdl.interop import verify, write_variables

    name, make = find_model(options.model)
    fields = parse_fields(make, options.rest)
    start = next(start for start in INPUT_SHAPES if name.startswith(start))
    shape = tuple(options.input_shape or INPUT_SHAPES[start])
    if options.torch_module:
        module: Any = import_function(options.torch_module)
        reason = ""
    else:
        module, reason = verify.torchvision_model(name, fields, shape)
    report = verify.convert(
        options.file,
        make(**fields),
        shape,
        key=options.key,
        torch_module=module,
        reason=reason,
        tolerance=options.tolerance,
        strict=not options.partial,
        leave_out=options.leave_out,
        renames=[_split_rename(pair) for pair in options.rename],
        prefix=options.prefix,
        dtype=options.dtype,
    )
    print(report)
    if options.out and not report.agrees:
        print(f"{options.out} is not written: the models differ (--tolerance {options.tolerance})")
    elif options.out:
        metadata = {
            "format": "jaxdl",
            "version": version("jaxdl") or "",
            "model": name,
            "fields": json.dumps(fields),
            "source": Path(options.file).name,
        }
        write_variables(options.out, report.variables, metadata)
        print(f"wrote {options.out}: {tree.num_bytes(report.variables):,} bytes of weights")
    return 0 if report.agrees else 1


def find_model(name: str) -> tuple[str, Callable[..., Any]]:
    """The name and the constructor of a model in jaxdl.models.

    Args:
        name: public name, whose case and underscores do not matter, or ``module.Name``.

    Raises:
        ValueError: model not found.

    >>> find_model("lenet_max_pool")[0], find_model("convnet.StridedConvNet")[0]
    ('LeNetMaxPool', 'StridedConvNet')
    """
    from jaxdl import models

    module, dot, attribute = name.rpartition(".")
    if dot:
        with contextlib.suppress(ImportError, AttributeError):
            made = getattr(importlib.import_module(f"jaxdl.models.{module}"), attribute)
            return attribute, made
    by_name = {each.lower(): each for each in dir(models) if each[:1].isupper()}
    found = by_name.get(name.replace("_", "").lower())
    if found is None:
        raise ValueError(f"model not found: {name!r} (expected one of {', '.join(by_name)}).")
    return found, getattr(models, found)


def parse_fields(make: Callable[..., Any], flags: Sequence[str]) -> dict[str, Any]:
    """The fields of a model on the command line; every field is a flag.

    Args:
        make: the constructor.
        flags: ``["--num_classes", "10", "--stem", "cifar"]``.

    Raises:
        SystemExit: an unknown flag, or a value of another type; argparse names it.

    >>> parse_fields(find_model("resnet18")[1], ["--num_classes", "10", "--stem", "cifar"])
    {'num_classes': 10, 'stem': 'cifar'}
    """
    parser = argparse.ArgumentParser(
        prog="python -m jaxdl convert", argument_default=argparse.SUPPRESS,
        allow_abbrev=False, add_help=False,
    )  # fmt: skip
    for field, parameter in inspect.signature(make).parameters.items():
        default = parameter.default
        if field in ("parent", "name"):
            continue
        if isinstance(default, bool):
            parser.add_argument(f"--{field}", action=argparse.BooleanOptionalAction)
        elif isinstance(default, tuple) and default:
            parser.add_argument(f"--{field}", nargs="+", type=type(default[0]))
        elif isinstance(default, int | float | str):
            parser.add_argument(f"--{field}", type=type(default))
    fields = vars(parser.parse_args(list(flags)))
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}


def import_function(path: str) -> Callable[[], Any]:
    """The function of ``package.module:function``."""
    name, colon, function = path.partition(":")
    if not colon:
        raise ValueError(f"--torch_module must be package.module:function, got {path!r}.")
    try:
        found: Callable[[], Any] = getattr(importlib.import_module(name), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--torch_module {path} cannot be imported: {error}.") from error
    return found


def _split_rename(pair: str) -> tuple[str, str]:
    pattern, equals, replacement = pair.partition("=")
    if not equals:
        raise ValueError(f"--rename must be PATTERN=REPLACEMENT, got {pair!r}.")
    return pattern, replacement
