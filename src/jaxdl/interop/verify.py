"""Conversion of PyTorch's weights, checked against PyTorch layer by layer."""

import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxdl._loading import LoadReport
from jaxdl._text import align_table
from jaxdl.interop.state_dict import load_state_dict
from jaxdl.interop.weight_files import read_weights
from jaxdl.nn import features
from jaxdl.types import Array, PyTree, call_options

TorchModule = Any  # a torch.nn.Module, which is imported only where it is given

CAUSES = {
    "Conv": "padding, stride or dilation; 'SAME' is not PyTorch's padding=k//2 where the stride is "
    "above 1",
    "ConvTranspose": "padding or output_padding, or a kernel that is flipped, as "
    "flax.linen.ConvTranspose has it and jaxdl.nn.ConvTranspose not",
    "Linear": "what is before it: the order of flattening behind a convolution (channels first: "
    "jaxdl.nn.flatten), or another activation (GELU: exact in PyTorch, tanh in Linen by default)",
    "BatchNorm": "epsilon (1e-5 in PyTorch and jaxdl), running statistics that were not loaded, or "
    "a model that is not in evaluation mode",
    "LayerNorm": "epsilon: 1e-5 in PyTorch, 1e-6 in Linen by default",
    "GroupNorm": "epsilon (1e-5 in PyTorch, 1e-6 in Linen by default) or the number of groups",
    "LSTM": "the order of the gates (i, f, g, o), one bias in place of two, or batch_first",
    "GRU": "the order of the gates (r, z, n), the reset gate on the bias too, or batch_first",
    "RNN": "tanh or ReLU, or batch_first",
    "Embedding": "max_norm, or a scale behind the table",
    "MultiheadAttention": "the mask, the number of heads, or the scale of the scores",
}
"""The usual cause by the beginning of PyTorch's class, the longer name first where two fit."""


class Difference(NamedTuple):
    """Difference between the outputs of one layer.

    Attributes:
        layer: our name; ``"output"`` is the model's own.
        kind: PyTorch's class.
        value: largest difference, relative to PyTorch's largest output; None if the shapes differ.
        note: the shapes, if they differ.
    """

    layer: str
    kind: str
    value: float | None
    note: str = ""


class Report(NamedTuple):
    """Result of :func:`convert`; ``str(report)`` is for people.

    Attributes:
        source: the file, its arrays and dtypes.
        variables: of the model.
        loaded: what was loaded.
        differences: of every layer from PyTorch's; None if they were not compared.
        reason: why not.
        tolerance: the largest difference that counts as equal.
    """

    source: str
    variables: PyTree
    loaded: LoadReport
    differences: list[Difference] | None
    reason: str
    tolerance: float

    @property
    def agrees(self) -> bool:
        """True if all layers agree, or were not compared."""
        return self.differences is None or describe(self.differences, self.tolerance)[1]

    def __str__(self) -> str:
        if self.differences is None:
            return f"{self.source}\n{self.loaded}\nnot compared with PyTorch: {self.reason}"
        table, _ = describe(self.differences, self.tolerance)
        title = "largest difference from PyTorch on a random input, of the largest output:"
        return f"{self.source}\n{self.loaded}\n{title}\n{table}"


class LoadOptions(TypedDict, total=False):
    """Options of :func:`~jaxdl.interop.load_state_dict`."""

    strict: bool
    leave_out: str | Sequence[str]
    renames: Sequence[tuple[str, str]]
    prefix: str | None
    tied: Mapping[str, str] | None
    dtype: DTypeLike | None


