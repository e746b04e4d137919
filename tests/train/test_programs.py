"""Compiled programs live as long as their function."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest
from helpers.streaming_script import Images, make_parts

from jaxdl import train
from jaxdl.train._programs import program


def negative(function):
    return lambda x: -function(x)


def test_a_program_is_made_once_for_each_function():
    traced = []

    def square(x):
        traced.append(1)
        return x * x

    assert program(negative, square) is program(negative, square)
    assert [float(program(negative, square)(jnp.float32(x))) for x in (2, 3)] == [-4, -9]
    assert len(traced) == 1
    kept = program(negative, square)
    del square
    gc.collect()
    with pytest.raises(ReferenceError, match="has been deleted"):
        kept(jnp.zeros(3))  # of another shape, so traced again


def test_a_function_that_cannot_be_referenced_has_a_program_too():
    class Add(tuple):
        __slots__ = ()
        __hash__ = None

        def __call__(self, x):
            return x + self[0]

    assert float(program(negative, Add((2.0,)))(jnp.float32(1))) == -3


@pytest.mark.slow
def test_steps_and_their_programs_are_freed():
    def once():
        step, eval_fn, state = make_parts()
        arrays = Images(20).arrays()
        train.run(step, state, arrays, num_epochs=1, batch_size=16, key=0, eval_fn=eval_fn,
                  eval_data=arrays, progress=False)  # fmt: skip
        return weakref.ref(step.update), weakref.ref(eval_fn.fn)

    references = [reference for _ in range(3) for reference in once()]
    gc.collect()
    number = len(jax.devices()[0].client.live_executables())
    assert [reference() for reference in references] == [None] * 6
    once()
    gc.collect()
    assert len(jax.devices()[0].client.live_executables()) <= number
