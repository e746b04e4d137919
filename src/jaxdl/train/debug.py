"""Location of the first non-finite batch, layer, and gradient."""

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
    """Repeats steps from a finite state, one by one, until a loss or weight is not finite.

    Args:
        step: training step.
        state: finite state before batch ``start``.
        batches: batches to repeat, each with the indices of its examples, or None.
        start: index of the first batch in its epoch.

    Returns:
        The last finite state, the stacked metrics of the finite steps, and a message that names
        the step, batch, layer, and largest gradient.

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
        return state, stacked, "a metric was not finite, but is when the steps are repeated"
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
    """Checks whether labels outside the range of the outputs explain a non-finite loss.

    Args:
        network: model of the loss; None skips the check.
        state: its state; only shapes are used.
        batch: batch whose loss is not finite.

    Raises:
        ValueError: an integer label is not less than the number of outputs.

    >>> network = Network(nn.Dense(2), lambda batch: batch["x"], "x", "y")
    >>> batch = {"x": jnp.ones((2, 3)), "y": jnp.array([0, 2])}
    >>> from jaxdl.types import TrainState
    >>> params = {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}
    >>> state = TrainState(0, params, {}, None, None)
    >>> check_classes(network, state, batch)
    Traceback (most recent call last):
    ValueError: the loss is not finite, and the model has 2 outputs: ...
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
    """Repeats one step and finds the first Linen module whose output is not finite.

    The step may be any function that calls Linen modules, e.g. that of a GAN. It is compiled again
    with a callback after each module.

    Args:
        step: training step; its ``gradients``, if any, are checked too.
        state: state before the step.
        batch: batch of the step.

    Returns:
        A message that names the first module with a non-finite input or output, inner modules
        before outer ones; otherwise the first non-finite gradient of the backward pass; otherwise
        the loss or the update.

    >>> from jaxdl import losses, models, optim, train
    >>> model, tx = models.MLP((4,), 2), optim.sgd(0.1)
    >>> step = train.make_step(train.supervised(model, losses.cross_entropy), tx)
    >>> batch = {"image": jnp.full((1, 3), jnp.inf), "label": jnp.zeros(1, jnp.int32)}
    >>> first_non_finite(step, train.init_state(model, tx, 0, batch["image"]), batch)
    'the first non-finite value is in the input of MLP'
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
        return f"the first non-finite value is in {places[min(broken)]}"
    if not tree.all_finite(losses_of(metrics)):
        return "all outputs of layers are finite, but the loss is not"
    compute = as_step(step).gradients
    gradients = {} if compute is None else jax.jit(compute)(state, batch)
    bad = [name for name, leaf in tree.named_leaves(gradients).items() if not _all_finite(leaf)]
    if bad:
        order = {path: number for number, path in enumerate(paths)}
        last = max(bad, key=lambda name: order.get(name.rpartition("/")[0], -1))
        return (
            "all outputs and the loss are finite; the first non-finite gradient of the backward "
            f"pass is that of {last}"
        )
    return "outputs, loss, and gradients are finite, but the optimizer's update is not"


def _all_finite(values: PyTree) -> Array:
    arrays = [leaf for leaf in jax.tree.leaves(values) if hasattr(leaf, "dtype")]
    return tree.all_finite(arrays)
