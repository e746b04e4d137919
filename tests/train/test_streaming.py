"""Batches that are read while the device computes: streams, errors and bad values in them."""

import jax
import jax.numpy as jnp
import pytest
from helpers.same import assert_same_run
from helpers.streaming_script import Images, make_loader, make_parts, run

from jaxdl import data


@pytest.fixture(scope="module")
def parts():
    return make_parts()


@pytest.mark.slow
def test_nan_is_located_in_a_streamed_batch(parts, tmp_path):
    step, eval_fn, state = parts

    def broken(state, batch):
        state, values = step(state, batch)
        bad = jnp.where(state.step == 8, jnp.nan, 1.0)
        return state.replace(params=jax.tree.map(lambda leaf: leaf * bad, state.params)), values

    third = make_loader().indices(1)[2][:3]
    message = f"at step 7, batch 2 of the epoch .examples {third[0]}, {third[1]}, {third[2]}, "
    with pytest.raises(FloatingPointError, match=message):
        run((broken, eval_fn, state), make_loader(num_workers=1), workdir=tmp_path)


def test_an_iterable_trains_for_epochs_of_a_given_size(parts):
    source = Images()
    examples = [source[index] for index in range(70)]
    stream = data.Loader(data.from_iterable(lambda: examples), batch_size=16, epoch_size=70)
    ours = run(parts, stream, num_epochs=2)
    assert_same_run(ours, run(parts, make_loader(shuffle=False), num_epochs=2))
    with pytest.raises(ValueError, match="pass epoch_size="):
        run(parts, stream.replace(epoch_size=None))


def test_an_error_while_reading_reaches_the_caller(parts):
    class Broken(Images):
        def __getitem__(self, index):
            if index == 33:
                raise OSError("the file of example 33 is damaged")
            return super().__getitem__(index)

    for num_workers in (0, 2):
        with pytest.raises(OSError, match="file of example 33"):
            run(parts, make_loader(Broken(), num_workers=num_workers))


def test_a_label_below_zero_is_named(parts):
    source = Images()
    source.label[40] = -1
    with pytest.raises(ValueError, match=r"labels must lie in 0 to .*, got -1"):
        run(parts, make_loader(source))
