"""``python -m jaxdl convert``: PyTorch's weights into a model of jaxdl, checked layer by layer."""

import argparse
import importlib
import importlib.util
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxdl
from jaxdl import models, tree
from jaxdl._loading import LoadReport
from jaxdl.interop.state_dict import load_state_dict
from jaxdl.interop.verify import compare_layers, describe
from jaxdl.interop.weight_files import read_weights, write_variables
from jaxdl.models.convnet import StridedConvNet
from jaxdl.models.sequence import RecurrentClassifier


class Choice(NamedTuple):
    """A model of the command line.

    Attributes:
        make: the constructor; its fields are flags.
        shape: of one example that it takes, (H, W, C) say.
        torchvision: the constructor of its counterpart in ``torchvision.models``, if it has one.
        fixed: values of fields.
    """

    make: Callable[..., nn.Module]
    shape: tuple[int, ...]
    torchvision: str = ""
    fixed: tuple[tuple[str, Any], ...] = ()


MODELS = {
    "mlp": Choice(models.MLP, (28, 28, 1)),
    "lenet5": Choice(models.LeNet5, (28, 28, 1)),
    "lenet_max_pool": Choice(models.LeNetMaxPool, (32, 32, 3)),
    "convnet": Choice(models.ConvNet, (28, 28, 1)),
    "cnn": Choice(models.CNN, (28, 28, 1)),
    "mnist_cnn": Choice(models.MnistCNN, (28, 28, 1)),
    "batch_norm_convnet": Choice(models.BatchNormConvNet, (28, 28, 1)),
    "strided_convnet": Choice(StridedConvNet, (28, 28, 1)),
    "autoencoder": Choice(models.Autoencoder, (28, 28, 1)),
    "vae": Choice(models.VAE, (28, 28, 1)),
    "conv_vae": Choice(models.ConvVAE, (28, 28, 1)),
    # small images for networks that take any size: the check is as good and much quicker
    "resnet18": Choice(models.ResNet18, (64, 64, 3), "resnet18"),
    "resnet34": Choice(models.ResNet34, (64, 64, 3), "resnet34"),
    "resnet50": Choice(models.ResNet50, (64, 64, 3), "resnet50"),
    "resnet152": Choice(models.ResNet152, (64, 64, 3), "resnet152"),
    "vgg11": Choice(models.VGG11, (64, 64, 3), "vgg11"),
    "vgg16": Choice(models.VGG16, (64, 64, 3), "vgg16"),
    "vit_b_16": Choice(models.VisionTransformer, (224, 224, 3), "vit_b_16"),
    "lstm": Choice(RecurrentClassifier, (28, 28), fixed=(("cell", "lstm"),)),
    "gru": Choice(RecurrentClassifier, (28, 28), fixed=(("cell", "gru"),)),
}
"""The models that the command line knows by name."""


def run(options: argparse.Namespace, flags: Sequence[str]) -> int:
    """Loads a file into a model, prints the report, compares with PyTorch, and writes the result.

    Args:
        options: the command's own: ``file``, ``model``, ``key``, ``prefix``, ``rename``,
            ``leave_out``, ``partial``, ``dtype``, ``input_shape``, ``torch_module``,
            ``tolerance``, ``out``.
        flags: the rest of the command line: the model's fields.

    Returns:
        0 where the weights fit and the models agree, else 1, and then nothing is written.

    Raises:
        ValueError: a file that cannot be read, or weights that do not fit.
    """
    if options.model not in MODELS:
        raise ValueError(f"there is no model {options.model!r}; there are {', '.join(MODELS)}.")
    choice, fields = MODELS[options.model], parse_fields(options.model, flags)
    model = choice.make(**dict(choice.fixed), **fields)
    shape = tuple(options.input_shape or choice.shape)
    arrays = read_weights(options.file, key=options.key)
    size = sum(array.size for array in arrays.values())
    dtypes = ", ".join(sorted({str(array.dtype) for array in arrays.values()}))
    print(f"{options.file}: {len(arrays)} arrays, {size:,} numbers, {dtypes}")

    example = jnp.zeros((1, *shape))
    # new values are needed only where something is not loaded
    initial = jax.jit(model.init) if options.partial or options.leave_out else _shapes_of(model)
    variables, report = load_state_dict(
        arrays,
        initial(jax.random.key(0), example),
        strict=not options.partial,
        leave_out=options.leave_out,
        renames=[_split_rename(pair) for pair in options.rename],
        prefix=options.prefix,
        dtype=options.dtype,
    )
    print(report)
    agrees = _compare(options, choice, fields, model, variables, report, arrays, shape)
    if options.out and not agrees:
        print(f"{options.out} is not written: the models differ (--tolerance {options.tolerance})")
    elif options.out:
        metadata = {
            "format": "jaxdl",
            "version": jaxdl.__version__,
            "model": options.model,
            "fields": json.dumps({**dict(choice.fixed), **fields}),
            "source": Path(options.file).name,
        }
        write_variables(options.out, variables, metadata)
        print(f"wrote {options.out}: {tree.num_bytes(variables):,} bytes of weights")
    return 0 if agrees else 1


