"""Statistics, embeddings and surveys for a :class:`~jaxdl.train.Watch`: pure functions to jit."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl import metrics, tensorboard, tree
from jaxdl.data.collate import sequential_order, take
from jaxdl.train.watch.options import Watch, layers, params_of
from jaxdl.types import Array, Batch, Network, PyTree, Step

NUM_MAPS, NUM_FILTERS, NUM_INPUTS = 8, 16, 8

Statistics = dict[str, Any]
"""Arrays and histograms by kind and name, or by kind alone."""

Worst = tuple[Array, Array, Array]
"""Losses (K,), indices (K,) and probabilities (K, C), from the highest loss."""


def make_statistics(watch: Watch, step: Step) -> Callable[[PyTree, Batch], Statistics]:
    """Makes the function that computes statistics of a state and its next batch.

    Args:
        watch: from :func:`resolve`.
        step: the update.

    Returns:
        ``(state, batch) -> statistics``: by kind and name, histograms as
        :class:`~jaxdl.tensorboard.histograms.Buckets`, everything else small as well.
    """
    network = step.network
    activations, feature_maps, filters = (
        () if isinstance(names, bool) else names
        for names in (watch.activations, watch.feature_maps, watch.filters)
    )

    def statistics(state: PyTree, batch: Batch) -> Statistics:
        found: Statistics = {}
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
            found["update_ratio"] = _update_ratios(params, after)
        if filters:
            found["filters"] = {
                name: params[f"{name}/kernel"][..., :NUM_FILTERS] for name in filters
            }
        if watch.inputs and network is not None:
            found["inputs"] = batch[network.image][:NUM_INPUTS]
        if network is not None and (activations or feature_maps):
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


def _update_ratios(before: Mapping[str, Array], after: Mapping[str, Array]) -> dict[str, Array]:
    """Norms of updates by those of parameters; NaN if all are 0, as biases are at first."""
    sizes = tree.norms(before)
    updates = {name: after[name] - leaf for name, leaf in before.items()}
    return {
        name: jnp.where(sizes[name] > 0, norm / sizes[name], jnp.nan)
        for name, norm in tree.norms(updates).items()
    }


class _Judged(NamedTuple):
    """Confusion matrix (C, C), losses (B,) and probabilities (B, C) of a batch."""

    counts: Array
    losses: Array
    probabilities: Array


def _judge(network: Network, state: PyTree, batch: Batch) -> _Judged:
    logits, targets = network.outputs(state, batch), batch[network.label]
    counted = (targets >= 0) & (targets < logits.shape[-1])
    labels = jnp.where(counted, targets, 0).astype(jnp.int32)
    mask = batch.get("mask", jnp.ones(labels.shape, jnp.float32)) * counted
    scores = jax.nn.log_softmax(logits)
    losses = -jnp.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    counts = metrics.confusion_matrix(logits, labels, mask)
    return _Judged(counts, jnp.where(mask > 0, losses, -jnp.inf), jnp.exp(scores))


def make_survey(
    watch: Watch, network: Network, batch_size: int
) -> Callable[[PyTree, Batch], Statistics]:
    """Makes the function that surveys all evaluation data when a run ends.

    Args:
        watch: from :func:`resolve`.
        network: the model.
        batch_size: examples at a time.

    Returns:
        ``(state, data) -> found``: ``"confusion"`` (C, C) counts, ``"worst"``: of the K examples of
        the highest losses, from the highest, losses (K,), indices (K,) and probabilities (K, C).
        Where fewer than K examples count, the last losses are minus infinity.
    """

    def survey(state: PyTree, data: Batch) -> Statistics:
        number = next(iter(data.values())).shape[0]
        order = sequential_order(number, min(batch_size, number))
        form = jax.eval_shape(
            lambda state, data: _judge(network, state, take(data, order, 0)), state, data
        )
        kept = min(watch.worst, number)
        none = (
            jnp.full(kept, -jnp.inf),
            jnp.zeros(kept, jnp.int32),
            jnp.zeros((kept, form.probabilities.shape[1])),
        )

        def one(worst: Worst, index: Array) -> tuple[Worst, Array]:
            judged = _judge(network, state, take(data, order, index))
            places = index * order.shape[1] + jnp.arange(order.shape[1])
            new = (judged.losses, places, judged.probabilities)
            losses, indices, shares = map(jnp.concatenate, zip(worst, new, strict=True))
            _, chosen = jax.lax.top_k(losses, kept)
            return (losses[chosen], indices[chosen], shares[chosen]), judged.counts

        worst, counts = jax.lax.scan(one, none, jnp.arange(order.shape[0]))
        found: Statistics = {"confusion": counts.sum(axis=0)} if watch.confusion else {}
        return found | ({"worst": worst} if watch.worst else {})

    return survey


def make_embedding(
    watch: Watch, network: Network, batch_size: int
) -> Callable[[PyTree, Batch], Array]:
    """Makes the function that returns the vectors of the first evaluation examples.

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
        order = sequential_order(number, -(-number // batches))  # little padding

        def one(_: None, index: Array) -> tuple[None, Array]:
            vectors = layers(network, state, take(few, order, index), (name,))[name]
            return None, vectors.reshape(vectors.shape[0], -1).astype(jnp.float32)

        _, vectors = jax.lax.scan(one, None, jnp.arange(order.shape[0]))
        return vectors.reshape(-1, vectors.shape[-1])[:number]

    return embed


def _first_real(batch: Batch, number: int) -> Batch:
    """Selects the first examples of a batch, replacing padding by real ones."""
    number = min(number, next(iter(batch.values())).shape[0])
    if "mask" not in batch:
        return {name: leaf[:number] for name, leaf in batch.items()}
    real = batch["mask"] > 0
    chosen = jnp.argsort(~real, stable=True)[jnp.arange(number) % jnp.maximum(real.sum(), 1)]
    return {name: leaf[chosen] for name, leaf in batch.items()}


def _describe(outputs: Mapping[str, Array]) -> Statistics:
    """Computes histogram, mean, standard deviation and fraction of zeros of every array."""
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
