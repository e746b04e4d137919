"""A model in PyTorch and in jaxdl on the same input: how far apart they are, layer by layer."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxdl._text import align_table
from jaxdl.nn import features
from jaxdl.types import PyTree

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
    """How far one layer's outputs are apart.

    Attributes:
        layer: our name; ``"output"`` is the model's own.
        kind: PyTorch's class.
        value: the largest difference, relative to the largest output of PyTorch's; None where the
            shapes differ.
        note: the shapes, where they differ.
    """

    layer: str
    kind: str
    value: float | None
    note: str = ""


def compare_layers(
    model: nn.Module,
    variables: PyTree,
    module: Any,
    inputs: np.ndarray,
    layers: Mapping[str, str],
) -> list[Difference]:
    """Runs both models in evaluation mode on the same input and compares what layers put out.

    Args:
        model: Linen's; its call takes ``train``.
        variables: its variables.
        module: the ``torch.nn.Module`` with the same weights; it is put in evaluation mode.
        inputs: as the Linen model takes them; a batch of images (B, H, W, C) is given to PyTorch as
            (B, C, H, W).
        layers: PyTorch's name of a layer by ours; ``"output"`` and ``""`` are the models' own.

    Returns:
        one :class:`Difference` a layer in the order in which PyTorch runs them, the first call of
        each, and one for every output of the model.
    """
    theirs, kinds = _torch_outputs(module, inputs)

    @jax.jit
    def run(variables: PyTree, inputs: Any) -> tuple[dict[str, Any], Any]:
        inside = features(model, variables, inputs, train=False)
        return inside, model.apply(variables, inputs, train=False)

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
        the text, and whether all agree.

    >>> text, agree = describe([Difference("fc", "Linear", 0.5)], 1e-4)
    >>> print(text.split(". The usual")[0])
    fc  5.0e-01  Linear  <- differs
    The first layer that differs is fc
    """
    rows = []
    for layer, kind, value, note in differences:
        number = "not compared" if value is None else f"{value:.1e}"
        mark = "  <- differs" if value is not None and not value <= tolerance else ""
        rows.append([layer, number, f"{kind}{note}{mark}"])
    lines = [align_table((), rows, align="<><")]
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
