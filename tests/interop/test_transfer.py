"""Arrays laid out for JAX: the same numbers, in separate memory."""

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxdl import interop
from jaxdl.interop import transfer


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Small arrays take the path of large ones: threads, blocks, buffers that are shared."""
    for name, value in (("SMALL", 0), ("LANES", 4), ("BLOCK", 96), ("SHARED", 300)):
        monkeypatch.setattr(transfer, name, value)


def views():
    """Arrays in every order of their axes, flipped, strided, empty, and without axes."""
    generator = np.random.default_rng(0)
    for shape in ((7, 5), (1, 9), (6, 1, 4), (5, 6, 3, 2), (9, 7, 1, 1)):
        array = generator.integers(-100, 100, shape).astype(np.float32)
        for axes in itertools.permutations(range(len(shape))):
            yield array.transpose(axes)
    yield np.flip(array.transpose(2, 3, 1, 0), (0, 1))
    yield generator.random((30, 8), np.float32)[::3, ::-2]
    yield np.broadcast_to(np.float32(3), (4, 5))
    yield np.zeros((0, 3), np.float32)
    yield np.arange(1000, dtype=np.float32)
    yield np.array(5, np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.int8])
def test_numbers_are_those_of_the_views(tiny_blocks, dtype):
    expected = [view.astype(dtype) for view in views()]
    found = transfer.transfer(list(views()), [np.dtype(dtype)] * len(expected))
    for array, numbers in zip(found, expected, strict=True):
        assert isinstance(array, jax.Array)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, numbers)


def test_dtypes_are_kept_and_arrays_of_jax_handed_on(tiny_blocks):
    own = jnp.arange(3)
    arrays = {
        "bfloat16": np.ones((6, 40), ml_dtypes.bfloat16).T,
        "complex": np.full((3, 30), 1j, np.complex64).T,
        "bool": np.tri(9, dtype=np.bool_).T,
        "wide": np.arange(4, dtype=np.int64),
        "jax": own,
    }
    found = transfer.transfer(arrays)
    assert found["jax"] is own
    for name, array in arrays.items():
        assert found[name].dtype == jax.dtypes.canonicalize_dtype(array.dtype), name
        np.testing.assert_array_equal(found[name], array)


def test_large_arrays_go_through_all_threads():
    """Without the small blocks: some megabytes, both orders, a ragged end."""
    array = np.arange(1100 * 1031, dtype=np.float32).reshape(1100, 1031)
    kernel = array[:990].reshape(110, 3, 3, 1031).transpose(1, 2, 3, 0)
    for view, found in zip(
        (array, array.T, kernel), transfer.transfer([array, array.T, kernel]), strict=True
    ):
        np.testing.assert_array_equal(found, view)


def test_nothing_is_shared_with_a_file_that_changes(tmp_path):
    """Not even where an array of the file lies as XLA wants it."""
    path = tmp_path / "weights.safetensors"
    arrays = {str(size): np.full(size, size, np.float32) for size in range(1, 40)}
    interop.write_safetensors(path, arrays)
    found = transfer.transfer(interop.read_weights(path))
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_arrays_can_be_donated():
    arrays = transfer.transfer({"a": np.ones((64, 64), np.float32), "b": np.zeros(3, np.float32)})
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)
    again = step(step(arrays))
    assert arrays["a"].is_deleted()
    np.testing.assert_array_equal(again["a"], np.full((64, 64), 3))
    np.testing.assert_array_equal(again["b"], np.full(3, 2))
