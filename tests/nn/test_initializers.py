"""Initial distributions: bounds, variance, independence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.nn import initializers

CASES = {
    "dense": (initializers.uniform_fan_in(), (64, 4000), 64),
    "convolution": (initializers.uniform_fan_in(), (3, 3, 16, 2000), 144),
    "bias": (initializers.uniform_fan_in_bias(25), (100_000,), 25),
}


@pytest.fixture(scope="module", params=CASES, ids=CASES)
def drawn(request):
    init, shape, fan_in = CASES[request.param]
    return init, shape, fan_in, np.asarray(init(jax.random.key(0), shape))


def test_values_fill_the_interval_of_one_over_root_fan_in(drawn):
    _, _, fan_in, values = drawn
    bound = fan_in**-0.5
    assert np.abs(values).max() <= bound
    assert values.max() > 0.999 * bound
    assert values.min() < -0.999 * bound


def test_mean_and_variance_are_those_of_the_uniform_distribution(drawn):
    _, _, fan_in, values = drawn
    # U(-b, b) has mean 0 and variance b²/3; four standard errors of each
    root = np.sqrt(values.size)
    assert abs(values.mean()) < 4 * np.sqrt(1 / (3 * fan_in)) / root
    np.testing.assert_allclose(values.var(), 1 / (3 * fan_in), rtol=4 * np.sqrt(0.8) / root)


def test_quarters_of_the_interval_are_equally_full(drawn):
    _, _, fan_in, values = drawn
    counts, _ = np.histogram(values, 4, (-(fan_in**-0.5), fan_in**-0.5))
    np.testing.assert_allclose(counts / values.size, 0.25, atol=0.01)


def test_the_same_seed_gives_the_same_values_and_another_one_independent_values(drawn):
    init, shape, _, values = drawn
    np.testing.assert_array_equal(init(jax.random.key(0), shape), values)
    other = np.asarray(init(jax.random.key(1), shape))
    correlation = np.corrcoef(values.ravel(), other.ravel())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(values.size)


@pytest.mark.parametrize("name", CASES)
def test_dtype_is_the_one_that_is_asked_for(name):
    init, shape, _ = CASES[name]
    assert init(jax.random.key(0), shape, jnp.bfloat16).dtype == jnp.bfloat16


SCALED = {
    # (initializer, shape, deviation) by the formulas of torch.nn.init
    "kaiming_normal": (initializers.kaiming_normal(), (64, 500), np.sqrt(2 / 64)),
    "kaiming_normal conv": (
        initializers.kaiming_normal("fan_out"),
        (3, 3, 20, 200),
        np.sqrt(2 / 1800),
    ),
    "kaiming_normal leaky": (
        initializers.kaiming_normal(negative_slope=0.2),
        (64, 500),
        np.sqrt(2 / 1.04 / 64),
    ),
    "kaiming_uniform": (initializers.kaiming_uniform(), (64, 500), np.sqrt(2 / 64)),
    "kaiming_uniform conv": (
        initializers.kaiming_uniform("fan_out"),
        (3, 3, 20, 200),
        np.sqrt(2 / 1800),
    ),
    "kaiming_uniform leaky": (
        initializers.kaiming_uniform(
            negative_slope=np.sqrt(5)
        ),  # torch.nn.Linear's own: ±1/√fan_in
        (64, 500),
        np.sqrt(1 / 3 / 64),
    ),
    "xavier_normal": (initializers.xavier_normal(), (64, 500), np.sqrt(2 / 564)),
    "xavier_normal gain": (
        initializers.xavier_normal(5 / 3),
        (64, 500),
        5 / 3 * np.sqrt(2 / 564),
    ),
    "xavier_uniform": (initializers.xavier_uniform(), (3, 3, 20, 200), np.sqrt(2 / 1980)),
    "xavier_uniform gain": (
        initializers.xavier_uniform(5 / 3),
        (64, 500),
        5 / 3 * np.sqrt(2 / 564),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALED)
def test_deviation_and_bounds_are_those_of_torchs_formulas(name):
    init, shape, deviation = SCALED[name]
    values = np.asarray(init(jax.random.key(0), shape)) / deviation
    assert values.std() == pytest.approx(1, rel=4 / np.sqrt(2 * values.size))
    largest = np.abs(values).max()
    if "uniform" in name:
        assert 0.999 * np.sqrt(3) < largest <= np.sqrt(3) * (1 + 1e-6)
    else:  # JAX's own stop at two deviations
        assert largest > 3.5
