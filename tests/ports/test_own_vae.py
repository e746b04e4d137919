"""The VAE of pytorch/examples with an own encoder and decoder. 48 lines of code.

Source: https://github.com/pytorch/examples/blob/main/vae/main.py
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, losses, optim, train, transforms
from jaxdl.nn import Dense


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(Dense(64)(x.reshape(len(x), -1)))
        return Dense(8, name="mean")(x), Dense(8, name="log_variance")(x)


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return Dense(64)(nn.relu(Dense(64)(z))).reshape(-1, 8, 8, 1)


class VAE(nn.Module):
    def setup(self):
        self.encoder, self.decoder = Encoder(), Decoder()

    def __call__(self, x):
        mean, log_variance = self.encoder(x)
        noise = jax.random.normal(self.make_rng("noise"), mean.shape)
        return self.decoder(mean + jnp.exp(log_variance / 2) * noise), mean, log_variance

    def generate(self, z):
        return nn.sigmoid(self.decoder(z))


def train_vae(num_epochs):
    digits = data.load("digits")
    loss_fn = train.supervised(
        VAE(),
        lambda outputs, image: losses.negative_elbo(
            outputs[0], transforms.to_float(image), *outputs[1:]
        ),
        preprocess=transforms.to_float,
        targets="image",
        rngs=("noise",),
    )
    tx = optim.adam(3e-3)
    return train.run(
        train.make_step(loss_fn, tx),
        train.init_state(loss_fn, tx, 0, digits.train),
        digits.train,
        num_epochs=num_epochs,
        batch_size=128,
        key=1,
        eval_fn=train.make_eval(loss_fn),
        eval_data=digits.test,
    )


def draw(state, num_examples):
    z = jax.random.normal(jax.random.key(2), (num_examples, 8))
    return VAE().apply({"params": state.params}, z, method="generate")


# The port ends here


@pytest.mark.slow
def test_the_bound_falls_and_samples_look_like_digits():
    state, history = train_vae(60)
    image = data.load("digits").test["image"] / 255
    frequency = image.mean(0)
    independent = -(image * np.log(frequency + 1e-6) + (1 - image) * np.log1p(1e-6 - frequency))
    # better than independent pixels with the right means, whose loss needs no code
    assert history[-1]["test/loss"] < independent.sum((1, 2, 3)).mean() < history[0]["test/loss"]
    samples = np.asarray(draw(state, 200))
    assert samples.shape == (200, 8, 8, 1)
    correlation = np.corrcoef(samples.mean(0).ravel(), frequency.ravel())[0, 1]
    assert correlation > 0.9
    assert samples.std(0).mean() > 0.4 * image.std(0).mean()  # and differ from each other
