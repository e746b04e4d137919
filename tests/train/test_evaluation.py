"""Evaluation is exact: on the whole real test set, whatever the batch size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import data, losses, metrics, models, optim, train, transforms


@pytest.fixture(scope="module")
def evaluation(fashion_mnist):
    """An evaluation, a state, the test set, and its metrics in float64."""
    preprocess = transforms.normalize(*data.mean_and_std(fashion_mnist.train["image"]))
    model = models.MLP()
    example = preprocess(jnp.asarray(fashion_mnist.test["image"][:1]))
    state = train.init_state(model, optim.sgd(0.1), jax.random.key(0), example)
    loss_fn = train.supervised(
        model,
        losses.cross_entropy,
        metrics={"accuracy": metrics.accuracy},
        preprocess=preprocess,
    )
    logits = train.predict(
        lambda state, x: model.apply({"params": state.params}, preprocess(x)),
        state,
        fashion_mnist.test["image"],
    )
    labels = fashion_mnist.test["label"]
    logits = np.asarray(logits, np.float64)
    log_sums = np.log(np.exp(logits).sum(axis=1))
    expected = {
        "loss": (log_sums - logits[np.arange(len(labels)), labels]).mean(),
        "accuracy": (logits.argmax(axis=1) == labels).mean(),
    }
    return train.make_eval(loss_fn), state, fashion_mnist.test, expected


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000, 10**9])
def test_metrics_are_those_of_float64_for_any_batch_size(evaluation, batch_size):
    eval_fn, state, test, expected = evaluation
    ours = train.evaluate(eval_fn, state, test, batch_size=batch_size)
    assert ours == pytest.approx(expected, abs=1e-6)