def convert(
    path: Path | str,
    model: nn.Module,
    input_shape: Sequence[int],
    *,
    key: str | None = None,
    torch_module: Callable[[], TorchModule] | None = None,
    reason: str = "no torch_module was given.",
    tolerance: float = 1e-4,
    **options: Unpack[LoadOptions],
) -> Report:
    """Loads a file of PyTorch's weights into a model and compares it with PyTorch's.

    Args:
        path: file, index or folder, as for :func:`~jaxdl.interop.read_weights`.
        model: Linen model; its call gets ``train`` or ``deterministic`` if it takes that.
        input_shape: shape of one example, such as (H, W, C).
        key: place of the state_dict in a checkpoint, as for :func:`~jaxdl.interop.read_weights`.
        torch_module: makes the ``torch.nn.Module``; None compares nothing.
        reason: why there is no ``torch_module``, for the report.
        tolerance: largest difference that counts as equal.
        **options: of :func:`~jaxdl.interop.load_state_dict`.

    Raises:
        ValueError: a file that cannot be read, an input that does not fit the model, weights that
            fit neither it nor ``torch_module``.
    """
    arrays = read_weights(path, key=key)
    size = sum(array.size for array in arrays.values())
    dtypes = ", ".join(sorted({str(array.dtype) for array in arrays.values()}))
    source = f"{path}: {len(arrays)} arrays, {size:,} numbers, {dtypes}"
    # initial values are needed only if something is not loaded
    whole = options.get("strict", True) and not options.get("leave_out")
    init = functools.partial(model.init, **call_options(model, train=False))
    initialize = functools.partial(jax.eval_shape, init) if whole else jax.jit(init)
    try:
        target = initialize(jax.random.key(0), jnp.zeros((1, *input_shape)))
    except Exception as error:  # whatever a model raises
        words = " ".join(str(error).split())[:300]
        raise ValueError(
            f"{type(model).__name__} does not take inputs of shape {(1, *input_shape)}: {words}"
        ) from error
    variables, loaded = load_state_dict(arrays, target, **options)
    differences = None
    if torch_module is not None:
        module = torch_module()
        layers = _load_into(module, arrays, loaded)
        inputs = np.random.default_rng(0).normal(size=(2, *input_shape)).astype(np.float32)
        differences = compare_layers(model, _as_float32(variables), module, inputs, layers)
    return Report(source, variables, loaded, differences, reason, tolerance)


def torchvision_model(
    name: str, fields: Mapping[str, Any], input_shape: Sequence[int]
) -> tuple[Callable[[], TorchModule] | None, str]:
    """The counterpart in torchvision of one of our models.

    Args:
        name: of our class or constructor.
        fields: its fields other than the defaults.
        input_shape: (H, W, C).

    Returns:
        a function that makes the module, or None and the reason.
    """
    for package in ("torch", "torchvision"):
        if importlib.util.find_spec(package) is None:
            return None, f"{package} is not installed."
    theirs = {"VisionTransformer": "vit_b_16"}.get(name, name.lower())
    make = getattr(importlib.import_module("torchvision.models"), theirs, None)
    if make is None:
        return None, f"torchvision does not have {name}; pass its module (--torch_module)."
    others = sorted(fields.keys() - {"num_classes"})
    if others:
        return None, f"torchvision's has no {', '.join(others)}; pass its module (--torch_module)."
    size = {"image_size": input_shape[0]} if theirs.startswith("vit") else {}
    return functools.partial(make, **fields, **size), ""


def _load_into(
    module: TorchModule, arrays: Mapping[str, np.ndarray], loaded: LoadReport
) -> dict[str, str]:
    """Loads the same weights into PyTorch's model, as float32; returns its layers by ours."""
    import torch

    whole = loaded.fits and not loaded.left_out
    used = arrays if whole else set(loaded.loaded.values())
    sources = {name: name.removeprefix(loaded.prefix) for name in used}
    tensors = {}
    for source, name in sources.items():
        floating = jnp.issubdtype(arrays[source].dtype, jnp.floating)
        dtype = np.float32 if floating else arrays[source].dtype
        tensors[name] = torch.from_numpy(np.array(arrays[source], dtype, order="C"))
    try:
        module.load_state_dict(tensors, strict=whole)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"PyTorch's model does not take the file's weights: {reason}") from error
    layers = {}
    for leaf, source in loaded.loaded.items():
        layer, name = leaf.rsplit("/", 1)[0].partition("/")[2], sources[source]
        if name.rpartition(".")[2].startswith("in_proj_"):
            layer = layer.rpartition("/")[0]  # PyTorch has no separate layer for it
        layers[layer] = name.rpartition(".")[0]
    return layers | ({"output": ""} if whole else {})


def _as_float32(variables: PyTree) -> PyTree:
    def widen(leaf: Array) -> Array:
        floating = jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(jnp.float32) if floating else leaf

    return jax.tree.map(widen, variables)


