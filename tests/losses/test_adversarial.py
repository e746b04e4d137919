"""Adversarial losses and penalties: hand-computed numbers, PyTorch's, extreme values, bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_gan import draw, uniform
from helpers.oracle import compare, read_cases
from jax.test_util import check_grads

from jaxdl.losses import adversarial

CASES = read_cases("gan")
LOSSES = {
    "least_squares": adversarial.least_squares(),
    "least_squares smoothed": adversarial.least_squares(real_target=0.9, fake_target=0.1),
    "on_probabilities": adversarial.on_probabilities(),
    "on_probabilities smoothed": adversarial.on_probabilities(real_target=0.9, fake_target=0.1),
    "non_saturating": adversarial.non_saturating(),
    "non_saturating smoothed": adversarial.non_saturating(real_target=0.9),
    "saturating": adversarial.saturating(),
    "hinge": adversarial.hinge(),
    "wasserstein": adversarial.wasserstein(),
}


def parts(loss):
    return {"real": loss.real, "fake": loss.fake, "generator": loss.generator}


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(function, outputs):
    values, pull = jax.vjp(function, outputs)
    return values, pull(jnp.ones_like(values))[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_equal_pytorchs(name):
    arrays = CASES[f"loss {name}"]
    for player, function in parts(LOSSES[name]).items():
        values, gradient = value_and_gradient(function, arrays["outputs"])
        compare(f"GAN loss {name}", values, arrays[player])
        compare(f"GAN loss {name}", gradient, arrays[f"{player}_gradient"])


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_the_values(name):
    outputs = 2 * draw("check", (4, 3))
    if "probabilities" in name:
        outputs = 0.2 + 0.6 * uniform("check", (4, 3))
    for function in parts(LOSSES[name]).values():
        check_grads(jax.jit(function), (jnp.asarray(outputs),), 1, ["rev"], 1e-2, 1e-2, eps=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LOSSES if "probabilities" not in name])
def test_extreme_outputs_stay_finite(name):
    outputs = jnp.array([[1e4], [-1e4], [0.0]])
    for function in parts(LOSSES[name]).values():
        values, gradient = value_and_gradient(function, outputs)
        assert jnp.isfinite(values).all()
        assert jnp.isfinite(gradient).all()


def test_a_hopeless_generator_still_learns_where_the_loss_does_not_saturate():
    outputs = jnp.array([[-20.0]])  # the discriminator is sure that this is fake
    _, strong = value_and_gradient(adversarial.non_saturating().generator, outputs)
    _, weak = value_and_gradient(adversarial.saturating().generator, outputs)
    np.testing.assert_allclose(strong, [[-1.0]], rtol=1e-6)
    np.testing.assert_allclose(weak, [[-np.exp(-20.0)]], rtol=1e-5)


def test_half_precision_is_computed_in_float32():
    outputs = jnp.full((2, 1), 0.3, jnp.bfloat16)
    for name, loss in LOSSES.items():
        for function in parts(loss).values():
            values = function(outputs)
            assert values.dtype == jnp.float32, name
            np.testing.assert_array_equal(values, function(outputs.astype(jnp.float32)))


def test_outputs_need_a_batch_axis():
    for loss in LOSSES.values():
        with pytest.raises(ValueError, match=r"leading batch axis \(B, ...\), got shape \(\)"):
            loss.real(jnp.zeros(()))


def test_targets_outside_their_range_are_named():
    for make in (
        adversarial.non_saturating,
        adversarial.saturating,
        adversarial.on_probabilities,
    ):
        with pytest.raises(ValueError, match=r"real_target must lie in 0 to 1, got 1\.2"):
            make(real_target=1.2)
        with pytest.raises(ValueError, match=r"fake_target must lie in 0 to 1, got -0\.1"):
            make(fake_target=-0.1)


# Penalties

REAL, FAKE = draw("penalty/real", (4, 5)), draw("penalty/fake", (4, 5))
FIRST, SECOND = draw("penalty/first", (5, 7)) / 2, draw("penalty/second", (7, 1))
SHARE = uniform("penalty/share", (4, 1))


def critic(weights, x):
    return jnp.tanh(x @ weights[0]) @ weights[1]


@pytest.mark.parametrize("name", ["gradient_penalty", "squared_gradient_norm"])
def test_penalties_and_their_gradients_equal_pytorchs(name):
    inputs = SHARE * REAL + (1 - SHARE) * FAKE if name == "gradient_penalty" else REAL

    def penalty(weights):
        return getattr(adversarial, name)(functools.partial(critic, weights), inputs)

    values, gradients = value_and_gradient(penalty, (FIRST, SECOND))
    expected = CASES[name]
    compare(f"GAN {name}", values, expected["values"])
    compare(f"GAN {name}", gradients, (expected["first"], expected["second"]))
    check_grads(jax.jit(penalty), ((FIRST, SECOND),), 1, ["rev"], 1e-2, 1e-2, eps=1e-3)


def test_a_straight_critic_has_the_penalty_of_its_slope():
    """D(x) = 3·x has slope 3 everywhere: (3 - 1)² and 3², times λ and γ/2."""

    def straight(x):
        return 3.0 * x[:, :1]

    keys = jax.random.split(jax.random.key(0))
    values = adversarial.wgan_gp(10.0)(straight, REAL, FAKE, keys[0])
    np.testing.assert_allclose(values, np.full(4, 40.0), rtol=1e-6)
    values = adversarial.r1(4.0)(straight, REAL, FAKE, keys[1])
    np.testing.assert_allclose(values, np.full(4, 18.0), rtol=1e-6)
    values = adversarial.gradient_penalty(straight, REAL, target=3.0)
    np.testing.assert_allclose(values, np.zeros(4), atol=1e-10)


def test_the_places_of_the_penalty_lie_between_the_examples():
    """With D(x) = |x|²/2 the slope is |x|: between 0 and 1 where x goes from 0 to a unit vector."""
    unit, zero = jnp.eye(500, 600), jnp.zeros((500, 600))
    penalty = adversarial.wgan_gp(1.0, target=0.0)
    values = penalty(lambda x: (x**2).sum(axis=1) / 2, unit, zero, jax.random.key(0))
    shares = np.sqrt(np.asarray(values))
    assert shares.min() >= 0
    assert shares.max() <= 1
    np.testing.assert_allclose([shares.mean(), shares.std()], [0.5, 12**-0.5], atol=0.03)


def test_a_flat_critic_has_a_finite_gradient():
    def penalty(weight):
        return adversarial.gradient_penalty(lambda x: weight * x.sum(axis=1), REAL).sum()

    value, gradient = jax.value_and_grad(penalty)(0.0)
    assert (value, gradient) == (4.0, 0.0)


def test_penalties_check_their_weights():
    for make in (adversarial.wgan_gp, adversarial.r1):
        with pytest.raises(ValueError, match="weight must be greater than 0, got"):
            make(0.0)
    with pytest.raises(ValueError, match="target must be at least 0, got -1"):
        adversarial.gradient_penalty(lambda x: x.sum(axis=1), REAL, target=-1.0)
