"""A sweep of an own model over learning rates, widths and seeds. 33 lines of code.

Source: the nested loops over settings that PyTorch users write, or Optuna's grid.
"""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxdl import data, losses, optim, sweep, train, transforms
from jaxdl.nn import Dense


class Net(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        return Dense(10)(nn.relu(Dense(self.width)(x.reshape(len(x), -1))))


def train_one(key, hparams, digits):
    init_key, order_key = jax.random.split(key)
    loss_fn = train.supervised(
        Net(hparams["width"]), losses.cross_entropy, preprocess=transforms.to_float
    )
    tx = optim.adam(hparams["learning_rate"])
    return train.fit(
        train.make_step(loss_fn, tx),
        train.init_state(loss_fn, tx, init_key, digits["train"]),
        digits["train"],
        num_epochs=2,
        batch_size=128,
        key=order_key,
        eval_fn=train.make_eval(loss_fn),
        eval_data=digits["test"],
    )


def search():
    digits = data.load("digits")
    return sweep.sweep(
        train_one,
        sweep.grid(learning_rate=[1e-4, 1e-2], width=[8, 32]),
        {"train": digits.train, "test": digits.test},
        seeds=range(2),
    )


# The port ends here


@pytest.mark.slow
def test_it_finds_the_best_and_a_member_equals_its_solo_run():
    result = search()
    best = result.hparams[result.best]
    assert best == {"learning_rate": 1e-2, "width": 32}
    assert result.history["test/loss"].shape == (8, 2)
    table = result.table().splitlines()
    assert len(table) == 5
    assert table[1].split()[:2] == ["0.01", "32"]
    digits = data.load("digits")
    arrays = {"train": digits.train, "test": digits.test}
    _, history = train_one(jax.random.key(int(result.seeds[result.best])), best, arrays)
    np.testing.assert_allclose(
        history["test/loss"], result.history["test/loss"][result.best], rtol=1e-4
    )
