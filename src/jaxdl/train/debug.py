"""Location of the batch, layer and gradient that stopped being finite."""

from collections.abc import Callable, Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import _checks, optim, tree
from jaxdl.train._batches import losses_of
from jaxdl.types import Array, Batch, Metrics, Network, PyTree, Step, UpdateFn, as_step


def find_non_finite(
    step: Step, state: PyTree, batches: Iterable[tuple[Batch, np.ndarray | None]], start: int
) -> tuple[PyTree, Metrics, str]:
    """Repeats steps one by one from a good state until something is not finite.

    Args:
        step: the update.
        state: a finite state, the one before batch ``start``.
        batches: those to repeat, each with the indices of its examples, or None.
        start: number of the first one in its epoch.

    Returns:
        the last good state, the metrics of the good steps before it (stacked), and a sentence that
        names step, batch, layer and largest gradient.

    Raises:
        ValueError: see :func:`check_classes`.
    """

    @jax.jit
    def repeat(state: PyTree, batch: Batch) -> tuple[PyTree, Metrics, Array]:
        new, metrics = step(state, batch)
        return new, metrics, tree.all_finite((new, losses_of(metrics)))

    good_metrics = []
    for index, (batch, examples) in enumerate(batches, start):  # noqa: B007
        new, metrics, finite = repeat(state, batch)
        if not finite:
            break
        state = new
        good_metrics.append(metrics)
    if not finite:
        check_classes(step.network, state, batch)
    empty = jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape), leaf.dtype), metrics)
    stacked = jax.tree.map(
        lambda first, *rest: np.stack(rest) if rest else first, empty, *good_metrics
    )
    if finite:
        return state, stacked, "a metric was not finite, but repeating the steps gave finite ones"
    bad = [
        name
        for name, metric in losses_of(metrics).items()
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(metric))
    ]
    what = f"{' and '.join(bad)} stopped being finite" if bad else "a weight stopped being finite"
    sentence = f"{what} at step {int(state.step)}, batch {index} of the epoch"
    if examples is not None:
        shown = ", ".join(map(str, examples[:8].tolist())) + (", …" if len(examples) > 8 else "")
        sentence += f" (examples {shown})"
    sentence += f"; {first_non_finite(step, state, batch)}"
    if step.gradients is not None:
        gradients = jax.jit(step.gradients)(state, batch)
        sentence += f"; {_largest(gradients)}"
    rates = ", ".join(f"{name} {rate:g}" for name, rate in optim.learning_rates(state).items())
    return state, stacked, sentence + (f"; {rates}" if rates else "")


def check_classes(network: Network | None, state: PyTree, batch: Batch) -> None:
    """Looks for the cause of a loss that is not finite in the labels, and names it.

    Args:
        network: what is in the loss; None looks at nothing.
        state: what its model is called with; nothing is computed.
        batch: the arrays whose loss is not finite.

    Raises:
        ValueError: the labels are integers, one for each row of the model's outputs, and one lies
            beyond the number of outputs.
    """
    if network is None or network.label not in batch:
        return
    labels = np.asarray(batch[network.label])
    if not np.issubdtype(labels.dtype, np.integer):
        return
    outputs = jax.eval_shape(network.outputs, state, batch)
    if getattr(outputs, "shape", (0,))[:-1] != labels.shape:
        return
    if "mask" in batch:
        mask = np.asarray(batch["mask"])
        mask = mask.reshape(mask.shape + (1,) * (labels.ndim - mask.ndim))
        labels = np.where(mask > 0, labels, 0)
    try:
        _checks.check_labels(labels, outputs.shape[-1], network.ignore_label)
    except ValueError as error:
        raise ValueError(
            f"the loss is not finite, and the model has {outputs.shape[-1]} outputs: {error}"
        ) from None


def _largest(gradients: PyTree) -> str:
    sizes = {
        name: float(jnp.max(jnp.abs(leaf))) for name, leaf in tree.named_leaves(gradients).items()
    }
    name = max(sizes, key=lambda name: np.nan_to_num(sizes[name], nan=np.inf, posinf=np.inf))
    return f"the largest gradient is {sizes[name]:g}, in {name}"


def first_non_finite(step: Step | UpdateFn, state: PyTree, batch: Batch) -> str:
    """Repeats one step with a look at the output of every Linen module.

    The step may be any function that calls Linen modules: a GAN's, one of a loss by hand. It is
    compiled again, with a callback behind every module; nothing else changes.

    Args:
        step: the update; its ``gradients``, if it has any, are searched too.
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

    def watch(place: str, path: str, values: PyTree) -> None:
        number = len(places)
        places.append(place)
        paths.append(path)

        def note(finite: np.ndarray) -> None:
            if not finite:
                broken.add(number)

        jax.debug.callback(note, _all_finite(values))

    def intercept(
        call: Callable[..., PyTree],
        args: tuple[PyTree, ...],
        kwargs: dict[str, PyTree],
        context: nn.module.InterceptorContext,
    ) -> PyTree:
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
    if not tree.all_finite(losses_of(metrics)):
        return "the output of every layer is finite, the loss computed from it is not"
    compute = as_step(step).gradients
    gradients = {} if compute is None else jax.jit(compute)(state, batch)
    bad = [name for name, leaf in tree.named_leaves(gradients).items() if not _all_finite(leaf)]
    if bad:
        order = {path: number for number, path in enumerate(paths)}
        last = max(bad, key=lambda name: order.get(name.rpartition("/")[0], -1))
        return (
            "all outputs and the loss are finite; on the way back the first gradient that is not "
            f"is that of {last}"
        )
    return "outputs, loss and gradients are finite, the update that the optimizer makes is not"


def _all_finite(values: PyTree) -> Array:
    arrays = [leaf for leaf in jax.tree.leaves(values) if hasattr(leaf, "dtype")]
    return tree.all_finite(arrays)
