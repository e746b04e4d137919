"""Multi-class, binary and multi-label losses by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import (
    LABEL,
    LABELS,
    LN2,
    LOGITS,
    ONE,
    PROBABILITIES,
    WEIGHTS,
    B,
    close,
    draw,
    gradient_of,
    run,
)
from helpers.oracle import read_cases

from jaxdl import losses, metrics

CASES = read_cases("losses")


@pytest.mark.parametrize(
    ("smoothing", "label", "expected"),
    [(0.0, 0, 0.40761), (0.0, 1, 1.40761), (0.0, 2, 2.40761), (0.1, 0, 0.50761), (1.0, 0, 1.40761)],
)
def test_cross_entropy_by_hand(smoothing, label, expected):
    close(
        run(losses.cross_entropy, LOGITS, jnp.array([label]), label_smoothing=smoothing), [expected]
    )


def test_cross_entropy_with_smoothing_over_the_wrong_classes_only():
    """0.9 for the right class, 0.1/(C-1) for each other one: they sum to 1."""
    close(run(losses.cross_entropy, LOGITS, LABEL, label_smoothing=0.1 * 3 / 2), [0.55761])
    zeros = jnp.zeros((1, 10))
    gradient = gradient_of(losses.cross_entropy, zeros, LABEL, label_smoothing=0.1 * 10 / 9)
    target = 0.1 - gradient[0]  # the gradient is softmax minus target
    close(target, [0.9] + [0.1 / 9] * 9, atol=1e-6)
    close(target.sum(), 1.0, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy_of_equal_logits_is_log_of_the_classes(smoothing):
    loss = run(
        losses.cross_entropy, jnp.zeros((2, 10)), jnp.array([3, 9]), label_smoothing=smoothing
    )
    np.testing.assert_allclose(loss, [2.3025851] * 2, rtol=1e-6)


def test_cross_entropy_gradient_is_softmax_minus_target():
    gradient = gradient_of(losses.cross_entropy, LOGITS, LABEL)
    close(gradient[0], [0.66524 - 1, 0.24473, 0.09003])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_extreme_logits_is_exact(smoothing):
    logits = jnp.array([[1e4, -1e4, 0.0]] * 3)
    values = run(losses.cross_entropy, logits, jnp.arange(3), label_smoothing=smoothing)
    spread = 1e4 * smoothing
    exact = [spread, 2e4 * (1 - smoothing) + spread, 1e4 * (1 - smoothing) + spread]
    np.testing.assert_allclose(values, exact, rtol=1e-6)


def test_cross_entropy_of_tokens_is_that_of_every_token():
    logits, labels = draw(2, 3, 4), jnp.array([[0, 3, -100], [1, 2, 0]])
    flat = run(losses.cross_entropy, logits.reshape(6, 4), labels.reshape(6))
    np.testing.assert_array_equal(run(losses.cross_entropy, logits, labels), flat.reshape(2, 3))


def test_class_weights_by_hand():
    weights = jnp.array([2.0, 3.0, 4.0])
    close(run(losses.cross_entropy, LOGITS, LABEL, class_weights=weights), [2 * 0.40761], atol=1e-5)
    # torch's uniform part is weighted class by class: (2·0.40761 + 3·1.40761 + 4·2.40761) / 3
    smoothed = run(losses.cross_entropy, LOGITS, LABEL, class_weights=weights, label_smoothing=0.1)
    close(smoothed, [0.9 * 0.81522 + 0.1 * 14.66849 / 3], atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, jnp.array([2.0, 3.0, 4.0])])
def test_an_ignored_label_has_no_loss_and_no_gradient(smoothing, weights):
    logits = jnp.array([[1e4, -1e4, 0.0], [2.0, 1.0, 0.0], [1e30, -1e30, 0.0]])
    labels = jnp.array([-100, 0, -100])
    options = {"label_smoothing": smoothing, "class_weights": weights}
    values = run(losses.cross_entropy, logits, labels, **options)
    gradient = gradient_of(losses.cross_entropy, logits, labels, **options)
    assert values[0] == values[2] == 0
    np.testing.assert_array_equal(gradient[::2], 0)
    alone = run(losses.cross_entropy, LOGITS, LABEL, **options)
    np.testing.assert_allclose(values[1], alone[0], rtol=1e-6)
    assert jnp.abs(gradient[1]).max() > 0.1


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll, losses.focal])
def test_labels_out_of_range_give_nan_and_never_another_classs_loss(loss):
    labels = jnp.array([3, -1, -101, -100, 2])
    values = run(loss, jnp.broadcast_to(LOGITS, (5, 3)), labels)
    np.testing.assert_array_equal(jnp.isnan(values), [True, True, True, False, False])
    everything = run(loss, jnp.broadcast_to(LOGITS, (5, 3)), labels, ignore_label=None)
    np.testing.assert_array_equal(jnp.isnan(everything), [True, True, True, True, False])


def test_labels_of_an_unsigned_dtype_and_another_ignored_label():
    labels = jnp.array([0, 255, 2], jnp.uint8)
    values = run(losses.cross_entropy, jnp.broadcast_to(LOGITS, (3, 3)), labels, ignore_label=255)
    close(values, [0.40761, 0.0, 2.40761])


def test_label_weights():
    labels = jnp.array([[0, -100], [2, 1]])
    np.testing.assert_array_equal(run(losses.label_weights, labels), [[1, 0], [1, 1]])
    weights = jnp.array([2.0, 3.0, 4.0])
    np.testing.assert_array_equal(run(losses.label_weights, labels, weights), [[2, 0], [4, 3]])
    np.testing.assert_array_equal(
        run(losses.label_weights, labels, ignore_label=1), [[1, 1], [1, 0]]
    )
    np.testing.assert_array_equal(
        run(losses.label_weights, labels, ignore_label=None), [[1, 1], [1, 1]]
    )
    assert jnp.isnan(run(losses.label_weights, jnp.array([3]), weights)).all()


def test_label_weights_as_a_mask_give_torchs_mean():
    case = {key: jnp.asarray(array) for key, array in CASES["cross_entropy mean"].items()}
    values = run(losses.cross_entropy, case["logits"], case["labels"])
    total, count = metrics.mean(
        values, run(losses.label_weights, case["labels"], case["class_weights"])
    )
    np.testing.assert_allclose(total / count, case["values"], rtol=1e-6)


def test_nll_by_hand():
    probabilities = jnp.log(jnp.array([[0.25, 0.75], [0.5, 0.5]]))
    close(run(losses.nll, probabilities, jnp.array([1, 0])), [0.287682, LN2])
    weights = jnp.array([3.0, 2.0])
    close(
        run(losses.nll, probabilities, jnp.array([1, -100]), class_weights=weights), [0.575364, 0]
    )


def test_focal_by_hand():
    logits = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
    # (1 - 0.9)² · -log 0.9 and (1 - 0.1)² · -log 0.1
    close(run(losses.focal, logits, jnp.array([0, 0])), [0.01 * 0.105361, 0.81 * 2.302585])
    np.testing.assert_allclose(
        run(losses.focal, draw(B, 4), LABELS, gamma=0.0, class_weights=WEIGHTS),
        run(losses.cross_entropy, draw(B, 4), LABELS, class_weights=WEIGHTS),
        rtol=1e-5,
    )


def test_binary_cross_entropy_by_hand():
    logits = jnp.array([[0.0, 0.0], [2.0, -1.0]])
    targets = jnp.array([[1.0, 0.0], [1.0, 0.5]])
    # log(1 + e^-2) = 0.126928; half of log(1 + e) and half of log(1 + 1/e) = 0.813262
    close(run(losses.binary_cross_entropy, logits, targets), [LN2, (0.126928 + 0.813262) / 2], 1e-6)


def test_binary_cross_entropy_of_one_output_an_example_and_integer_targets():
    close(run(losses.binary_cross_entropy, jnp.zeros(3), jnp.array([0, 1, 1])), [LN2] * 3, 1e-6)


def test_binary_cross_entropy_of_extreme_logits_is_exact():
    logits, targets = jnp.array([1e4, 1e4, -1e4, -1e4]), jnp.array([0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(run(losses.binary_cross_entropy, logits, targets), [1e4, 0, 0, 1e4])
    gradient = gradient_of(losses.binary_cross_entropy, logits, targets)
    np.testing.assert_allclose(gradient, [1, 0, 0, -1])


def test_binary_cross_entropy_keeps_the_digits_of_confident_outputs():
    logits, targets = jnp.array([-20.0, 20.0]), jnp.array([0.0, 1.0])
    loss = run(losses.binary_cross_entropy, logits, targets)
    np.testing.assert_allclose(loss, [math.log1p(math.exp(-20))] * 2, rtol=1e-5)
    gradient = gradient_of(losses.binary_cross_entropy, logits, targets)
    np.testing.assert_allclose(jnp.abs(gradient), [1 / (1 + math.exp(20))] * 2, rtol=1e-5)


def test_binary_cross_entropy_has_its_second_derivative_where_logits_are_0():
    """σ(1 - σ) = 1/4: where Newton's method starts."""

    def gradient(z):
        return gradient_of(losses.binary_cross_entropy, z[None], jnp.array([1.0]))[0]

    value, second = jax.jit(jax.value_and_grad(gradient))(0.0)
    assert value == -0.5
    assert second == 0.25


