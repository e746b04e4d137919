"""Weight penalties and the loss of mixed labels by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import LABEL, LOGITS, close, cross_entropy_of_mixed, draw, run
from jax.test_util import check_grads

from jaxdl import losses


def test_mixup_by_hand():
    labels, partners = jnp.array([0, 0]), jnp.array([1, 2])
    logits = jnp.broadcast_to(LOGITS, (2, 3))
    # losses 0.40761, and 1.40761 or 2.40761 for the partner
    half = run(cross_entropy_of_mixed, logits, labels, partners, weight=0.5)
    close(half, [0.90761, 1.40761])
    weight = jnp.array([1.0, 0.25])
    each = run(cross_entropy_of_mixed, logits, labels, partners, weight)
    close(each, [0.40761, 1.90761])


def test_mixup_of_tokens_weights_whole_examples():
    logits, labels = draw(2, 3, 4), jnp.array([[0, 1, 2], [3, 0, 1]])
    weight = jnp.array([1.0, 0.0])
    mixed = run(cross_entropy_of_mixed, logits, labels, labels[::-1], weight)
    np.testing.assert_allclose(mixed[0], run(losses.cross_entropy, logits, labels)[0])
    np.testing.assert_allclose(mixed[1], run(losses.cross_entropy, logits, labels[::-1])[1])


PARAMS = {
    "Dense_0": {"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([10.0])},
    "Dense_1": {"kernel": jnp.array([[3.0]]), "bias": jnp.array([10.0])},
}


@pytest.mark.parametrize(
    ("penalty", "patterns", "expected"),
    [
        (losses.l1_penalty, "kernel$", 6.0),
        (losses.l2_penalty, "kernel$", 14.0),
        (losses.l1_penalty, ["Dense_0/kernel", "Dense_1/bias"], 13.0),
        (losses.l2_penalty, "Dense_0", 105.0),
    ],
)
def test_penalties_by_hand(penalty, patterns, expected):
    assert penalty(PARAMS, patterns) == expected


def test_gradients_of_penalties_reach_only_what_matches():
    gradient = jax.grad(losses.l1_penalty)(PARAMS, "kernel")
    np.testing.assert_array_equal(gradient["Dense_0"]["kernel"], [[1, -1]])
    np.testing.assert_array_equal(gradient["Dense_0"]["bias"], [0])
    kernels = {name: layer["kernel"] for name, layer in PARAMS.items()}
    for penalty in (losses.l1_penalty, losses.l2_penalty):
        check_grads(lambda params, f=penalty: f(params, "Dense"), (kernels,), 1, modes=["rev"])


def test_a_penalty_of_bfloat16_parameters_is_summed_in_float32():
    params = {"kernel": jnp.full(1000, 0.5, jnp.bfloat16)}
    total = losses.l1_penalty(params, "kernel")
    assert total.dtype == jnp.float32
    assert total == 500


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.with_mixed_labels(
                losses.cross_entropy, LOGITS, LABEL, jnp.array([0, 1]), 0.5
            ),
            r"partner_labels must have shape \(1\), got \(2,\)",
        ),
        (
            lambda: losses.with_mixed_labels(losses.cross_entropy, LOGITS, LABEL, LABEL, 1.5),
            "weight must lie in 0 to 1, got 1.5",
        ),
        (
            lambda: losses.with_mixed_labels(
                losses.cross_entropy, LOGITS, LABEL, LABEL, jnp.ones(3)
            ),
            r"weight must have shape \(1\), got \(3,\)",
        ),
        (lambda: losses.l1_penalty(PARAMS, "kernal"), "pattern 'kernal' matches no parameter"),
        (lambda: losses.l2_penalty(PARAMS, ["bias", "scale"]), "'scale' matches no parameter"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
