"""What the layers inside a model put out, by name."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from jaxdl import tree
from jaxdl.types import Array, PyTree


def features(
    model: nn.Module,
    variables: PyTree,
    *inputs: Any,
    names: Sequence[str] | None = None,
    **options: Any,
) -> dict[str, Array]:
    """The outputs of the layers of a model, for feature extraction, maps and debugging.

    Under ``jit`` what nobody uses is not computed.

    Args:
        model: Linen module.
        variables: its variables, ``{"params": …, "batch_stats": …}``.
        *inputs: of the model's call.
        names: which outputs; None gives all of them.
        **options: keyword arguments of the model's call, ``train=False`` say.

    Returns:
        outputs by the layer's path, ``"layer1_0/conv1"``; ``""`` is the model's own. What a model
        sows into ``intermediates`` stands there under its path and name, ``"relu5_3"``.

    Raises:
        ValueError: a name that the model does not have; the message lists those that it has.

    Source: ``torch.nn.Module.register_forward_hook``,
    ``torchvision.models.feature_extraction``.
    """
    _, state = model.apply(
        variables, *inputs, capture_intermediates=True, mutable=["intermediates"], **options
    )
    found = {
        # Linen keeps a tuple of the outputs of every call: the first one is meant
        name.removesuffix("/0").removesuffix("__call__").rstrip("/"): array
        for name, array in tree.named_leaves(state["intermediates"]).items()
        if name.endswith("/0")
    }
    if names is None:
        return found
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ValueError(f"the model has no layer {unknown[0]!r}; it has {sorted(found)}.")
    return {name: found[name] for name in names}
