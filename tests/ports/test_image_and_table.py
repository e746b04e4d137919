"""Image and table to class and number, early stopping, resume. 43 lines of code.

The program that PyTorch users write with a Dataset of dictionaries and a sum of two losses.
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.same import assert_same, without_times

from jaxdl import data, losses, metrics, optim, train, transforms
from jaxdl.nn import Dense


class ImageAndTable(nn.Module):
    @nn.compact
    def __call__(self, image, table):
        x = jnp.concatenate([image.reshape(len(image), -1), nn.relu(Dense(8)(table))], axis=1)
        x = nn.relu(Dense(32)(x))
        return {"label": Dense(10)(x), "price": Dense(1)(x)[:, 0]}


def both_losses(outputs, targets):
    return losses.cross_entropy(outputs["label"], targets["label"]) + losses.squared_error(
        outputs["price"], targets["price"]
    )


def train_both(examples, num_epochs, workdir=None, **options):
    training, validation = data.random_split(examples, [0.8, 0.2], 0)
    loss_fn = train.supervised(
        ImageAndTable(),
        both_losses,
        metrics={
            "accuracy": lambda outputs, y: metrics.accuracy(outputs["label"], y["label"]),
            "error": lambda outputs, y: losses.absolute_error(outputs["price"], y["price"]),
        },
        preprocess={"image": transforms.to_float},
        inputs=("image", "table"),
        targets=("label", "price"),
    )
    tx = optim.adam(1e-2)
    return train.run(
        train.make_step(loss_fn, tx),
        train.init_state(loss_fn, tx, 0, training),
        training,
        num_epochs=num_epochs,
        batch_size=32,
        key=1,
        eval_fn=train.make_eval(loss_fn),
        eval_data={"val": validation},
        patience=3,
        restore_best=True,
        workdir=workdir,
        resume=True,
        **options,
    )


# The port ends here


@pytest.fixture(scope="module")
def examples():
    """Digits with a table (N, 2) of numbers; the price is a sum of both and of the digit."""
    digits = data.load("digits").train
    table = np.random.default_rng(0).normal(size=(len(digits["label"]), 2)).astype(np.float32)
    price = (digits["label"] / 10 + table @ np.array([0.5, -1.0])).astype(np.float32)
    return {
        name: array[:600] for name, array in (digits | {"table": table, "price": price}).items()
    }


@pytest.mark.slow
def test_learns_stops_early_and_resumes_to_the_bit(examples, tmp_path):
    state, history = train_both(examples, 40, tmp_path / "whole")
    values = [row["val/loss"] for row in history]
    assert len(history) < 40
    assert len(history) - 1 - int(np.argmin(values)) == 3
    assert int(state.step) == history[int(np.argmin(values))]["step"]  # the best, not the last
    best = history[int(np.argmin(values))]
    assert best["val/accuracy"] > 0.85
    assert best["val/error"] < 0.5 * np.abs(examples["price"]).mean()
    train_both(examples, 2, tmp_path / "cut")
    resumed, rows = train_both(examples, 40, tmp_path / "cut")
    assert_same(resumed, state)
    assert without_times(rows) == without_times(history)
