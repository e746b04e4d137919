"""Batches by index: every example once, any batch again, padding that is masked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.collate import epoch_order, num_batches, sequential_order, take

SIZES = [
    (100, 6, 17, 4),
    (100, 100, 1, 100),
    (99, 5, 20, 4),
    (6, 3, 2, 3),
    (5, 1, 5, 1),
    (7, 6, 2, 1),
]


def make_data(number):
    numbers = np.arange(number)
    return {
        "image": jnp.asarray(np.stack([numbers, -numbers], axis=1), jnp.float32),
        "label": jnp.asarray(numbers, jnp.int32),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("number", "batch_size", "rows", "last"), SIZES)
def test_number_of_batches_and_size_of_the_last(number, batch_size, rows, last):
    assert num_batches(number, batch_size) == rows
    data, order = make_data(number), sequential_order(number, batch_size)
    assert order.shape == (rows, batch_size)
    mask = take(data, order, rows - 1).get("mask", jnp.ones(batch_size))
    np.testing.assert_array_equal(mask, [1] * last + [0] * (batch_size - last))


@pytest.mark.parametrize("batch_size", [0, -1, 101])
def test_a_batch_size_that_does_not_fit_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size must lie in 1 to 100"):
        num_batches(100, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "batch_size", "rows"), [(100, 6, 17), (6, 3, 2)])
def test_an_epoch_has_every_example_exactly_once(number, batch_size, rows):
    data, order = make_data(number), epoch_order(jax.random.key(0), 3, number, batch_size)
    seen = []
    for index in range(rows):
        batch = take(data, order, index)
        real = batch.get("mask", jnp.ones(batch_size)) > 0
        seen += np.asarray(batch["label"])[np.asarray(real)].tolist()
    assert sorted(seen) == list(range(number))


def test_the_last_batch_is_filled_with_the_first_examples_of_the_epoch():
    order = epoch_order(jax.random.key(0), 0, 10, 4)
    np.testing.assert_array_equal(order[-1, 2:], order[0, :2])
    np.testing.assert_array_equal(sequential_order(10, 4)[-1], [8, 9, 0, 1])


def test_the_order_is_a_function_of_key_and_epoch():
    def order(seed, epoch):
        return np.asarray(epoch_order(jax.random.key(seed), epoch, 100, 10)).ravel()

    np.testing.assert_array_equal(order(0, 5), order(0, 5))
    for other in (order(0, 6), order(1, 5), np.arange(100)):
        # a random order agrees with another in one place, on average
        assert (order(0, 5) == other).sum() < 10


def test_every_example_comes_first_about_equally_often():
    key = jax.random.key(0)
    first = jax.vmap(lambda epoch: epoch_order(key, epoch, 8, 4)[0, 0])(jnp.arange(4000))
    counts = np.bincount(first, minlength=8)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(4000 / 8 * 7 / 8)


def test_a_traced_epoch_and_index_give_the_same_batch():
    data = make_data(10)
    key = jax.random.key(0)

    @jax.jit
    def traced(epoch, index):
        return take(data, epoch_order(key, epoch, 10, 4), index)

    for index in range(3):
        expected = take(data, epoch_order(key, 2, 10, 4), index)
        for name, values in traced(jnp.int32(2), jnp.int32(index)).items():
            np.testing.assert_array_equal(values, expected[name])


def test_take_keeps_rows_together_and_dtypes():
    data = make_data(9) | {"byte": jnp.arange(9, dtype=jnp.uint8)}
    batch = take(data, epoch_order(jax.random.key(1), 0, 9, 3), 1)
    assert batch.keys() == data.keys()
    assert {name: values.dtype for name, values in batch.items()} == {
        name: values.dtype for name, values in data.items()
    }
    np.testing.assert_array_equal(batch["image"][:, 0], batch["label"])
    np.testing.assert_array_equal(batch["image"][:, 1], -batch["image"][:, 0])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bool_])
def test_the_mask_of_the_data_and_that_of_the_padding_multiply(dtype):
    data = make_data(5) | {"mask": jnp.array([1, 0, 1, 1, 0], dtype)}
    order = sequential_order(5, 3)
    np.testing.assert_array_equal(take(data, order, 0)["mask"], [1, 0, 1])
    np.testing.assert_array_equal(take(data, order, 1)["mask"], [1, 0, 0])
    np.testing.assert_array_equal(take(data, sequential_order(5, 5), 0)["mask"], data["mask"])