def parse_fields(name: str, flags: Sequence[str]) -> dict[str, Any]:
    """The fields of a model that stand on the command line; every field is a flag.

    Args:
        name: in :data:`MODELS`.
        flags: ``["--num_classes", "10", "--stem", "cifar"]``.

    Raises:
        SystemExit: an unknown flag, or a value of another type; argparse names it.

    >>> parse_fields("resnet18", ["--num_classes", "10", "--stem", "cifar"])
    {'num_classes': 10, 'stem': 'cifar'}
    """
    choice = MODELS[name]
    parser = argparse.ArgumentParser(
        prog=f"python -m jaxdl convert FILE --model {name}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    for field, parameter in inspect.signature(choice.make).parameters.items():
        default = parameter.default
        if field in ("parent", "name", *dict(choice.fixed)):
            continue
        if isinstance(default, bool):
            parser.add_argument(f"--{field}", action=argparse.BooleanOptionalAction)
        elif isinstance(default, tuple) and default:
            parser.add_argument(f"--{field}", nargs="+", type=type(default[0]))
        elif isinstance(default, int | float | str):
            parser.add_argument(f"--{field}", type=type(default))
    fields = vars(parser.parse_args(list(flags)))
    return {key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()}


def _shapes_of(model: nn.Module) -> Callable[..., Any]:
    return lambda key, example: jax.eval_shape(model.init, key, example)


def _split_rename(pair: str) -> tuple[str, str]:
    pattern, equals, replacement = pair.partition("=")
    if not equals:
        raise ValueError(f"--rename must be PATTERN=REPLACEMENT, got {pair!r}.")
    return pattern, replacement


def _compare(
    options: argparse.Namespace,
    choice: Choice,
    fields: dict[str, Any],
    model: nn.Module,
    variables: Any,
    report: LoadReport,
    arrays: dict[str, np.ndarray],
    shape: tuple[int, ...],
) -> bool:
    """Prints how far PyTorch's model is away; True where it agrees or cannot be run."""
    module, reason = _torch_module(options.torch_module, choice, fields, shape)
    if module is None:
        print(f"not compared with PyTorch: {reason}")
        return True
    everything = report.fits and not report.left_out
    sources = {name: name.removeprefix(report.prefix) for name in report.loaded.values()}
    if everything:
        sources = {name: name.removeprefix(report.prefix) for name in arrays}
    _load_into(module, {name: arrays[source] for source, name in sources.items()}, everything)
    layers = {}
    for leaf, source in report.loaded.items():
        layer, name = leaf.rsplit("/", 1)[0].partition("/")[2], sources[source]
        if name.rpartition(".")[2].startswith("in_proj_"):
            layer = layer.rpartition("/")[0]  # PyTorch has no layer of its own for it
        layers[layer] = name.rpartition(".")[0]
    if everything:
        layers["output"] = ""
    inputs = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    wide = jax.tree.map(
        lambda a: a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a, variables
    )
    text, agrees = describe(compare_layers(model, wide, module, inputs, layers), options.tolerance)
    print(f"largest difference from PyTorch on a random input, of the largest output:\n{text}")
    return agrees


def _torch_module(
    path: str | None, choice: Choice, fields: dict[str, Any], shape: tuple[int, ...]
) -> tuple[Any, str]:
    """PyTorch's model, or None and why there is none."""
    if importlib.util.find_spec("torch") is None:
        return None, "torch is not installed."
    if path is not None:
        name, colon, function = path.partition(":")
        if not colon:
            raise ValueError(f"--torch_module must be package.module:function, got {path!r}.")
        try:
            return getattr(importlib.import_module(name), function)(), ""
        except (ImportError, AttributeError) as error:
            raise ValueError(f"--torch_module {path} cannot be imported: {error}.") from error
    remedy = "give --torch_module package.module:function, which returns it."
    if not choice.torchvision:
        return None, f"torchvision does not have this model; {remedy}"
    others = sorted(fields.keys() - {"num_classes"})
    if others:
        return None, f"torchvision's has no {', '.join(others)}; {remedy}"
    if importlib.util.find_spec("torchvision") is None:
        return None, f"torchvision is not installed; {remedy}"
    make = getattr(importlib.import_module("torchvision.models"), choice.torchvision)
    size = {"image_size": shape[0]} if choice.torchvision.startswith("vit") else {}
    return make(**fields, **size), ""


def _load_into(module: Any, arrays: dict[str, np.ndarray], strict: bool) -> None:
    """Gives a PyTorch module the arrays, floating-point ones as float32."""
    import torch

    tensors = {}
    for name, array in arrays.items():
        dtype = np.float32 if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype
        tensors[name] = torch.from_numpy(np.array(array, dtype, order="C"))
    try:
        module.load_state_dict(tensors, strict=strict)
    except RuntimeError as error:
        raise ValueError(f"PyTorch's model does not take the file's weights: {error}") from error