def test_binary_cross_entropy_on_probabilities_by_hand():
    probabilities, targets = jnp.array([0.5, 0.25, 0.0, 1.0, 1.0]), jnp.array([1, 1, 1, 0, 1.0])
    values = run(losses.binary_cross_entropy_on_probabilities, probabilities, targets)
    close(values, [LN2, 2 * LN2, 100, 100, 0], 1e-6)
    outside = run(losses.binary_cross_entropy_on_probabilities, jnp.array([-0.1, 1.1]), jnp.ones(2))
    assert jnp.isnan(outside).all()


def test_binary_focal_by_hand():
    logits = jnp.log(jnp.array([9.0, 1 / 9]))  # probabilities 0.9 and 0.1
    values = run(losses.binary_focal, logits, jnp.ones(2), alpha=0.25)
    close(values, [0.25 * 0.01 * 0.105361, 0.25 * 0.81 * 2.302585])
    np.testing.assert_allclose(
        run(losses.binary_focal, draw(B, 3), PROBABILITIES, gamma=0.0),
        run(losses.binary_cross_entropy, draw(B, 3), PROBABILITIES),
        rtol=1e-5,
    )


def test_positive_weight_by_hand():
    zeros, targets = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])
    close(losses.binary_cross_entropy(zeros, targets, positive_weight=3.0), [2 * LN2])
    weights = jnp.array([5.0, 7.0])
    close(losses.binary_cross_entropy(zeros, targets, positive_weight=weights), [3 * LN2])


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll, losses.focal])
@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (jnp.zeros(3), LABEL, {}, r"must have shape \(B, ..., C\), got \(3,\)"),
        (LOGITS, jnp.array([0, 1]), {}, r"labels must have shape \(1\), got \(2,\)"),
        (LOGITS, jnp.array([[1, 0, 0]]), {}, r"integers of shape \(1,\), got shape \(1, 3\)"),
        (LOGITS[None], LABEL, {}, r"labels must have shape \(1, 1\), got \(1,\)"),
        (LOGITS, jnp.array([0.0]), {}, "labels must be integers .* got dtype float32"),
        (LOGITS, jnp.array([True]), {}, "labels must be integers .* got dtype bool"),
        (
            LOGITS,
            LABEL,
            {"class_weights": jnp.ones(4)},
            r"class_weights must have shape \(3\), got \(4,\)",
        ),
        (
            LOGITS,
            LABEL,
            {"class_weights": jnp.ones((1, 3))},
            r"class_weights must have shape \(3\), got \(1, 3\)",
        ),
    ],
)
def test_losses_of_labels_refuse(loss, logits, labels, options, message):
    with pytest.raises(ValueError, match=message):
        loss(logits, labels, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.cross_entropy(LOGITS, LABEL, label_smoothing=1.5),
            "label_smoothing must lie in 0 to 1, got 1.5",
        ),
        (
            lambda: losses.cross_entropy(LOGITS, LABEL, label_smoothing=-0.1),
            "label_smoothing must lie in 0 to 1, got -0.1",
        ),
        (lambda: losses.focal(LOGITS, LABEL, gamma=-1), "gamma must be at least 0, got -1"),
        (lambda: losses.label_weights(jnp.zeros(2)), "labels must be integers"),
        (
            lambda: losses.label_weights(LABEL, jnp.ones((3, 1))),
            r"class_weights must have shape \(C\), got \(3, 1\)",
        ),
        (
            lambda: losses.binary_cross_entropy(ONE, ONE, positive_weight=jnp.ones(3)),
            r"positive_weight must be .* broadcast to one example \(2,\), got shape \(3,\)",
        ),
        (
            lambda: losses.binary_cross_entropy(ONE, ONE, positive_weight=jnp.ones((1, 2))),
            r"one example \(2,\), got shape \(1, 2\)",
        ),
        (lambda: losses.binary_focal(ONE, ONE, alpha=2.0), "alpha must lie in 0 to 1, got 2.0"),
        (lambda: losses.binary_focal(ONE, ONE, gamma=-0.5), "gamma must be at least 0, got -0.5"),
        (lambda: losses.cross_entropy(LOGITS, [0]), "labels must be an array, got a list"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_ideal_discriminator():
    """It says 0.5 for every image: 0.25 under squared error, log 2 under cross entropy."""
    half, targets = jnp.full(2, 0.5), jnp.array([0.0, 1.0])
    close(run(losses.squared_error, half, targets), [0.25] * 2)
    close(run(losses.binary_cross_entropy_on_probabilities, half, targets), [0.693147] * 2)
    close(run(losses.binary_cross_entropy, jnp.zeros(2), targets), [0.693147] * 2)


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll, losses.focal])
@pytest.mark.parametrize(("shape", "labels"), [((4, 1), (4,)), ((2, 3, 1), (2, 3))])
def test_one_class_is_refused_in_favor_of_binary_losses(loss, shape, labels):
    message = rf"at least 2 classes on the last axis, got shape \({shape[0]}.*binary_cross_entropy"
    with pytest.raises(ValueError, match=message):
        loss(jnp.zeros(shape), jnp.zeros(labels, jnp.int32))


def test_soft_targets_agree_with_labels_where_they_are_hard():
    hard = jax.nn.one_hot(LABELS, 4)
    logits = draw(B, 4)
    options = {"label_smoothing": 0.1, "class_weights": WEIGHTS}
    close(
        run(losses.soft_cross_entropy, logits, hard, **options),
        run(losses.cross_entropy, logits, LABELS, **options),
    )
    with pytest.raises(ValueError, match="targets must have shape"):
        losses.soft_cross_entropy(logits, LABELS)
