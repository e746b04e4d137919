"""The README's screen of code with a network that only this script knows; argument: run folder."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdl import data, losses, metrics, optim, train, transforms


class Net(nn.Module):
    features: int = 4

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(self.features, (3, 3), strides=2)(x))
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.1, deterministic=not train)(x.reshape(x.shape[0], -1))
        return nn.Dense(10)(x)


def main(workdir):
    digits = data.load("digits")
    preprocess = transforms.normalize(*data.mean_and_std(digits.train["image"]))
    model, tx = Net(), optim.adam(1e-2)
    init_key, order_key = jax.random.split(jax.random.key(0))
    example = preprocess(jnp.asarray(digits.train["image"][:1]))
    state = train.init_state(model, tx, init_key, example)
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=preprocess
    )
    return train.run(
        train.make_step(loss_fn, tx),
        state,
        digits.train,
        num_epochs=2,
        batch_size=64,
        key=order_key,
        eval_fn=train.make_eval(loss_fn),
        eval_data=digits.test,
        workdir=workdir,
        progress=False,
    )


if __name__ == "__main__":
    main(sys.argv[1])
