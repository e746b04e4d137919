"""A small run that is watched."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import losses, metrics, train


def make_data(number, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (number, 6, 6, 1), np.uint8)
    return {"image": image, "label": (np.arange(number) % 3).astype(np.int32)}


def scale(images):
    return images.astype(jnp.float32) / 255


class Net(linen.Module):
    """A convolution, dropout, and a layer whose features are sown as every model here does."""

    @linen.compact
    def __call__(self, x, *, train=False):
        x = linen.relu(linen.Conv(4, (3, 3), name="conv")(x))
        self.sow("intermediates", "maps", x)
        x = linen.relu(linen.Dense(5, name="hidden")(x.reshape(x.shape[0], -1)))
        self.sow("intermediates", "embed", x)
        x = linen.Dropout(0.3, deterministic=not train)(x)
        return linen.Dense(3, name="out")(x)


def make_parts(model, tx, size=6):
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=scale
    )
    state = train.init_state(model, tx, jax.random.key(0), jnp.zeros((1, size, size, 1)))
    return train.make_step(loss_fn, tx), train.make_eval(loss_fn), state


TRAIN = make_data(70)


TEST = make_data(22, seed=1)


EVERYTHING = train.Watch.all(
    every=4,
    activations=("maps", "embed", ""),
    feature_maps=("maps",),
    hparams={"rate": 0.1},
    class_names=("a", "b", "c"),
    worst=4,
    num_embeddings=20,
)


def run(parts, **options):
    step, eval_fn, state = parts
    settings = {
        "num_epochs": 2,
        "batch_size": 8,
        "key": jax.random.key(1),
        "eval_fn": eval_fn,
        "eval_data": TEST,
        "progress": False,
    }
    return train.run(step, state, TRAIN, **settings | options)
