"""Losses: hand-computed numbers, PyTorch's numbers, gradients, extreme values, wrong input."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl import losses, metrics

LOGITS = jnp.array([[2.0, 1.0, 0.0]])
LABEL = jnp.array([0])
LN2 = math.log(2.0)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def close(ours, expected, atol=5e-6):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=atol)


cross_entropy_of_mixed = functools.partial(losses.with_mixed_labels, losses.cross_entropy)


def run(loss, *inputs, **options):
    """The loss compiled as one program, which is quicker than each of its operations alone."""
    return jax.jit(functools.partial(loss, **options))(*inputs)


def gradient_of(loss, scores, *inputs, **options):
    """The gradient of the sum of the losses with respect to the scores."""
    return jax.jit(jax.grad(lambda scores: loss(scores, *inputs, **options).sum()))(scores)


# Every loss on six examples: the function, then its inputs

B = 6
LABELS = jnp.array([0, 3, 1, 2, 2, 0])
SIGNS = jnp.array([1, -1, 1, -1, -1, 1])
WEIGHTS = jnp.array([0.5, 1.0, 2.0, 3.0])
PROBABILITIES = jax.nn.sigmoid(draw(B, 3, seed=9))
PAIR = (draw(B, 3, seed=1), draw(B, 3, seed=2))
TRIPLET = (*PAIR, draw(B, 3, seed=3))
LOSSES = {
    "cross_entropy": (losses.cross_entropy, draw(B, 4), LABELS),
    "smoothed cross_entropy": (
        functools.partial(losses.cross_entropy, label_smoothing=0.1),
        draw(B, 4),
        LABELS,
    ),
    "weighted cross_entropy": (
        functools.partial(losses.cross_entropy, label_smoothing=0.1, class_weights=WEIGHTS),
        draw(B, 4),
        LABELS.at[1].set(-100),
    ),
    "nll": (losses.nll, draw(B, 4), LABELS.at[1].set(-100)),
    "focal": (losses.focal, draw(B, 4), LABELS),
    "focal 0.5": (functools.partial(losses.focal, gamma=0.5), draw(B, 4), LABELS),
    "binary_cross_entropy": (losses.binary_cross_entropy, draw(B, 3), PROBABILITIES),
    "weighted binary_cross_entropy": (
        functools.partial(losses.binary_cross_entropy, positive_weight=3.0),
        draw(B, 3),
        PROBABILITIES,
    ),
    "binary_cross_entropy_on_probabilities": (
        losses.binary_cross_entropy_on_probabilities,
        PROBABILITIES[::-1],
        PROBABILITIES,
    ),
    "binary_focal": (
        functools.partial(losses.binary_focal, alpha=0.25),
        draw(B, 3),
        (PROBABILITIES > 0.5).astype(jnp.float32),
    ),
    "squared_error": (losses.squared_error, *PAIR),
    "absolute_error": (losses.absolute_error, *PAIR),
    "huber": (losses.huber, *PAIR),
    "hinge_embedding": (losses.hinge_embedding, jnp.abs(draw(B)), SIGNS),
    "margin_ranking": (losses.margin_ranking, draw(B, seed=1), draw(B, seed=2), SIGNS),
    "triplet_margin": (losses.triplet_margin, *TRIPLET),
    "triplet_margin 3": (functools.partial(losses.triplet_margin, p=3, swap=True), *TRIPLET),
    "cosine_embedding": (losses.cosine_embedding, *PAIR, SIGNS),
    "kl_divergence": (losses.kl_divergence, -jnp.abs(draw(B, 3)), PROBABILITIES),
    "kl_divergence log_targets": (
        functools.partial(losses.kl_divergence, log_targets=True),
        -jnp.abs(draw(B, 3, seed=1)),
        -jnp.abs(draw(B, 3, seed=2)),
    ),
    "kl_to_standard_normal": (losses.kl_to_standard_normal, *PAIR),
    "negative_elbo": (losses.negative_elbo, draw(B, 2, 2), jax.nn.sigmoid(draw(B, 2, 2)), *PAIR),
    "mixup": (
        cross_entropy_of_mixed,
        draw(B, 4),
        LABELS,
        LABELS[::-1],
        PROBABILITIES[:, 0],
    ),
}
# inputs that are no scores: probabilities, and variances, whose exponential is not finite at 1e4
BOUNDED = {
    "binary_cross_entropy": (1,),
    "weighted binary_cross_entropy": (1,),
    "binary_cross_entropy_on_probabilities": (0, 1),
    "binary_focal": (1,),
    "kl_divergence": (1,),
    "kl_divergence log_targets": (1,),
    "kl_to_standard_normal": (1,),
    "negative_elbo": (1, 3),
    "mixup": (3,),
}


def is_float(array):
    return jnp.issubdtype(array.dtype, jnp.floating)


@functools.cache
def differentiable(name):
    """The loss as a function of its floating-point inputs, compiled."""
    function, *inputs = LOSSES[name]

    def of_floats(floats, others):
        floats, others = iter(floats), iter(others)
        return function(*[next(floats) if is_float(x) else next(others) for x in inputs])

    return of_floats


@functools.cache
def with_gradients(name):
    """(inputs, cotangent) -> losses and the gradients of the floating-point inputs."""

    def run(floats, others, cotangent):
        values, vjp = jax.vjp(lambda floats: differentiable(name)(floats, others), floats)
        return values, vjp(cotangent)[0]

    return jax.jit(run)


def split(inputs):
    return [x for x in inputs if is_float(x)], [x for x in inputs if not is_float(x)]


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    floats, others = split(LOSSES[name][1:])
    function = jax.jit(lambda *floats: differentiable(name)(floats, others))
    check_grads(function, floats, 1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_mask_equals_slice(name):
    """Padding of 1e4 under a mask leaves the mean and its gradient as they are without it."""
    inputs = [jnp.asarray(x) for x in LOSSES[name][1:]]
    padded = [x.at[4:].set(1e4) if is_float(x) else x for x in inputs]
    mask = (jnp.arange(B) < 4).astype(jnp.float32)

    values, gradients = with_gradients(name)(*split(padded), mask / 4)
    sliced, expected = with_gradients(name)(*split([x[:4] for x in inputs]), jnp.full(4, 0.25))
    total, count = metrics.mean(values, mask)
    np.testing.assert_allclose(total / count, sliced.mean(), rtol=1e-6)
    for ours, theirs in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(ours[:4], theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extreme_scores_have_finite_losses_and_gradients(name, sign):
    bounded = BOUNDED.get(name, ())
    inputs = [
        jnp.where(x * sign > 0, 1e4, -1e4) if is_float(x) and i not in bounded else x
        for i, x in enumerate(LOSSES[name][1:])
    ]
    values, gradients = with_gradients(name)(*split(inputs), jnp.ones(B))
    assert jnp.isfinite(values).all()
    assert all(jnp.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", LOSSES)
def test_bfloat16_is_computed_in_float32(name):
    """The only error is the rounding of the inputs."""
    floats, others = split(LOSSES[name][1:])
    halves = [x.astype(jnp.bfloat16) for x in floats]
    values, gradients = with_gradients(name)(halves, others, jnp.ones(B))
    rounded = [x.astype(jnp.float32) for x in halves]
    expected, expected_gradients = with_gradients(name)(rounded, others, jnp.ones(B))
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        assert ours.dtype == jnp.bfloat16
        # rounded to 8 bits once for every use of the input: mixup uses its outputs twice
        error = jnp.abs(ours.astype(jnp.float32) - theirs).max()
        assert error <= 2**-8 * jnp.abs(theirs).max()


# PyTorch


def mean_over_batch(logits, labels, class_weights, **options):
    total = losses.cross_entropy(logits, labels, class_weights=class_weights, **options).sum()
    return total / losses.label_weights(labels, class_weights).sum()


PARITY = {
    "cross_entropy": losses.cross_entropy,
    "cross_entropy smooth": functools.partial(losses.cross_entropy, label_smoothing=0.1),
    "cross_entropy weights ignore": losses.cross_entropy,
    "cross_entropy weights smooth ignore": functools.partial(
        losses.cross_entropy, label_smoothing=0.3
    ),
    "cross_entropy tokens": functools.partial(
        losses.cross_entropy, label_smoothing=0.1, ignore_label=0
    ),
    "cross_entropy mean": mean_over_batch,
    "cross_entropy mean smooth": functools.partial(mean_over_batch, label_smoothing=0.2),
    "nll": losses.nll,
    "focal 0.5": functools.partial(losses.focal, gamma=0.5),
    "focal 2.0": losses.focal,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "binary_cross_entropy positive_weight": losses.binary_cross_entropy,
    "binary_cross_entropy_on_probabilities": losses.binary_cross_entropy_on_probabilities,
    "binary_cross_entropy_on_probabilities edges": losses.binary_cross_entropy_on_probabilities,
    "binary_focal": functools.partial(losses.binary_focal, alpha=0.25),
    "squared_error": losses.squared_error,
    "absolute_error": losses.absolute_error,
    "huber": functools.partial(losses.huber, delta=0.5),
    "smooth_l1": lambda **pair: losses.huber(**pair, delta=0.5) / 0.5,
    "hinge_embedding": functools.partial(losses.hinge_embedding, margin=1.5),
    "margin_ranking": functools.partial(losses.margin_ranking, margin=0.5),
    "triplet_margin p2": losses.triplet_margin,
    "triplet_margin p2 swap": functools.partial(losses.triplet_margin, swap=True, margin=2.0),
    "triplet_margin p1": functools.partial(losses.triplet_margin, p=1.0),
    "triplet_margin p3": functools.partial(losses.triplet_margin, p=3.0),
    "triplet_margin pinf": functools.partial(losses.triplet_margin, p=math.inf),
    "triplet_margin eps0": functools.partial(losses.triplet_margin, eps=0.0),
    "cosine_embedding": losses.cosine_embedding,
    "cosine_embedding margin": functools.partial(losses.cosine_embedding, margin=0.3),
    "kl_divergence": losses.kl_divergence,
    "kl_divergence log_targets": functools.partial(losses.kl_divergence, log_targets=True),
    "kl_divergence zero targets": losses.kl_divergence,
    "kl_to_standard_normal": losses.kl_to_standard_normal,
    "negative_elbo": functools.partial(losses.negative_elbo, beta=0.5),
    "mixup": cross_entropy_of_mixed,
    "l1_penalty": lambda **params: losses.l1_penalty(params, "kernel"),
    "l2_penalty": lambda **params: losses.l2_penalty(params, "kernel"),
}
CASES = read_cases("losses")


def test_every_case_from_torch_is_compared():
    assert CASES.keys() == PARITY.keys()


@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_equal_torchs(name):
    case = {key: jnp.asarray(array) for key, array in CASES[name].items()}
    values, cotangent = case.pop("values"), case.pop("cotangent")
    gradients = {key: case.pop(key) for key in list(case) if key.endswith("_gradient")}
    wanted = {
        key.removesuffix("_gradient"): case.pop(key[: -len("_gradient")]) for key in gradients
    }

    @jax.jit
    def ours(wanted, others):
        values, vjp = jax.vjp(lambda wanted: PARITY[name](**wanted, **others), wanted)
        return values, vjp(cotangent)[0]

    our_values, our_gradients = ours(wanted, case)
    compare(f"losses: {name}", our_values, values)
    for key, gradient in our_gradients.items():
        compare(f"losses: {name}, gradient of {key}", gradient, gradients[f"{key}_gradient"])


# Cross entropy


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


def test_class_weights_by_hand():
    weights = jnp.array([2.0, 3.0, 4.0])
    close(run(losses.cross_entropy, LOGITS, LABEL, class_weights=weights), [2 * 0.40761], atol=1e-5)
    # torch's uniform part is weighted class by class: (2·0.40761 + 3·1.40761 + 4·2.40761) / 3
    smoothed = run(losses.cross_entropy, LOGITS, LABEL, class_weights=weights, label_smoothing=0.1)
    close(smoothed, [0.9 * 0.81522 + 0.1 * 14.66849 / 3], atol=2e-5)


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


def test_cross_entropy_of_tokens_is_that_of_every_token():
    logits, labels = draw(2, 3, 4), jnp.array([[0, 3, -100], [1, 2, 0]])
    flat = run(losses.cross_entropy, logits.reshape(6, 4), labels.reshape(6))
    np.testing.assert_array_equal(run(losses.cross_entropy, logits, labels), flat.reshape(2, 3))


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


# Binary


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


def test_positive_weight_by_hand():
    zeros, targets = jnp.zeros((1, 2)), jnp.array([[1.0, 0.0]])
    close(losses.binary_cross_entropy(zeros, targets, positive_weight=3.0), [2 * LN2])
    weights = jnp.array([5.0, 7.0])
    close(losses.binary_cross_entropy(zeros, targets, positive_weight=weights), [3 * LN2])


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


def test_the_ideal_discriminator():
    """It says 0.5 for every image: 0.25 under squared error, log 2 under cross entropy."""
    half, targets = jnp.full(2, 0.5), jnp.array([0.0, 1.0])
    close(run(losses.squared_error, half, targets), [0.25] * 2)
    close(run(losses.binary_cross_entropy_on_probabilities, half, targets), [0.693147] * 2)
    close(run(losses.binary_cross_entropy, jnp.zeros(2), targets), [0.693147] * 2)


# Regression


def test_squared_and_absolute_error_by_hand():
    predictions = jnp.array([[0.0, 1.0], [1.0, 1.0]])
    targets = jnp.array([[1.0, 3.0], [1.0, 0.0]])
    np.testing.assert_array_equal(run(losses.squared_error, predictions, targets), [2.5, 0.5])
    np.testing.assert_array_equal(run(losses.absolute_error, predictions, targets), [1.5, 0.5])


def test_errors_are_averaged_over_all_features_of_an_example():
    errors = run(losses.squared_error, jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 2.0))
    np.testing.assert_array_equal(errors, [4.0, 4.0])
    np.testing.assert_array_equal(
        run(losses.squared_error, jnp.arange(3.0), jnp.zeros(3)), [0, 1, 4]
    )


def test_half_the_squared_error_has_the_residual_as_gradient():
    gradient = jax.grad(lambda p: 0.5 * losses.squared_error(p, jnp.array([1.0])).sum())
    np.testing.assert_array_equal(gradient(jnp.array([3.5])), [2.5])


def test_pixels_of_unsigned_integers_do_not_wrap_around():
    pixels = jnp.array([250, 3], jnp.uint8)
    np.testing.assert_array_equal(losses.squared_error(jnp.array([251.0, 0.0]), pixels), [1, 9])
    np.testing.assert_array_equal(run(losses.absolute_error, pixels[::-1], pixels), [247, 247])


def test_huber_by_hand():
    errors = jnp.array([0.5, 2.0, -3.0, 0.0])
    np.testing.assert_array_equal(
        run(losses.huber, errors, jnp.zeros(4), delta=2.0), [0.125, 2.0, 4.0, 0.0]
    )


# Numbers that a sweep or a schedule traces


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("cross_entropy", "label_smoothing", 0.5),
        ("focal", "gamma", 0.5),
        ("binary_focal", "gamma", 0.5),
        ("huber", "delta", 0.5),
        ("hinge_embedding", "margin", -0.5),
        ("margin_ranking", "margin", -0.5),
        ("triplet_margin", "margin", 0.5),
        ("cosine_embedding", "margin", -0.5),
        ("negative_elbo", "beta", 0.5),
    ],
)
def test_a_traced_number_gives_the_same_loss(name, option, value):
    function, *inputs = LOSSES[name]
    traced = jax.jit(lambda number: function(*inputs, **{option: number}))(value)
    np.testing.assert_allclose(traced, run(function, *inputs, **{option: value}), rtol=1e-5)
    assert (traced != run(function, *inputs)).any()


# Distances and rankings


def test_hinge_embedding_by_hand():
    values = run(losses.hinge_embedding, jnp.array([0.5, 2.0, 0.25]), jnp.array([1, -1, -1]))
    close(values, [0.5, 0.0, 0.75])
    close(values[:2].mean(), 0.25)
    values = run(losses.hinge_embedding, jnp.array([-2.0, 0.5]), jnp.array([-1, -1]), margin=-1.0)
    close(values, [1.0, 0.0])  # PyTorch takes a negative margin too


def test_margin_ranking_by_hand():
    x1, x2, y = jnp.array([0.2, 0.2]), jnp.array([0.5, 0.5]), jnp.array([1, -1])
    close(run(losses.margin_ranking, x1, x2, y), [0.3, 0.0])
    close(run(losses.margin_ranking, x1, x2, y, margin=0.5), [0.8, 0.2])
    close(run(losses.margin_ranking, x1, x2, y, margin=-0.1), [0.2, 0.0])


def test_triplet_margin_by_hand():
    anchor, positive = jnp.zeros((2, 2)), jnp.array([[1.0, 0.0], [1.0, 0.0]])
    negative = jnp.array([[0.0, 3.0], [0.0, 1.5]])
    close(run(losses.triplet_margin, anchor, positive, negative), [0.0, 0.5])
    # swap: the positive is √(1 + 0.5²) from (1, 0.5), the anchor √(1 + 0.5²); 1 from (2, 0), not 2
    near = jnp.array([[2.0, 0.0]])
    close(run(losses.triplet_margin, anchor[:1], positive[:1], near, swap=True), [1.0])
    close(run(losses.triplet_margin, anchor[:1], positive[:1], near), [0.0])


def test_cosine_embedding_by_hand():
    x1, x2 = jnp.array([[3.0, 4.0]] * 3), jnp.array([[4.0, 3.0]] * 3)  # cosine 0.96
    close(run(losses.cosine_embedding, x1, x2, jnp.array([1, -1, 0])), [0.04, 0.96, 0.0])
    close(
        run(losses.cosine_embedding, x1, x2, jnp.array([1, -1, 0]), margin=0.5), [0.04, 0.46, 0.0]
    )
    close(run(losses.cosine_embedding, 0 * x1, x2, jnp.array([1, -1, 1])), [1.0, 0.0, 1.0])


# Distributions


def test_kl_divergence_by_hand():
    half, targets = jnp.log(jnp.full((1, 2), 0.5)), jnp.array([[0.25, 0.75]])
    close(run(losses.kl_divergence, half, targets), [0.13081])
    close(run(losses.kl_divergence, half, jnp.log(targets), log_targets=True), [0.13081])
    close(run(losses.kl_divergence, half, jnp.array([[1.0, 0.0]])), [LN2])


@pytest.mark.parametrize("log_targets", [False, True])
def test_a_target_of_0_costs_nothing_where_the_prediction_is_0_too(log_targets):
    predictions = jnp.array([[0.0, -jnp.inf]])
    targets = predictions if log_targets else jnp.array([[1.0, 0.0]])

    def loss(*inputs):
        return losses.kl_divergence(*inputs, log_targets=log_targets).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(predictions, targets)
    assert value == 0
    np.testing.assert_array_equal(gradients[0], [[-1.0, 0.0]])
    assert jnp.isfinite(gradients[1]).all()
    if not log_targets:
        assert jnp.isnan(loss(predictions, -targets))


def test_kl_to_standard_normal_by_hand():
    mean, log_variance = jnp.array([[0.0, 0.0], [1.0, 2.0]]), jnp.zeros((2, 2))
    close(run(losses.kl_to_standard_normal, mean, log_variance), [0.0, 2.5])
    # variance 4 in two latent variables: 2 · (4 - log 4 - 1) / 2
    close(
        run(losses.kl_to_standard_normal, jnp.zeros((1, 2)), jnp.full((1, 2), math.log(4))),
        [1.613706],
    )


def test_negative_elbo_by_hand():
    logits, targets = jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1))
    mean, log_variance = jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2))
    close(run(losses.negative_elbo, logits, targets, mean, log_variance), [4 * LN2 + 2.5])
    close(run(losses.negative_elbo, logits, targets, mean, log_variance, beta=4.0), [4 * LN2 + 10])


# Around a loss


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


# Wrong input


ONE = jnp.zeros((1, 2))


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.nll, losses.focal])
@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (jnp.zeros(3), LABEL, {}, r"must have shape \(B, ..., C\), got \(3,\)"),
        (LOGITS, jnp.array([0, 1]), {}, r"labels must have shape \(1\), got \(2,\)"),
        (LOGITS, jnp.array([[1, 0, 0]]), {}, r"labels must have shape \(1\), got \(1, 3\)"),
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
        (lambda: losses.huber(ONE, ONE, delta=0.0), "delta must be greater than 0, got 0.0"),
        (lambda: losses.triplet_margin(ONE, ONE, ONE, margin=0.0), "margin must be greater than 0"),
        (lambda: losses.triplet_margin(ONE, ONE, ONE, p=0.5), "p must be at least 1, got 0.5"),
        (
            lambda: losses.triplet_margin(LABEL, LABEL, LABEL),
            r"anchor must have shape \(B, D\), got \(1,\)",
        ),
        (
            lambda: losses.triplet_margin(ONE, ONE, LOGITS),
            r"negative must have shape \(1, 2\), got \(1, 3\)",
        ),
        (
            lambda: losses.cosine_embedding(ONE, ONE, jnp.ones(1), margin=1.5),
            "margin must lie in -1 to 1, got 1.5",
        ),
        (
            lambda: losses.cosine_embedding(ONE, ONE, ONE),
            r"targets must have shape \(1\), got \(1, 2\)",
        ),
        (
            lambda: losses.negative_elbo(ONE, ONE, jnp.zeros((3, 2)), jnp.zeros((3, 2))),
            r"mean must have shape \(1, 2\), got \(3, 2\)",
        ),
        (
            lambda: losses.negative_elbo(ONE, ONE, ONE, LOGITS),
            r"log_variance must have shape \(1, 2\), got \(1, 3\)",
        ),
        (lambda: losses.negative_elbo(ONE, ONE, ONE, ONE, beta=-1.0), "beta must be at least 0"),
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
        (lambda: losses.squared_error(jnp.array(1.0), jnp.array(1.0)), "leading batch axis"),
        (lambda: losses.squared_error([1.0], ONE), "predictions must be an array, got a list"),
        (lambda: losses.cross_entropy(LOGITS, [0]), "labels must be an array, got a list"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "loss",
    [
        losses.binary_cross_entropy,
        losses.binary_cross_entropy_on_probabilities,
        losses.binary_focal,
        losses.squared_error,
        losses.absolute_error,
        losses.huber,
        losses.hinge_embedding,
        losses.kl_divergence,
        lambda x, targets: losses.margin_ranking(x, x, targets),
    ],
)
def test_targets_of_another_shape_are_refused_and_never_broadcast(loss):
    with pytest.raises(ValueError, match=r"targets must have shape \(4, 1\), got \(4,\)"):
        loss(jnp.zeros((4, 1)), jnp.zeros(4))
