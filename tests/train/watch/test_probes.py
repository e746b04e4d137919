"""Statistics on the device: of a step, and of an evaluation set."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.watched_run import EVERYTHING, TEST, TRAIN, Net, scale

from jaxdl import losses, optim, train
from jaxdl.train.watch import _probes
from jaxdl.train.watch.options import resolve


@pytest.mark.slow
def test_statistics_are_what_numpy_makes_of_the_same_step(parts):
    step, _, state = parts
    batch = {name: jnp.asarray(array[:8]) for name, array in TRAIN.items()}
    watch = train.Watch(
        gradients=True, gradient_norms=True, update_ratios=True, activations=("embed",)
    )
    found = jax.jit(_probes.make_statistics(watch, step))(state, batch)
    gradients = jax.jit(step.gradients)(state, batch)
    after = jax.jit(step)(state, batch)[0]
    kernel = np.asarray(gradients["hidden"]["kernel"])
    norm = np.sqrt((kernel.astype(np.float64) ** 2).sum())
    np.testing.assert_allclose(found["gradient_norm"]["hidden/kernel"], norm, rtol=1e-5)
    total = np.sqrt(sum((np.asarray(leaf) ** 2).sum() for leaf in jax.tree.leaves(gradients)))
    np.testing.assert_allclose(found["gradient_norm"]["global"], total, rtol=1e-5)
    before = np.asarray(state.params["out"]["kernel"])
    update = np.asarray(after.params["out"]["kernel"]) - before
    ratio = np.linalg.norm(update) / np.linalg.norm(before)
    np.testing.assert_allclose(found["update_ratio"]["out/kernel"], ratio, rtol=1e-4)
    variables = {"params": state.params}
    hidden = Net().apply(variables, scale(batch["image"]), mutable=["intermediates"])
    embed = np.asarray(hidden[1]["intermediates"]["embed"][0])
    np.testing.assert_allclose(found["activation_mean"]["embed"], embed.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["activation_std"]["embed"], embed.std(), rtol=1e-4)
    np.testing.assert_allclose(found["activation_zeros"]["embed"], (embed == 0).mean(), rtol=1e-6)
    low, high = embed.min(), embed.max()
    expected = np.histogram(embed, bins=30, range=(low, high))[0]
    np.testing.assert_array_equal(found["activations"]["embed"].counts, expected)
    # nothing of the size of a layer leaves the device, but for 8 maps and the first images
    assert max(leaf.size for leaf in jax.tree.leaves(found["gradients"])) == 31


def test_filling_is_not_in_the_statistics_of_activations(parts):
    step, _, state = parts
    batch = {name: jnp.asarray(array[:8]) for name, array in TRAIN.items()}
    watch = train.Watch(activations=("embed",))
    compiled = jax.jit(_probes.make_statistics(watch, step))
    padded = compiled(state, {**batch, "mask": jnp.array([0.0, 1, 1, 0, 0, 0, 0, 0])})
    real = compiled(state, {name: jnp.tile(array[1:3], (4,) + (1,) * (array.ndim - 1))
                            for name, array in batch.items()})  # fmt: skip
    np.testing.assert_allclose(
        padded["activation_mean"]["embed"], real["activation_mean"]["embed"], rtol=1e-6
    )


class Images(linen.Module):
    """From images to images, by a layer with the name that the model's own output would get."""

    @linen.compact
    def __call__(self, x, *, train=False):
        return linen.Conv(1, (1, 1), name="last")(linen.Conv(2, (1, 1), name="output")(x))


def test_the_output_of_the_model_has_a_tag_of_its_own():
    loss_fn = train.supervised(Images(), losses.squared_error, preprocess=scale, targets="image")
    state = train.init_state(Images(), optim.sgd(0.1), jax.random.key(0), jnp.zeros((1, 6, 6, 1)))
    step = train.make_step(loss_fn, optim.sgd(0.1))
    batch = {"image": jnp.asarray(TRAIN["image"][:2])}
    watch = resolve(train.Watch(activations=True, feature_maps=True), step, state, batch, None)
    found = jax.jit(_probes.make_statistics(watch, step))(state, batch)
    assert set(found["feature_maps"]) == {"output of the model", "last", "output"}
    assert found["feature_maps"]["output"].shape == (6, 6, 2)
    assert set(found["activations"]) == set(found["feature_maps"])


@pytest.mark.slow
def test_the_survey_counts_every_example_and_finds_the_worst(parts, plain):
    step, _, _ = parts
    state = plain[0]
    watch = resolve(EVERYTHING, step, state, TRAIN, TEST)
    arrays = {name: jnp.asarray(array) for name, array in TEST.items()}
    found = jax.jit(_probes.make_survey(watch, step.network, 5))(state, arrays)
    logits = np.asarray(Net().apply({"params": state.params}, scale(TEST["image"])), np.float64)
    predicted = logits.argmax(1)
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (TEST["label"], predicted), 1)
    np.testing.assert_array_equal(found["confusion"], expected)
    entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(22), TEST["label"]]
    worst = np.sort(entropy)[::-1][:4]  # not the indices: several entropies are almost equal
    losses, indices, shares = found["worst"]
    np.testing.assert_allclose(losses, worst, rtol=1e-5)
    np.testing.assert_allclose(entropy[indices], worst, rtol=1e-5)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(shares, probabilities[indices], rtol=1e-4)
    vectors = jax.jit(_probes.make_embedding(watch, step.network, 8))(state, arrays)
    hidden = Net().apply(
        {"params": state.params}, scale(TEST["image"][:20]), mutable=["intermediates"]
    )[1]["intermediates"]["embed"][0]
    np.testing.assert_allclose(vectors, hidden, rtol=1e-5, atol=1e-6)
