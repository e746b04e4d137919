"""Options for what a training run logs to TensorBoard, one field each.

:func:`jaxdl.train.run` takes a :class:`Watch`. Statistics are a function of the state before a step
and the step's batch, which is called only for steps that are logged: the training step stays the
same program, so watching changes no bit of the weights.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax

from jaxdl import _checks, nn, tree
from jaxdl.types import Array, Batch, Network, PyTree, Step

Layers = bool | tuple[str, ...]

PROJECTIONS = ("pca", "tsne")


@dataclasses.dataclass(frozen=True)
class Watch:
    """Options for TensorBoard; everything beside loss and metrics is off by default.

    Statistics are computed before the batches 0, ``every``, 2·``every``, … of each epoch, from the
    state before the update and the batch of that update; their step is the number of updates
    before it. Inputs and filters are drawn at the first of them in an epoch, evaluation data at the
    end of an epoch or run. Without statistics, metrics are logged at updates ``every``,
    2·``every``, … of the run.

    Layers are named as by :func:`jaxdl.nn.features`, sown outputs included; True selects all. The
    model runs as in an evaluation (no dropout, running statistics).

    Attributes:
        every: batches between two points.
        learning_rates: of the update; tag ``step/learning_rate``.
        gradient_norms: ``gradient_norm/global`` and of every parameter.
        update_ratios: norm of the update by that of the parameter, ``update_ratio/NAME``; about
            1e-3 is usual. Parameters that are all 0 have none.
        parameters: a histogram of each, ``parameters/NAME``.
        gradients: a histogram of each, ``gradients/NAME``.
        activations: mean, standard deviation, fraction of zeros and histogram of these layers.
        num_activations: maximum number of examples of the batch that they are computed from.
        feature_maps: the first 8 maps of these layers for the first example of the batch.
        filters: the first 16 filters of these convolutions.
        inputs: the first 8 images of an epoch.
        embeddings: layer whose vectors for the first ``num_embeddings`` evaluation examples go to
            the projector, with labels and images, after every epoch; ``"embed"`` is the
            penultimate layer of jaxdl's models.
        num_embeddings: maximum number of vectors.
        projections: their maps on a plane, when the run ends: "pca", "tsne".
        confusion: confusion matrix of the evaluation data, when the run ends.
        worst: number of evaluation examples of the highest cross entropy to draw at the end.
        speed: seconds per step and examples per second since the last point.
        memory: of the device; of the process if the device does not report it.
        graph: the graph of the model, and a table of its parameters.
        hparams: hyperparameters by name, written when the run starts, and its status at the end.
        hparams_metrics: tags in TensorBoard's table of hyperparameters.
        class_names: for images and matrices; the numbers by default.
        profile: (first, last): traces the updates first to last - 1 of the run, counted from 0, for
            TensorBoard's profile plugin and https://ui.perfetto.dev.

    Raises:
        ValueError: a number that is not positive, an unknown projection, a layer's name that is not
            in a tuple.

    >>> Watch(every=100, gradient_norms=True, activations=("feat1", "feat2")).every
    100
    """

    every: int = 50
    learning_rates: bool = False
    gradient_norms: bool = False
    update_ratios: bool = False
    parameters: bool = False
    gradients: bool = False
    activations: Layers = ()
    num_activations: int = 8
    feature_maps: Layers = ()
    filters: Layers = ()
    inputs: bool = False
    embeddings: str | None = None
    num_embeddings: int = 1024
    projections: tuple[str, ...] = PROJECTIONS
    confusion: bool = False
    worst: int = 0
    speed: bool = False
    memory: bool = False
    graph: bool = False
    hparams: Mapping[str, Any] | None = None
    hparams_metrics: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None
    profile: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _checks.check_count(
            every=self.every,
            num_activations=self.num_activations,
            num_embeddings=self.num_embeddings,
        )
        _checks.check_count(0, worst=self.worst)
        for name in ("activations", "feature_maps", "filters", "projections"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise ValueError(f"{name} must be a tuple of names, ({value!r},), got {value!r}.")
        unknown = [name for name in self.projections if name not in PROJECTIONS]
        if unknown:
            raise ValueError(f"projections are {PROJECTIONS}, got {unknown[0]!r}.")

    @classmethod
    def all(cls, **changes: Any) -> Self:
        """Everything on, for a classifier of images; ``changes`` are fields that differ."""
        on = {field.name: True for field in dataclasses.fields(cls) if field.type in (bool, Layers)}
        return cls(**{**on, "embeddings": "embed", "worst": 16, **changes})

    @property
    def has_statistics(self) -> bool:
        """Returns True if anything is computed or measured before single batches."""
        return bool(
            self.learning_rates or self.gradient_norms or self.update_ratios or self.parameters
            or self.gradients or self.activations or self.feature_maps or self.filters
            or self.inputs or self.speed or self.memory
        )  # fmt: skip

    @property
    def needs_layers(self) -> bool:
        """Returns True if the output of any layer is needed."""
        return bool(self.activations or self.feature_maps or self.embeddings)

    @property
    def needs_eval_data(self) -> bool:
        """Returns True if evaluation data are needed."""
        return bool(self.embeddings or self.confusion or self.worst)


def params_of(state: PyTree) -> PyTree:
    """The parameters in a state: its own, or those of its players by name.

    Raises:
        ValueError: the state has none.
    """
    if hasattr(state, "params"):
        return state.params
    names = [field.name for field in dataclasses.fields(state)] if _is_dataclass(state) else []
    players = {
        name: getattr(state, name).params
        for name in names
        if hasattr(getattr(state, name), "params")
    }
    if not players:
        raise ValueError(f"the state has no params to watch: {type(state).__name__}.")
    return players


def resolve(
    watch: Watch, step: Step, state: PyTree, batch: PyTree, eval_data: PyTree | None
) -> Watch:
    """Checks that everything a watch needs is there, and names all of its layers.

    Args:
        watch: the options.
        step: the update.
        state: arrays or ``jax.ShapeDtypeStruct``; nothing is computed.
        batch: likewise.
        eval_data: arrays by name, or None.

    Returns:
        the watch, its layers as tuples of names.

    Raises:
        ValueError: a layer that the model does not have (the message lists those that it has), a
            step without gradients or without a model, no evaluation data, no images or labels.
    """
    if (watch.gradients or watch.gradient_norms) and step.gradients is None:
        raise ValueError(
            "the step has no gradients to watch: make it with train.make_step, or pass "
            "types.Step(update, gradients)."
        )
    if watch.filters:
        kernels = [
            name.removesuffix("/kernel")
            for name, leaf in tree.named_leaves(params_of(state)).items()
            if name.endswith("/kernel") and leaf.ndim == 4
        ]
        filters = _choose("filters", watch.filters, kernels, "convolution")
        watch = dataclasses.replace(watch, filters=filters)
    if not (watch.needs_layers or watch.needs_eval_data or watch.inputs or watch.graph):
        return watch
    network = _network_of(step)
    if watch.inputs:
        _check_images("inputs", batch, network)
    if watch.needs_layers:
        watch = _resolve_layers(watch, network, state, batch)
    if watch.needs_eval_data:
        _check_eval_data(watch, network, state, batch, eval_data)
    return watch


def _resolve_layers(watch: Watch, network: Network, state: PyTree, batch: PyTree) -> Watch:
    found = jax.eval_shape(lambda *args: layers(network, *args), state, batch)
    maps = [name for name, leaf in found.items() if leaf.ndim == 4]
    if watch.embeddings:
        _choose("embeddings", (watch.embeddings,), list(found), "layer")
    return dataclasses.replace(
        watch,
        activations=_choose("activations", watch.activations, list(found), "layer"),
        feature_maps=_choose("feature_maps", watch.feature_maps, maps, "layer with maps"),
    )


def _check_eval_data(
    watch: Watch, network: Network, state: PyTree, batch: PyTree, eval_data: PyTree | None
) -> None:
    if eval_data is None:
        raise ValueError(
            "embeddings, confusion and worst need evaluation data: pass eval_fn and eval_data to "
            "run."
        )
    if not isinstance(eval_data, Mapping):
        raise ValueError(
            "embeddings, confusion and worst need evaluation data that stay on the device: pass "
            "arrays, or a loader with resident=True."
        )
    if watch.confusion or watch.worst:
        if network.label not in eval_data:
            raise ValueError(f"confusion and worst need {network.label!r} in eval_data.")
        _check_classes(watch, network, state, batch)
    if watch.embeddings and watch.class_names and hasattr(eval_data.get(network.label), "max"):
        _checks.check_labels(eval_data[network.label], len(watch.class_names))
    if watch.worst:
        _check_images("worst", eval_data, network)


def layers(
    network: Network, state: PyTree, batch: Batch, names: tuple[str, ...] | None = None
) -> dict[str, Array]:
    """The outputs of a model's layers for a batch, see :func:`jaxdl.nn.features`."""
    variables = {"params": state.params, **state.model_state}
    return nn.features(
        network.model,
        variables,
        *network.arguments(batch),
        names=names,
        **network.options(batch),
    )


