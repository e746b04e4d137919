"""Properties that a jaxpr shows: dependence through control flow, and convolutions."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jaxdl._jaxpr import dependent_outputs, has_convolution, respects_mask


def carried(x, y):
    """Two carries that change places, so that x reaches both."""
    return lax.scan(lambda carry, _: ((carry[1], carry[0]), None), (x, y), length=3)[0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: (x + 1, y + 1, x * y), [True, False, True]),
        (jax.jit(lambda x, y: (jnp.sin(y), x)), [False, True]),
        (carried, [True, True]),
        (lambda x, y: lax.cond(x > 0, lambda: y, lambda: -y), [True]),
        (lambda x, y: lax.cond(y > 0, lambda: (x, y), lambda: (-x, y)), [True, False]),
        (lambda x, y: lax.fori_loop(0, 3, lambda _, z: z * y, y), [False]),
        (lambda x, y: (jnp.zeros_like(x), y), [False, False]),
    ],
    ids=["primitives", "jit", "scan", "condition", "branches", "loop", "shape"],
)
def test_outputs_that_depend_on_the_first_input(function, expected):
    closed = jax.make_jaxpr(function)(1.0, 2.0)
    assert dependent_outputs(closed.jaxpr, [True, False]) == expected


def test_a_batch_norm_that_is_not_given_the_mask_counts_padding():
    batch = {"x": jnp.ones(3), "mask": jnp.ones(3)}

    def step(state, batch):
        mask = batch["mask"]
        loss = (batch["x"] * mask).sum() / mask.sum()
        return state + batch["x"].mean(), loss

    assert not respects_mask(step, 0.0, batch)
    assert respects_mask(lambda state, batch: step(state, batch)[1], 0.0, batch)


def test_a_convolution_is_found_inside_loops():
    def convolve(x):
        return lax.conv(x, jnp.ones((1, 1, 2, 2)), (1, 1), "SAME")

    def loop(x):
        return lax.fori_loop(0, 2, lambda _, y: jax.jit(convolve)(y), x)

    x = jnp.ones((1, 1, 4, 4))
    for function, expected in ((convolve, True), (loop, True), (lambda x: x @ x, False)):
        assert has_convolution(jax.make_jaxpr(function)(x).jaxpr) is expected
