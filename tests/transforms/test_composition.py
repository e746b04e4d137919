"""Tests of ``jaxdl.transforms.composition``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import transforms

RNG = np.random.default_rng(0)


IMAGES = {
    "uint8": jnp.asarray(RNG.integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)),
    "float32": jnp.asarray(RNG.random((6, 8, 10, 3), dtype=np.float32)),
}


def test_compose_of_nothing_is_the_identity():
    image = IMAGES["uint8"][0]
    np.testing.assert_array_equal(transforms.compose()(jax.random.key(0), image), image)


# Chance and choice


def test_random_apply_keeps_its_probability():
    augment = transforms.random_apply(transforms.fixed(transforms.invert), 0.3)
    image = jnp.zeros((1, 1, 1), jnp.uint8)
    apply = jax.jit(jax.vmap(augment, (0, None)))
    drawn = np.asarray(apply(jax.random.split(jax.random.key(0), 4000), image))
    assert abs((drawn == 255).mean() - 0.3) < 4 * np.sqrt(0.21 / 4000)
    assert set(np.unique(drawn)) == {0, 255}


@pytest.mark.slow
def test_random_choice_keeps_its_weights():
    options = [transforms.fixed(transforms.affine, translate=(i, 0)) for i in range(3)]
    image = jnp.array([1.0, 0, 0]).reshape(1, 3, 1)
    for weights, expected in ((None, [1 / 3] * 3), ((1, 0, 3), [0.25, 0, 0.75])):
        choose = jax.jit(jax.vmap(transforms.random_choice(*options, weights=weights), (0, None)))
        drawn = np.asarray(choose(jax.random.split(jax.random.key(0), 3000), image))
        shares = drawn.mean(axis=(0, 1, 3))
        np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / np.sqrt(3000))
        assert (shares[1] == 0) == (expected[1] == 0)


# A dull picture, so that every operation changes it: autocontrast and equalize too.
IMAGE = jnp.asarray((40 + 150 * RNG.random((20, 24, 3))).astype(np.uint8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transforms.random_apply(transforms.random_flip(), 1.2), r"0 to 1, got 1\.2"),
        (
            lambda: transforms.random_apply(transforms.random_crop(size=8))(
                jax.random.key(0), IMAGE
            ),
            r"random_apply needs one shape.*\(20, 24, 3\).*\(8, 8, 3\)",
        ),
        (lambda: transforms.random_choice(), r"at least one augmentation, got none"),
        (
            lambda: transforms.random_choice(transforms.random_flip(), weights=(1, 2)),
            r"weights must be 1 numbers.*got \(1, 2\)",
        ),
        (
            lambda: transforms.random_choice(transforms.random_flip(), weights=(0,)),
            r"not all 0, got \(0,\)",
        ),
        (
            lambda: transforms.random_choice(
                transforms.random_flip(), transforms.fixed(transforms.to_float)
            )(jax.random.key(0), IMAGE),
            r"random_choice needs one shape and dtype.*float32",
        ),
        (lambda: transforms.fixed(IMAGE), r"fixed takes a function"),
    ],
)
def test_chance_and_choice_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