def compare_layers(
    model: nn.Module,
    variables: PyTree,
    module: TorchModule,
    inputs: np.ndarray,
    layers: Mapping[str, str],
) -> list[Difference]:
    """Compares the outputs of all layers of two models on the same input, in evaluation mode.

    Args:
        model: Linen model; its call gets ``train`` or ``deterministic`` if it takes that.
        variables: its variables.
        module: the ``torch.nn.Module`` with the same weights; it is put in evaluation mode.
        inputs: as the Linen model takes them; images (B, H, W, C) are given to PyTorch as
            (B, C, H, W).
        layers: PyTorch's name of a layer by ours; ``"output"`` and ``""`` are the models' own.

    Returns:
        one :class:`Difference` per layer in the order in which PyTorch runs them, the first call of
        each, and one for every output of the model.
    """
    theirs, kinds = _torch_outputs(module, inputs)

    options = call_options(model, train=False)

    @jax.jit
    def run(variables: PyTree, inputs: Array) -> tuple[dict[str, Array], PyTree]:
        inside = features(model, variables, inputs, **options)
        return inside, model.apply(variables, inputs, **options)

    with jax.default_matmul_precision("highest"):
        inside, outputs = run(variables, inputs)
    ours = {name: [array] for name, array in inside.items()}
    ours["output"] = jax.tree.leaves(outputs)
    names = {theirs_name: name for name, theirs_name in layers.items() if name in ours}
    return [
        _compare(names[name], kinds[name], a, b)
        for name, arrays in theirs.items()
        if name in names
        for a, b in zip(ours[names[name]], arrays, strict=False)
    ]


def describe(differences: Sequence[Difference], tolerance: float) -> tuple[str, bool]:
    """The differences as a table, with the first that is too large and its usual cause.

    Args:
        differences: of :func:`compare_layers`.
        tolerance: the largest difference that counts as equal.

    Returns:
        the text, and True if all agree.

    >>> text, agree = describe([Difference("fc", "Linear", 0.5)], 1e-4)
    >>> print(text.split(". The usual")[0])
    fc  5.0e-01  Linear  <- differs
    The first layer that differs is fc
    """
    if not differences:
        return "No layer could be compared.", False
    rows = []
    for layer, kind, value, note in differences:
        number = "not compared" if value is None else f"{value:.1e}"
        mark = "  <- differs" if value is not None and not value <= tolerance else ""
        rows.append([layer, number, f"{kind}{note}{mark}"])
    lines = [align_table([], rows, align="<><")]
    wrong = [each for each in differences if each.value is not None and not each.value <= tolerance]
    if wrong:
        first = wrong[0]
        lines.append(f"The first layer that differs is {first.layer}. {_usual_cause(first)}")
    elif differences[-1].value is None:
        lines.append("The outputs cannot be compared: their shapes differ.")
        return "\n".join(lines), False
    else:
        lines.append(f"All layers agree to {tolerance:.0e} of their largest output.")
    return "\n".join(lines), not wrong


def _usual_cause(difference: Difference) -> str:
    if difference.layer == "output":
        return (
            "The layers agree, so it is what comes after the last one: a softmax or sigmoid, which "
            "in jaxdl belongs to the loss."
        )
    kinds = sorted((kind for kind in CAUSES if difference.kind.startswith(kind)), key=len)
    if not kinds:
        return "Compare the code of the two layers."
    return f"The usual cause: {CAUSES[kinds[-1]]}."


def _torch_outputs(module: Any, inputs: np.ndarray) -> tuple[dict[str, list], dict[str, str]]:
    """Outputs by the layer's name, in the order of their first call, and the layers' classes."""
    import torch

    outputs: dict[str, list[np.ndarray]] = {}
    kinds = {name: type(layer).__name__ for name, layer in module.named_modules()}

    def keep(name: str) -> Any:
        def hook(layer: Any, arguments: Any, output: Any) -> None:
            if name not in outputs:
                # copies: an activation may work in place
                outputs[name] = [array.numpy().copy() for array in _tensors(output)]

        return hook

    module.eval()
    handles = [layer.register_forward_hook(keep(name)) for name, layer in module.named_modules()]
    channels_first = np.moveaxis(inputs, -1, 1) if inputs.ndim == 4 else inputs
    try:
        with torch.no_grad():
            module(torch.from_numpy(channels_first.copy()))
    finally:
        for handle in handles:
            handle.remove()
    return outputs, kinds


def _tensors(output: Any) -> list[Any]:
    if isinstance(output, Mapping):
        output = tuple(output.values())
    if isinstance(output, tuple | list):
        return [tensor for each in output for tensor in _tensors(each)]
    return [output] if hasattr(output, "detach") else []


def _compare(layer: str, kind: str, ours: Any, theirs: np.ndarray) -> Difference:
    ours = np.asarray(ours, np.float64)
    theirs = np.moveaxis(theirs, 1, -1) if theirs.ndim == 4 else theirs
    if theirs.shape[0] != ours.shape[0] or theirs.size != ours.size:
        # a convolution that pools too, queries, keys and values in one
        return Difference(layer, kind, None, f" {theirs.shape}, here {ours.shape}")
    difference = np.abs(ours - theirs.reshape(ours.shape)).max(initial=0)
    return Difference(layer, kind, float(difference / max(np.abs(theirs).max(initial=0), 1e-30)))
