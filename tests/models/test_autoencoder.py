"""Autoencoders: sampled codes, decoding, flat examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_models import SMALL, draw, draw_variables

from jaxdl import models


def vae_of(mean, deviation):
    """A VAE whose code has one distribution for all inputs, and whose logits are the code."""
    model = models.VAE(hidden=2, num_latents=2, shape=(2,))
    zeros, ones = jnp.zeros((2, 2)), jnp.eye(2)
    params = {
        "fc1": {"kernel": zeros, "bias": jnp.zeros(2)},
        "fc21": {"kernel": zeros, "bias": jnp.full(2, mean)},
        "fc22": {"kernel": zeros, "bias": jnp.full(2, 2 * np.log(deviation))},
        "fc3": {"kernel": ones, "bias": jnp.zeros(2)},  # a ReLU that large codes pass
        "fc4": {"kernel": ones, "bias": jnp.zeros(2)},
    }
    return functools.partial(model.apply, {"params": params})


def test_vae_draws_its_code_in_training_and_takes_the_mean_in_evaluation():
    apply, x = vae_of(100.0, 3.0), jnp.zeros((5_000, 2))
    rngs = {"dropout": jax.random.key(0)}
    logits, mean, log_variance = apply(x)
    np.testing.assert_array_equal(logits, np.full((5_000, 2), 100.0))
    np.testing.assert_array_equal(mean, np.full((5_000, 2), 100.0))
    np.testing.assert_allclose(log_variance, np.full((5_000, 2), 2 * np.log(3)), rtol=1e-6)
    drawn = np.asarray(apply(x, train=True, rngs=rngs).logits)
    assert drawn.mean() == pytest.approx(100, abs=5 * 3 / 100)
    assert drawn.std() == pytest.approx(3, abs=5 * 3 / np.sqrt(2 * 10_000))
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.1
    for options, expected in (({"train": False, "sample": True}, drawn), ({"sample": False}, mean)):
        np.testing.assert_array_equal(apply(x, rngs=rngs, **options).logits, expected)
    other = apply(x, train=True, rngs={"dropout": jax.random.key(1)}).logits
    assert (other != drawn).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Autoencoder", "VAE", "ConvVAE"])
def test_decoding_the_code_which_is_embed_is_the_reconstruction(name):
    model, x = SMALL[name], draw(2, 12, 12, 1)

    @jax.jit
    def compute(variables):
        code = model.apply(variables, x, method="encode")
        code = code if name == "Autoencoder" else code[0]
        outputs, sown = model.apply(variables, x, mutable=["intermediates"])
        embed = sown["intermediates"]["embed"][0]
        return outputs, model.apply(variables, code, method="decode"), code, embed

    outputs, decoded, code, embed = compute(draw_variables(model, x))
    outputs = outputs if name == "Autoencoder" else outputs.logits
    assert outputs.shape == x.shape
    np.testing.assert_array_equal(embed, code)
    np.testing.assert_allclose(outputs, decoded, rtol=1e-5, atol=1e-6)


def test_autoencoder_keeps_flat_examples_flat():
    model = models.Autoencoder(shape=(784,))
    outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros((10, 784)))
    assert outputs.shape == (10, 784)
