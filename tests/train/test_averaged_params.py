"""Averaged weights with recomputed statistics; a separate key for every evaluated batch."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, losses, nn, optim, train
from jaxdl.metrics import mean
from jaxdl.types import TrainState

X = np.random.default_rng(0).normal(1.0, 2.0, (14, 5)).astype(np.float32)
Y = np.arange(14, dtype=np.int32) % 3


class Small(linen.Module):
    @linen.compact
    def __call__(self, x, *, mask=None, train=False):
        x = linen.Dense(4, name="first")(x)
        x = nn.BatchNorm(momentum=0.3, name="norm")(x, mask=mask, train=train)
        x = linen.BatchNorm(momentum=0.9, name="linens")(x, use_running_average=not train)
        return linen.Dense(3)(x)


def trained(model, tx):
    loss_fn = train.supervised(model, losses.cross_entropy, inputs="x", targets="y")
    state = train.init_state(model, tx, jax.random.key(0), jnp.zeros((1, 5)))
    step = jax.jit(train.make_step(loss_fn, tx))
    for _ in range(3):
        state, _ = step(state, {"x": jnp.asarray(X), "y": jnp.asarray(Y)})
    return loss_fn, state


@pytest.mark.slow
def test_statistics_are_the_means_over_batches_of_the_averaged_model():
    loss_fn, state = trained(Small(), optim.ema(optim.sgd(0.5), 0.6))
    arrays = {"x": X, "y": Y}
    new = train.with_averaged_params(loss_fn, state, arrays, batch_size=7)
    average = optim.averaged_params(state.opt_state)
    jax.tree.map(np.testing.assert_array_equal, new.params, average)
    kernel, bias = average["first"]["kernel"], average["first"]["bias"]
    hidden = (X @ np.asarray(kernel) + np.asarray(bias)).reshape(2, 7, 4)
    stats = new.model_state["batch_stats"]
    np.testing.assert_allclose(stats["norm"]["mean"], hidden.mean(1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(stats["norm"]["var"], hidden.var(1, ddof=1).mean(0), rtol=1e-4)
    np.testing.assert_allclose(stats["linens"]["mean"], average["norm"]["bias"], atol=1e-5)
    old = state.model_state["batch_stats"]["norm"]["mean"]
    assert np.abs(np.asarray(old) - np.asarray(stats["norm"]["mean"])).max() > 0.01
    loader = data.Loader(data.ArraySource(arrays), batch_size=7)
    streamed = train.with_averaged_params(loss_fn, state, loader)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        streamed.model_state,
        new.model_state,
    )


def test_statistics_may_be_large():
    """Inputs in [0, 60,000): means of 10,000 and variances of 100,000,000."""
    x = np.random.default_rng(1).uniform(0, 60_000, (14, 5)).astype(np.float32)
    x[:, 0] = 0.0  # a statistic that is 0 counts as well
    model = linen.BatchNorm(momentum=0.99)

    def loss_fn(params, model_state, batch, *, key, train):
        _, new = model.apply(
            {"params": params, **model_state},
            batch["x"],
            use_running_average=False,
            mutable="batch_stats",
        )
        return 0.0, (new, {})

    variables = model.init(jax.random.key(0), jnp.zeros((1, 5)), use_running_average=True)
    tx = optim.ema(optim.sgd(0.1))
    params, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    state = TrainState(jnp.int32(0), params, stats, tx.init(params), jax.random.key(1))
    new = train.with_averaged_params(loss_fn, state, {"x": x}, batch_size=7)
    parts = x.astype(np.float64).reshape(2, 7, 5)
    renewed = new.model_state["batch_stats"]
    # float32's 1 - 0.99 is 6e-6 off
    np.testing.assert_allclose(renewed["mean"], parts.mean(1).mean(0), rtol=2e-5)
    np.testing.assert_allclose(renewed["var"], parts.var(1).mean(0), rtol=2e-5)


@pytest.mark.slow
def test_without_an_average_there_is_nothing_to_renew():
    loss_fn, state = trained(Small(), optim.sgd(0.5))
    with pytest.raises(ValueError, match="found 0"):
        train.with_averaged_params(loss_fn, state, {"x": X, "y": Y})


@pytest.mark.slow
def test_batches_of_an_evaluation_draw_different_numbers():
    def draw(state, batch):
        return {"drawn": mean(jax.random.normal(state.key, batch["x"].shape[:1]))}

    _, state = trained(Small(), optim.sgd(0.5))
    alone = train.evaluate(draw, state, {"x": X[:7]}, batch_size=7)["drawn"]
    both = train.evaluate(draw, state, {"x": X}, batch_size=7)["drawn"]
    loader = data.Loader(data.ArraySource({"x": X}), batch_size=7)
    assert abs(both - alone) > 1e-3
    assert train.evaluate(draw, state, loader) == pytest.approx({"drawn": both})
