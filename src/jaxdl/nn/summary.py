"""Shapes and values of the intermediates of a model."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from jaxdl import tree
from jaxdl._text import align_table, format_form
from jaxdl.types import Array, PyTree


def features(
    model: nn.Module,
    variables: PyTree,
    *inputs: PyTree,
    names: Sequence[str] | None = None,
    **options: PyTree,
) -> dict[str, Array]:
    """Outputs of the layers of a model, for feature extraction, plots and debugging.

    Under ``jit`` only outputs that are used are computed.

    Args:
        model: Linen module.
        variables: its variables, ``{"params": …, "batch_stats": …}``.
        *inputs: inputs of the model's call.
        names: names of the outputs to return; None returns all of them.
        **options: keyword arguments of the model's call, e.g. ``train=False``.

    Returns:
        outputs by the layer's path, ``"layer1_0/conv1"``; ``""`` is the model's own. Of several
        arrays the first has the layer's name, ``"LSTM_0"``, and the others their place after it,
        ``"LSTM_0/1/0"`` and ``"LSTM_0/1/1"``. Values that a model sows into ``intermediates`` are
        found under their path and name, ``"relu5_3"``.

    Raises:
        ValueError: a name that the model does not have; the message lists those that it has.

    Source: ``torch.nn.Module.register_forward_hook``,
    ``torchvision.models.feature_extraction``.

    >>> import jax.numpy as jnp
    >>> model, x = nn.Sequential([nn.Dense(3), nn.relu]), jnp.ones((2, 4))
    >>> variables = model.init(jax.random.key(0), x)
    >>> {name: output.shape for name, output in features(model, variables, x).items()}
    {'': (2, 3), 'layers_0': (2, 3)}
    """
    _, state = model.apply(
        variables, *inputs, capture_intermediates=True, mutable=["intermediates"], **options
    )
    leaves, _ = jax.tree_util.tree_flatten_with_path(state["intermediates"])
    found = {}
    for path, array in leaves:
        # Linen keeps a tuple of the outputs of every call; the first call counts
        calls = [i for i, key in enumerate(path) if isinstance(key, jax.tree_util.SequenceKey)]
        if calls and path[calls[0]].idx == 0:
            layer = tree.leaf_name(path[: calls[0]]).removesuffix("__call__").rstrip("/")
            part = tree.leaf_name(path[calls[0] + 1 :])
            is_first = set(part) <= {"0", "/"}
            found[layer if is_first else f"{layer}/{part}".lstrip("/")] = array
    if names is None:
        return found
    unknown = [name for name in names if name not in found]
    if unknown:
        raise ValueError(f"the model has no layer {unknown[0]!r}; it has {sorted(found)}.")
    return {name: found[name] for name in names}


def shapes(model: nn.Module, *inputs: PyTree, **options: PyTree) -> str:
    """Table of the shape, dtype and parameters of every intermediate; nothing is computed.

    Args:
        model: Linen module; its variables are not needed.
        *inputs: inputs of the model's call: arrays or ``jax.ShapeDtypeStruct``.
        **options: keyword arguments of the model's call, e.g. ``train=False``.

    Returns:
        a table with one line for each call of a module, in the order in which the calls end: a
        module inside another comes before it, sown values come last. Parameters are the module's
        own, without those of the modules inside.

    Source: torchsummary, ``flax.linen.tabulate``.

    >>> model = nn.Sequential([nn.Dense(3), nn.relu])
    >>> print(shapes(model, jax.ShapeDtypeStruct((1, 4), "float32")))
    layer        module      output         parameters
    (input)                  float32[1, 4]
    layers_0     Dense       float32[1, 3]          15
    (the model)  Sequential  float32[1, 3]           0
    """
    rows = [("(input)", "", _form(value), "") for value in jax.tree.leaves(inputs)]
    counted: set[tuple[str, ...]] = set()

    def intercept(
        call: Callable[..., PyTree],
        args: PyTree,
        kwargs: PyTree,
        context: nn.module.InterceptorContext,
    ) -> PyTree:
        outputs = call(*args, **kwargs)
        if context.method_name == "__call__":
            module = context.module
            own = module.variables.get("params", {}) if module.path not in counted else {}
            number = tree.count([leaf for leaf in own.values() if hasattr(leaf, "shape")])
            counted.add(module.path)
            forms = ", ".join(_form(value) for value in jax.tree.leaves(outputs))
            name = "/".join(module.path) or "(the model)"
            rows.append((name, type(module).__name__, forms, f"{number:,}"))
        return outputs

    def call(*inputs: PyTree) -> PyTree:
        keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        return model.init_with_output(keys, *inputs, mutable=True, **options)[1]

    with nn.intercept_methods(intercept):
        variables = jax.eval_shape(call, *inputs)
    for name, leaf in tree.named_leaves(variables.get("intermediates", {})).items():
        rows.append((name.removesuffix("/0"), "(sown)", _form(leaf), ""))
    return align_table(("layer", "module", "output", "parameters"), rows, align="<<<>")


def _form(value: Array | jax.ShapeDtypeStruct) -> str:
    return format_form(value.dtype, value.shape)
