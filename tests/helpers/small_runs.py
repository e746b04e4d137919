"""A run folder and a bundle in a second: an MLP that has seen scikit-learn's digits twice."""

import functools
import shutil
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import data, export, losses, metrics, models, optim, train

NAMES = [f"digit {i}" for i in range(10)]


@functools.cache
def digits():
    return data.load("digits")


def make_run(folder, *, ema=None):
    """A run folder; returns the final state, the history and the description. Trained once."""
    trained, *results = _train(ema)
    shutil.copytree(trained.name, folder, dirs_exist_ok=True)
    return results


@functools.cache
def _train(ema):
    kept = tempfile.TemporaryDirectory()
    folder = Path(kept.name)
    images = digits().train["image"]
    mean, std = data.mean_and_std(images)
    rule = export.Preprocessing(images.shape[1:], mean=tuple(mean), std=tuple(std))
    model = models.MLP((16, 10))
    tx = optim.recipe(optim.adam, 1e-2, ema=ema)
    init_key, order_key = jax.random.split(jax.random.key(0))
    state = train.init_state(model, tx, init_key, rule(jnp.asarray(images[:1])))
    loss_fn = train.supervised(
        model, losses.cross_entropy, metrics={"accuracy": metrics.accuracy}, preprocess=rule
    )
    about = {"name": "digits", "data_dir": None, "training images": len(images)}
    description = export.describe_run(model, rule, NAMES, data=about, averaged=ema is not None)
    state, history = train.run(
        train.make_step(loss_fn, tx),
        state,
        digits().train,
        num_epochs=2,
        batch_size=64,
        key=order_key,
        eval_fn=train.make_eval(loss_fn, averaged=ema is not None),
        eval_data=digits().test,
        workdir=folder,
        description=description,
        progress=False,
    )
    return kept, state, history, description


def make_bundle(folder):
    """A bundle of a network for gray images of 6x5 pixels and three classes; its variables."""
    model = models.MLP((4, 3))
    rng = np.random.default_rng(0)
    like = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6, 5, 1)))
    variables = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), like)
    rule = export.Preprocessing((6, 5, 1), mean=(0.25,), std=(0.5,))
    bundle = export.make_bundle(
        model,
        variables,
        rule,
        ["cat", "dog", "bird"],
        data={"name": "pets", "data_dir": "/home/me"},
        metrics={"test/accuracy": 0.75, "epoch_seconds": 3.0},
        confusion_matrix=[[8, 2, 0], [1, 9, 0], [3, 2, 5]],
    )
    export.save_bundle(folder, bundle, limits="Drawings were not tried.")
    return model, variables
