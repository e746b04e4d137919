"""``python -m jaxdl export``: a trained model for another machine or another runtime."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxdl.export.bundle import Bundle


FORMATS = {
    "bundle": "bundle",
    "onnx": "model.onnx",
    "stablehlo": "model.stablehlo",
    "safetensors": "variables.safetensors",
    "torch": "model_torch.safetensors",
}
"""Formats, and what each is called where --out is not given."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds this command's parser."""
    export = commands.add_parser(
        "export",
        help="write a run or bundle as a bundle, ONNX, StableHLO, safetensors, or for PyTorch",
        description="Writes the model of a run folder or a bundle in another form. bundle: a "
        "folder with weights, preprocessing, class names, results and a model card, for "
        "jaxdl.load_bundle. onnx and stablehlo: one file that takes raw uint8 images at any batch "
        "size; it is run beside the model and not written where they differ. safetensors: the "
        "weights by Flax's names. torch: a state_dict by PyTorch's names, in its layouts.",
        allow_abbrev=False,
    )
    export.add_argument("path", type=Path, metavar="RUN|BUNDLE", help="folder of a run or bundle")
    export.add_argument("--to", required=True, choices=list(FORMATS), help="the format")
    export.add_argument("--out", type=Path, help="file or folder; inside RUN by default")
    export.add_argument(
        "--checkpoint", choices=["best", "last"], help="of a run; the best where there is one"
    )
    export.add_argument(
        "--data_dir", type=Path, help="bundle: folder of the run's data, for the results by class"
    )
    export.add_argument("--intended_use", default="", help="bundle: a sentence for the model card")
    export.add_argument("--limits", default="", help="bundle: a sentence for the model card")
    export.add_argument(
        "--gradients", action="store_true",
        help="stablehlo: keep gradients; inputs are then float32 pixels from 0 to 1",
    )  # fmt: skip
    export.add_argument(
        "--tolerance", type=float, default=1e-5,
        help="onnx, stablehlo: largest difference from the model, of its largest output",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Exports a model, and returns the exit status."""
    from jaxdl.export.bundle import CARD, CONFIG, WEIGHTS, open_model

    bundle = open_model(options.path, which=options.checkpoint)
    out = options.out or options.path / FORMATS[options.to]
    if options.gradients and options.to != "stablehlo":
        raise ValueError("--gradients is for --to stablehlo.")
    if out.absolute() in (options.path.absolute() / name for name in (WEIGHTS, CONFIG, CARD)):
        raise ValueError(f"{out} belongs to the bundle; choose another --out.")
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
    from jaxdl.export.bundle import evaluate, save_bundle

    about = bundle.config.get("data", {})
    folder = options.data_dir or about.get("data_dir")
    # nothing is downloaded: where the data are not at hand, what the run has measured must do
    if about.get("name") and (folder is not None or about["name"] == "digits"):
        try:
            inputs, labels = _test_data(about["name"], folder)
        except (OSError, ValueError):
            if options.data_dir is not None:
                raise
        else:
            bundle = evaluate(bundle, inputs, labels)
            accuracy = bundle.config["metrics"]["test/accuracy"]
            kind = "sentences" if bundle.preprocessing.vocabulary else "images"
            print(f"{len(labels):,} test {kind} of {about['name']}: accuracy {accuracy:.4f}")
    if bundle.class_names and not bundle.config["by_class"]:
        print("the card has no results by class: give the folder of the data (--data_dir DIR)")
    save_bundle(out, bundle, intended_use=options.intended_use, limits=options.limits)


def _test_data(name: str, folder: Path | None) -> tuple[Any, Any]:
    """Raw inputs and labels of a set's test split."""
    from jaxdl import data

    if name == "sst2" and folder is not None:
        arrays = data.source_to_arrays(data.open(Path(folder) / name, split="dev"))
        return list(arrays["text"]), arrays["label"]
    test = data.load(name, folder).test
    return test["image"], test["label"]


def _write_program(options: argparse.Namespace, bundle: "Bundle", out: Path) -> None:
    rule, config = bundle.preprocessing, bundle.config
    dtype = "float32" if options.gradients else rule.dtype
    info = {
        "class_names": list(bundle.class_names),
        "model": config["model"],
        "preprocessing": {**rule.to_json(), "inside": True},
    }

    def function(inputs: Any) -> Any:
        return bundle.apply(bundle.variables, inputs)

    common: dict[str, Any] = {"tolerance": options.tolerance, "info": info}
    if options.to == "onnx":
        from jaxdl.export.onnx import write_onnx

        difference = write_onnx(out, function, rule.shape, dtype, **common)
    else:
        from jaxdl.export.stablehlo import write_stablehlo

        difference = write_stablehlo(
            out, function, rule.shape, dtype, gradients=options.gradients, **common
        )
    print(
        f"takes {dtype} (B, {', '.join(map(str, rule.shape))}), gives logits; at batch 1, 7 and 64 "
        f"within {difference:.1e} of the model"
    )


def _write_weights(options: argparse.Namespace, bundle: "Bundle", out: Path) -> None:
    from jaxdl.interop import params_to_torch, write_safetensors, write_variables

    out.parent.mkdir(parents=True, exist_ok=True)
    if options.to == "torch":
        write_safetensors(out, params_to_torch(bundle.variables), {"format": "pt"})
        return
    model = bundle.config["model"]
    metadata = {"format": "jaxdl", "model": model["name"], "fields": json.dumps(model["fields"])}
    write_variables(out, bundle.variables, metadata)
