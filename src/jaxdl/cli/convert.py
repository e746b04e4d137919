"""``python -m jaxdl convert``: PyTorch's weights into a model, checked layer by layer."""

import argparse

TAKES_REST = True
"""Every field of the model is a flag, so the parser does not know them all."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "convert",
        help="load PyTorch's weights into a model and compare it with PyTorch's, layer by layer",
        description="Loads a file of PyTorch's weights (safetensors or torch.save) into a model of "
        "jaxdl and says what fitted. Where torch is installed it runs both models on the same "
        "input and names the first layer that differs. Every field of the model is a flag too: "
        "--num_classes 10 --stem cifar. Exit status 0: all fits and agrees; 1: not.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="safetensors, its index, a .pth file, or their folder")
    parser.add_argument("--model", required=True, help="name of the model: resnet18, vit_b_16, …")
    parser.add_argument("--out", help="write the variables to this safetensors file")
    parser.add_argument("--key", help="where in a checkpoint the weights are: model, ema/model")
    parser.add_argument("--prefix", help="load only what stands under this prefix: backbone.")
    parser.add_argument(
        "--rename", action="append", default=[], metavar="PATTERN=REPLACEMENT",
        help="regular expression that turns PyTorch's names into ours; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--leave_out", action="append", default=[], metavar="PATTERN",
        help="names that are not loaded, such as those of a head; may be repeated",
    )  # fmt: skip
    parser.add_argument("--partial", action="store_true", help="load what fits by name and shape")
    parser.add_argument(
        "--dtype", choices=["float32", "bfloat16", "float16"], help="convert the numbers to this"
    )
    parser.add_argument(
        "--input_shape", type=int, nargs="+", help="of one example: 224 224 3; sets ViT's positions"
    )
    parser.add_argument(
        "--torch_module", metavar="PACKAGE.MODULE:FUNCTION",
        help="function that returns PyTorch's model; torchvision's where it has the model",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="largest difference that counts as equal"
    )


def run(options: argparse.Namespace) -> int:
    """Converts weights, and returns the exit status."""

    from jaxdl.cli import _convert

    return _convert.run(options, options.rest)
