"""Weights and gradients of the PyTorch fixtures, and the path of an optimizer along them."""

import jax
import jax.numpy as jnp

from helpers.oracle import read_cases

CASES = read_cases("optim")
START, GRADIENTS = CASES["start"]["weights"], CASES["start"]["gradients"]


def path_of(tx, weights=START, gradients=GRADIENTS, read=lambda params, state: params):
    """The results of ``read`` after each step along given gradients."""

    @jax.jit
    def steps(params, state):
        def step(carry, gradient):
            params, state = carry
            updates, state = tx.update(gradient, state, params)
            params = jax.tree.map(lambda p, u: p + u, params, updates)
            return (params, state), read(params, state)

        return jax.lax.scan(step, (params, state), gradients)[1]

    params = jax.tree.map(jnp.asarray, weights)
    return steps(params, tx.init(params))
