"""Small training functions for sweeps."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import losses, metrics, models, optim, sweep, train
from jaxdl.types import TrainState

BATCH = 8
X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
DATA = {"x": X, "y": (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int32)}
SPACE = sweep.grid(learning_rate=[0.01, 0.1, 1e38], weight_decay=[0.0, 0.5])
MODEL = models.MLP((4, 2), jnp.tanh)
LOSS = train.supervised(
    MODEL, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, inputs="x", targets="y"
)


def train_one(key, hparams, arrays, state=None, num_epochs=4):
    """``fit`` of an MLP."""
    init_key, order_key = jax.random.split(key)
    tx = optim.sgd(
        hparams["learning_rate"], momentum=0.9, weight_decay=hparams.get("weight_decay", 0.0)
    )
    if state is None:
        state = train.init_state(MODEL, tx, init_key, arrays["x"][:1])
    return train.fit(
        train.make_step(LOSS, tx),
        state,
        arrays,
        num_epochs=num_epochs,
        batch_size=hparams.get("batch_size", BATCH),
        key=order_key,
        eval_fn=train.make_eval(LOSS),
        eval_data=arrays,
    )


def order(key, hparams):
    """The arguments of ``fit`` that determine the order of the examples."""
    return BATCH, len(X), jax.random.split(key)[1]


def least_squares(key, hparams, arrays, num_steps=5):
    """Gradient descent on least squares; compiles in no time."""

    def step(w, _):
        residual = arrays["x"] @ w - arrays["y"]
        w = w - hparams["rate"] * arrays["x"].T @ residual / 20
        return w, jnp.square(residual).mean()

    w, curve = jax.lax.scan(step, jax.random.normal(key, (3,)), None, length=num_steps)
    return {"w": w}, {"test/loss": curve}


def shrink(key, hparams, data, state=None, num_epochs=2):
    """w ← (1 − rate) w, one update an epoch, from a normal vector; compiled in no time."""
    rate = hparams.get("rate", 0.5)
    if state is None:
        init_key, key = jax.random.split(key)
        w = jax.random.normal(init_key, (hparams.get("width", 3),))
        state = TrainState(jnp.int32(0), w, {}, {"rate": jnp.asarray(rate)}, key)
    curve = []
    for _ in range(num_epochs):
        w = state.params * (1 - state.opt_state["rate"])
        state = state.replace(step=state.step + 1, params=w)
        curve.append(jnp.square(w).mean())
    return state, {"test/loss": jnp.stack(curve)}


def shrink_alone(hparams, seed, num_epochs=2):
    """The losses of a member trained alone."""
    return shrink(jax.random.key(int(seed)), hparams, None, num_epochs=num_epochs)[1]["test/loss"]


def check_members(result):
    """Compares every member of a sweep of ``shrink`` with its solo run."""
    for member, hparams in enumerate(result.hparams):
        epochs = result.num_epochs[member]
        np.testing.assert_allclose(
            result.history["test/loss"][member, :epochs],
            shrink_alone(hparams, result.seeds[member], epochs),
            rtol=1e-5,
        )
