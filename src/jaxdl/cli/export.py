"""``python -m jaxdl export``: a trained model for another machine or another runtime."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxdl._text import plural
from jaxdl.cli._arguments import add_checkpoint, tolerance

if TYPE_CHECKING:
    import numpy as np

    from jaxdl.export.bundle import Bundle
    from jaxdl.types import Array, PyTree

FORMATS = {
    "bundle": "bundle",
    "onnx": "model.onnx",
    "stablehlo": "model.stablehlo",
    "safetensors": "variables.safetensors",
    "torch": "model_torch.safetensors",
}
"""Formats, with the default names of their files."""


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds this command's parser."""
    parser = commands.add_parser(
        "export",
        help="write a run or bundle as a bundle, ONNX, StableHLO, safetensors, or for PyTorch",
        description="Writes the model of a run folder or a bundle in another format. bundle: a "
        "folder with weights, preprocessing, class names, results and a model card, for "
        "jaxdl.load_bundle. onnx, stablehlo: one file that takes raw inputs at any batch size; it "
        "is compared with the model and not written if they differ. safetensors: the weights by "
        "Flax's names. torch: a state_dict by PyTorch's names, in its layouts.",
        allow_abbrev=False,
    )
    parser.add_argument("path", type=Path, metavar="RUN|BUNDLE", help="folder of a run or bundle")
    parser.add_argument("--to", required=True, choices=list(FORMATS), help="format")
    parser.add_argument("--out", type=Path, help="file or folder; default: inside RUN")
    add_checkpoint(parser)
    parser.add_argument(
        "--data_dir", type=Path, help="bundle: folder of the run's data, for the results by class"
    )
    parser.add_argument("--intended_use", default="", help="bundle: a sentence for the model card")
    parser.add_argument("--limits", default="", help="bundle: a sentence for the model card")
    parser.add_argument(
        "--gradients",
        action="store_true",
        help="stablehlo: keep gradients; the inputs are then float32 pixels from 0 to 1",
    )
    parser.add_argument(
        "--tolerance",
        type=tolerance,
        default=1e-5,
        help="onnx, stablehlo: largest difference from the model, relative to its largest output",
    )


def run(options: argparse.Namespace) -> int:
    """Exports a model, and returns the exit status."""
    from jaxdl.export.bundle import open_model, reserved_names

    if options.gradients and options.to != "stablehlo":
        raise ValueError("--gradients is for --to stablehlo.")
    bundle = open_model(options.path, which=options.checkpoint)
    if options.gradients and bundle.forward is not None:
        raise ValueError(
            "--gradients needs a class of jaxdl.models: the program of another network keeps no "
            "gradients."
        )
    out = options.out or options.path / FORMATS[options.to]
    if out.absolute() in (options.path.absolute() / name for name in reserved_names()):
        raise ValueError(f"{out} is a file of the model itself; choose another --out.")
    if out.is_dir() and options.to != "bundle":
        raise ValueError(f"--out {out} is a folder, expected a file for --to {options.to}.")
    if options.to == "bundle":
        _write_bundle(options, bundle, out)
    elif options.to in ("onnx", "stablehlo"):
        _write_program(options, bundle, out)
    else:
        _write_weights(options, bundle, out)
    size = sum(each.stat().st_size for each in ([out] if out.is_file() else out.iterdir()))
    print(f"wrote {out}: {size:,} bytes")
    return 0


def _write_bundle(options: argparse.Namespace, bundle: "Bundle", out: Path) -> None:
    from jaxdl.export.bundle import save_bundle

    about: Mapping[str, Any] = bundle.config.get("data", {})
    name, folder = about.get("name"), options.data_dir or about.get("data_dir")
    # nothing is downloaded: without the data the metrics of the run have to do
    if isinstance(name, str) and (folder is not None or name == "digits"):
        try:
            inputs, labels = _test_data(name, folder)
        except (OSError, ValueError):
            if options.data_dir is not None:
                raise
        else:
            bundle = bundle.evaluate(inputs, labels)
            accuracy = bundle.config["metrics"]["test/accuracy"]
            kind = "sentence" if bundle.preprocessing.vocabulary else "image"
            print(f"{plural(len(labels), f'test {kind}')} of {name}: accuracy {accuracy:.4f}")
    if bundle.class_names and not bundle.config.get("by_class"):
        print("no results by class in the card: add --data_dir DIR with the data of the run")
    save_bundle(out, bundle, intended_use=options.intended_use, limits=options.limits)


def _test_data(name: str, folder: Path | str | None) -> "tuple[np.ndarray | list[str], np.ndarray]":
    """Raw inputs and labels of the test split of a data set."""
    from jaxdl import data

    if name == "sst2" and folder is not None:
        arrays = data.source_to_arrays(data.open(Path(folder) / name, split="dev"))
        return list(arrays["text"]), arrays["label"]
    test = data.load(name, folder).test
    return test["image"], test["label"]


def _write_program(options: argparse.Namespace, bundle: "Bundle", out: Path) -> None:
    from jaxdl.export import write_onnx, write_stablehlo

    rule, config = bundle.preprocessing, bundle.config
    dtype = "float32" if options.gradients else rule.dtype
    info = {
        "class_names": list(bundle.class_names),
        "model": config["model"],
        "preprocessing": {**rule.to_json(), "inside": True},
    }

    def function(inputs: "Array") -> "PyTree":
        return bundle.apply(bundle.variables, inputs)

    common: dict[str, Any] = {"tolerance": options.tolerance, "info": info}
    if options.to == "stablehlo":
        common["gradients"] = options.gradients
    write = write_onnx if options.to == "onnx" else write_stablehlo
    difference = write(out, function, rule.shape, dtype, **common)
    kind = "logits" if bundle.class_names else "outputs"
    print(
        f"takes {dtype} (B, {', '.join(map(str, rule.shape))}), returns {kind}; at batch 1, 7 and "
        f"64 within {difference:.1e} of the model"
    )


def _write_weights(options: argparse.Namespace, bundle: "Bundle", out: Path) -> None:
    from jaxdl.interop import params_to_torch, write_safetensors, write_variables

    out.parent.mkdir(parents=True, exist_ok=True)
    if options.to == "torch":
        write_safetensors(out, params_to_torch(bundle.variables), {"format": "pt"})
        return
    model = bundle.config["model"]
    name, fields = model.get("name") or model["class"], json.dumps(model.get("fields", {}))
    metadata = {"format": "jaxdl", "model": name, "fields": fields}
    write_variables(out, bundle.variables, metadata)
