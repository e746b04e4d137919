"""Properties of every loss: gradients, masks, extreme values, half precision, PyTorch's numbers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.losses import (
    LABELS,
    PROBABILITIES,
    WEIGHTS,
    B,
    cross_entropy_of_mixed,
    draw,
    run,
)
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl import losses, metrics

SIGNS = jnp.array([1, -1, 1, -1, -1, 1])
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
# inputs that are not scores: probabilities, and variances, whose exponential is infinite at 1e4
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


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_finite_differences(name):
    floats, others = split(LOSSES[name][1:])
    function = jax.jit(lambda *floats: differentiable(name)(floats, others))
    check_grads(function, floats, 1, modes=["rev"], atol=1e-2, rtol=1e-2, eps=1e-3)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
