"""Which layer of a model was the first to put out NaN or infinity."""

from typing import Any

import flax.linen as nn
import jax

from jaxdl import tree
from jaxdl.types import Batch, PyTree, StepFn


def first_non_finite(step: StepFn, state: PyTree, batch: Batch) -> str:
    """Repeats one step with a look at the output of every Linen module.

    The step may be any function that calls Linen modules: a GAN's, one of a loss by hand. It is
    compiled again, with a callback behind every module; nothing else changes.

    Args:
        step: the update; ``step.gradients``, where it is there, is looked at, too.
        state: before the update.
        batch: of the update.

    Returns:
        a sentence that names the first module whose input or output is not finite, a module inside
        of another before the other one; else the first gradient on the way back; else what is left.
    """
    places: list[str] = []
    paths: list[str] = []
    broken: set[int] = set()
    roots: list[str] = []

    def watch(place: str, path: str, values: Any) -> None:
        number = len(places)
        places.append(place)
        paths.append(path)

        def note(finite: Any) -> None:
            if not finite:
                broken.add(number)

        jax.debug.callback(note, _all_finite(values))

    def intercept(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        module, is_root = context.module, not roots
        roots.append(type(module).__name__)
        path = "/".join(module.path)
        if is_root:
            watch(f"the input of {roots[0]}", "", (args, kwargs))
        try:
            outputs = call(*args, **kwargs)
        finally:
            roots.pop()
        name = f"{path} ({type(module).__name__})" if path else type(module).__name__
        inside = f" of {roots[0]}" if roots and path else ""
        watch(f"the output of {name}{inside}", path, outputs)
        return outputs

    with nn.intercept_methods(intercept):
        new, metrics = jax.jit(lambda state, batch: step(state, batch))(state, batch)
    jax.block_until_ready((new, metrics))
    jax.effects_barrier()
    if broken:
        return f"the first to be not finite is {places[min(broken)]}"
    if not tree.all_finite(metrics):
        return "the output of every layer is finite, the loss computed from it is not"
    gradients = jax.jit(step.gradients)(state, batch) if hasattr(step, "gradients") else {}
    bad = [name for name, leaf in tree.named_leaves(gradients).items() if not _all_finite(leaf)]
    if bad:
        order = {path: number for number, path in enumerate(paths)}
        last = max(bad, key=lambda name: order.get(name.rpartition("/")[0], -1))
        return (
            "all outputs and the loss are finite; on the way back the first gradient that is not "
            f"is that of {last}"
        )
    return "outputs, loss and gradients are finite, the update that the optimizer makes is not"


def _all_finite(values: Any) -> Any:
    arrays = [leaf for leaf in jax.tree.leaves(values) if hasattr(leaf, "dtype")]
    return tree.all_finite(arrays)
