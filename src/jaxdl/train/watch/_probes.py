"""What a :class:`~jaxdl.train.Watch` asks for, on the device: pure functions to be jitted."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import metrics, tensorboard, tree
from jaxdl.data.collate import sequential_order, take
from jaxdl.train.watch.options import Watch, layers, params_of
from jaxdl.types import Array, Batch, Network, PyTree, Step

NUM_MAPS, NUM_FILTERS, NUM_INPUTS = 8, 16, 8


def make_statistics(watch: Watch, step: Step) -> Callable[[PyTree, Batch], dict[str, Any]]:
    """The statistics of one look, as a pure function to be jitted.

    Args:
        watch: from :func:`resolve`.
        step: the update.

    Returns:
        ``(state, batch) -> statistics``: by kind and name, histograms as
        :class:`~jaxdl.tensorboard.histograms.Buckets`, everything else small, too.
    """
    network: Any = step.network
    activations, feature_maps, filters = (
        () if isinstance(names, bool) else names
        for names in (watch.activations, watch.feature_maps, watch.filters)
    )

    def statistics(state: PyTree, batch: Batch) -> dict[str, Any]:
        found: dict[str, Any] = {}
        params = _floating(params_of(state))
        if watch.parameters:
            found["parameters"] = _histograms(params)
        if step.gradients is not None and (watch.gradients or watch.gradient_norms):
            gradients = _floating(step.gradients(state, batch))
            if watch.gradients:
                found["gradients"] = _histograms(gradients)
            if watch.gradient_norms:
                norms = tree.norms(gradients)
                squares = jnp.stack([jnp.square(norm) for norm in norms.values()])
                found["gradient_norm"] = {"global": jnp.sqrt(squares.sum()), **norms}
        if watch.update_ratios:
            after = _floating(params_of(step(state, batch)[0]))
            updates = {name: after[name] - leaf for name, leaf in params.items()}
            sizes = tree.norms(params)
            found["update_ratio"] = {  # NaN where all weights are 0, as biases are at first
                name: jnp.where(sizes[name] > 0, norm / sizes[name], jnp.nan)
                for name, norm in tree.norms(updates).items()
            }
        if filters:
            found["filters"] = {
                name: params[f"{name}/kernel"][..., :NUM_FILTERS] for name in filters
            }
        if watch.inputs:
            found["inputs"] = batch[network.image][:NUM_INPUTS]
        if activations or feature_maps:
            few = _first_real(batch, watch.num_activations)
            names = tuple(dict.fromkeys((*activations, *feature_maps)))
            outputs = layers(network, state, few, names)
            own = "output" if "output" not in outputs else "output of the model"
            found |= _describe({name or own: outputs[name] for name in activations})
            found["feature_maps"] = {
                name or own: outputs[name][0, ..., :NUM_MAPS].astype(jnp.float32)
                for name in feature_maps
            }
        return found

    return statistics


def make_survey(
    watch: Watch, network: Network, batch_size: int
) -> Callable[[PyTree, Batch], dict[str, Any]]:
    """What is asked of all evaluation data when a run ends, as a pure function to be jitted.

    Args:
        watch: from :func:`resolve`.
        network: the model.
        batch_size: examples at a time.

    Returns:
        ``(state, data) -> found``: ``"confusion"`` (C, C) counts, ``"worst"``: of the K examples of
        the highest losses, from the highest, losses (K,), indices (K,) and probabilities (K, C).
        Where fewer than K examples count, the last losses are minus infinity.
    """

    def survey(state: PyTree, data: Batch) -> dict[str, Any]:
        number = next(iter(data.values())).shape[0]
        order = sequential_order(number, min(batch_size, number))
        form = jax.eval_shape(judge, state, take(data, order, 0))[2]
        kept = min(watch.worst, number)
        none = (
            jnp.full(kept, -jnp.inf),
            jnp.zeros(kept, jnp.int32),
            jnp.zeros((kept, form.shape[1])),
        )

        def one(worst: tuple, index: Array) -> tuple[tuple, Array]:
            counts, losses, probabilities = judge(state, take(data, order, index))
            places = index * order.shape[1] + jnp.arange(order.shape[1])
            both = [
                jnp.concatenate(pair)
                for pair in zip(worst, (losses, places, probabilities), strict=True)
            ]
            _, chosen = jax.lax.top_k(both[0], kept)
            return tuple(array[chosen] for array in both), counts

        worst, counts = jax.lax.scan(one, none, jnp.arange(order.shape[0]))
        found: dict[str, Any] = {"confusion": counts.sum(axis=0)} if watch.confusion else {}
        return found | ({"worst": worst} if watch.worst else {})

    def judge(state: PyTree, batch: Batch) -> tuple[Array, Array, Array]:
        """Confusion matrix (C, C), losses (B,) and probabilities (B, C)."""
        logits = network.outputs(state, batch)
        labels = jnp.maximum(batch[network.label], 0)
        mask = batch.get("mask", jnp.ones(labels.shape, jnp.float32)) * (batch[network.label] >= 0)
        scores = jax.nn.log_softmax(logits)
        losses = -jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
        counts = metrics.confusion_matrix(logits, labels, mask)
        return counts, jnp.where(mask > 0, losses, -jnp.inf), jnp.exp(scores)

    return survey


def make_embedding(
    watch: Watch, network: Network, batch_size: int
) -> Callable[[PyTree, Batch], Array]:
    """The vectors of the first evaluation examples, as a pure function to be jitted.

    Args:
        watch: from :func:`resolve`.
        network: the model.
        batch_size: examples at a time.

    Returns:
        ``(state, data) -> (M, D)`` float32.
    """

    def embed(state: PyTree, data: Batch) -> Array:
        name = watch.embeddings or ""
        number = min(watch.num_embeddings, next(iter(data.values())).shape[0])
        few = {key: array[:number] for key, array in data.items()}
        batches = -(-number // batch_size)
        order = sequential_order(number, -(-number // batches))  # little filling

        def one(_: None, index: Array) -> tuple[None, Array]:
            vectors = layers(network, state, take(few, order, index), (name,))[name]
            return None, vectors.reshape(vectors.shape[0], -1).astype(jnp.float32)

        _, vectors = jax.lax.scan(one, None, jnp.arange(order.shape[0]))
        return vectors.reshape(-1, vectors.shape[-1])[:number]

    return embed


def _first_real(batch: Batch, number: int) -> Batch:
    """The first examples of a batch; in place of filling, those that are real once more."""
    number = min(number, next(iter(batch.values())).shape[0])
    if "mask" not in batch:
        return {name: leaf[:number] for name, leaf in batch.items()}
    real = batch["mask"] > 0
    chosen = jnp.argsort(~real, stable=True)[jnp.arange(number) % jnp.maximum(real.sum(), 1)]
    return {name: leaf[chosen] for name, leaf in batch.items()}


def _describe(outputs: Mapping[str, Array]) -> dict[str, Any]:
    """Histogram, mean, standard deviation and share of zeros of every array."""
    arrays = {name: leaf.astype(jnp.float32) for name, leaf in outputs.items()}
    if not arrays:
        return {}
    return {
        "activations": _histograms(arrays),
        "activation_mean": {name: leaf.mean() for name, leaf in arrays.items()},
        "activation_std": {name: leaf.std() for name, leaf in arrays.items()},
        "activation_zeros": {
            name: jnp.mean((leaf == 0).astype(jnp.float32)) for name, leaf in arrays.items()
        },
    }


def _histograms(arrays: Mapping[str, Array]) -> dict[str, tensorboard.histograms.Buckets]:
    return {name: tensorboard.histograms.bucket_counts(array) for name, array in arrays.items()}


def _floating(params: PyTree) -> dict[str, Array]:
    return {
        name: leaf
        for name, leaf in tree.named_leaves(params).items()
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.size
    }
