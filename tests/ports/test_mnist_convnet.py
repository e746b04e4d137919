"""MNIST of pytorch/examples: its ConvNet, Adadelta at 1.0, StepLR(1, 0.7). 33 lines of code.

Source: https://github.com/pytorch/examples/blob/main/mnist/main.py
"""

import flax.linen as nn
import numpy as np
import pytest
from helpers.same import assert_same, without_times

from jaxdl import data, losses, metrics, optim, train, transforms
from jaxdl.nn import Conv, Dense, flatten, max_pool


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(Conv(32, 3)(x))
        x = max_pool(nn.relu(Conv(64, 3)(x)), 2)
        x = flatten(nn.Dropout(0.25, deterministic=not train)(x))
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(Dense(128)(x)))
        return Dense(10)(x)


def train_net(num_epochs, workdir=None):
    digits = data.load("digits")
    loss_fn = train.supervised(
        Net(),
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=transforms.normalize(*data.mean_and_std(digits.train["image"])),
    )
    steps_per_epoch = -(-len(digits.train["label"]) // 64)
    tx = optim.adadelta(optim.schedules.step_decay(1.0, steps_per_epoch, 0.7))
    return train.run(
        train.make_step(loss_fn, tx),
        train.init_state(loss_fn, tx, 0, digits.train),
        digits.train,
        num_epochs=num_epochs,
        batch_size=64,
        key=1,
        eval_fn=train.make_eval(loss_fn),
        eval_data=digits.test,
        workdir=workdir,
        resume=True,
    )


# The port ends here


@pytest.mark.slow
def test_learns_decays_and_resumes_to_the_bit(tmp_path):
    state, history = train_net(3, tmp_path / "whole")
    assert history[-1]["test/accuracy"] > 0.9
    np.testing.assert_allclose([row["learning_rate"] for row in history], [1, 0.7, 0.49], rtol=1e-6)
    train_net(1, tmp_path / "cut")
    resumed, rows = train_net(3, tmp_path / "cut")
    assert_same(resumed, state)
    assert without_times(rows) == without_times(history)