def _choose(field: str, names: Layers, known: list[str], kind: str) -> tuple[str, ...]:
    if isinstance(names, bool):
        return tuple(known) if names else ()
    for name in names:
        if name not in known:
            raise ValueError(
                f"Watch.{field} names {name!r}, but the model has no such {kind}; expected one of "
                f"{', '.join(map(repr, known)) or 'none'}."
            )
    return tuple(names)


def _network_of(step: Step) -> Network:
    if step.network is None:
        raise ValueError(
            "activations, feature maps, inputs, embeddings, confusion, worst and graph need the "
            "model, which this step does not name: make its loss with train.supervised, or wrap "
            "your own loss function before train.make_step: "
            "types.Loss(loss_fn, types.Network(model, inputs))."
        )
    return step.network


def _check_classes(watch: Watch, network: Network, state: PyTree, batch: PyTree) -> None:
    logits = jax.eval_shape(network.outputs, state, batch)
    shape = getattr(logits, "shape", None)
    if shape is None or len(shape) != 2:
        raise ValueError(
            f"confusion and worst need logits of shape (B, classes), got {logits} from the model."
        )
    if watch.class_names is not None and len(watch.class_names) != shape[1]:
        raise ValueError(
            f"class_names must be {shape[1]}, one per logit, got {len(watch.class_names)}."
        )


def _check_images(field: str, data: Mapping[str, Any], network: Network) -> None:
    shape: tuple[int, ...] = tuple(getattr(data.get(network.image), "shape", ()))
    if len(shape) != 4 or shape[-1] not in (1, 3):
        raise ValueError(
            f"Watch.{field} draws images (N, H, W, 1 or 3), but {network.image!r} has shape "
            f"{shape}."
        )


def _is_dataclass(state: PyTree) -> bool:
    return dataclasses.is_dataclass(state) and not isinstance(state, type)
