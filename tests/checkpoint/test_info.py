"""Damaged checkpoints: an error or the checkpoint before, never other numbers."""

import itertools
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import checkpoint, tree
from jaxdl.types import TrainState

# Orbax leaves coroutines behind when a file is damaged
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RANGES, LENGTHS = 64, 20


def state_of(step):
    kernel = np.random.default_rng(step).normal(size=(24, 16)).astype(np.float32)
    params = {"kernel": jnp.asarray(kernel), "half": jnp.full(5, step, jnp.bfloat16)}
    model_state = {"batch_stats": {"mean": jnp.full(3, 0.5 * step)}}
    return TrainState(jnp.int32(step), params, model_state, (), jax.random.key(step))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damage") / "last"
    with checkpoint.CheckpointManager(folder, keep=2) as manager:
        for step in (1, 2):
            manager.save(state_of(step), {"history": [{"test/loss": 0.1 * step}]})
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "last")


def same(actual, expected):
    return tree.describe(actual) == tree.describe(expected) and not any(
        tree.max_difference(actual, expected).values()
    )


def variables_of(step):
    state = state_of(step)
    return {"params": state.params, **state.model_state}


def files_of(step_folder):
    return sorted(path for path in step_folder.rglob("*") if path.is_file())


def flipped(content, generator):
    """The content with one bit or a whole range flipped, for each of 64 ranges."""
    bounds = np.unique(np.linspace(0, len(content), RANGES + 1, dtype=int))
    for start, stop in itertools.pairwise(bounds):
        mutated = np.frombuffer(content, np.uint8).copy()
        if generator.random() < 0.5:
            mutated[start:stop] ^= 0xFF
        else:
            mutated[generator.integers(start, stop)] ^= 1 << generator.integers(8)
        yield mutated.tobytes()


def truncated(content):
    for length in np.unique(np.linspace(0, len(content) - 1, LENGTHS, dtype=int)):
        yield content[:length]


def attempt(step_folder):
    """The weights, or None and the reason."""
    try:
        return checkpoint.restore_weights(step_folder)[0], ""
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)


@pytest.mark.slow
def test_weights_of_a_damaged_checkpoint_are_an_error_or_right(folder):
    generator = np.random.default_rng(0)
    step_folder, expected = folder / "2", variables_of(2)
    refused = unharmed = 0
    for path in files_of(step_folder):
        content = path.read_bytes()
        for mutated in (*flipped(content, generator), *truncated(content)):
            path.write_bytes(mutated)
            variables, reason = attempt(step_folder)
            assert variables is None or path.parent.name != "content" or path.name != "metadata"
            if variables is None:
                assert str(step_folder) in reason
                assert "is damaged" in reason
                refused += 1
            else:
                assert same(variables, expected), f"{path.name}: other numbers"
                unharmed += 1
        path.write_bytes(content)
    assert same(attempt(step_folder)[0], expected)
    assert refused > 300
    assert unharmed > 100  # what nobody reads: shardings, marks of completion, other arrays


def test_the_kind_of_device_that_a_checkpoint_was_saved_on_does_not_matter(folder):
    """A checkpoint that says that its arrays were on a GPU, or lacks what it says."""
    path = folder / "2/state/_sharding"
    path.write_text(path.read_text().replace("cpu:0", "cuda:0"))
    assert "cuda:0" in path.read_text()
    assert same(checkpoint.restore_weights(folder)[0], variables_of(2))
    for target in (state_of(0), jax.eval_shape(lambda: state_of(0))):
        with checkpoint.CheckpointManager(folder, keep=2) as manager, warnings.catch_warnings():
            warnings.simplefilter("error")
            assert same(manager.restore(target)[0], state_of(2))


def test_a_run_goes_on_from_the_checkpoint_before(folder):
    """The whole state, from any file of the newest checkpoint damaged at one place."""
    generator = np.random.default_rng(2)
    results = []
    with checkpoint.CheckpointManager(folder, keep=2) as manager:
        for path in files_of(folder / "2"):
            content = path.read_bytes()
            for mutated in (list(flipped(content, generator))[generator.integers(8)], content[:-9]):
                path.write_bytes(mutated)
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    state, metadata = manager.restore(state_of(0))
                said = [str(each.message) for each in caught if "is damaged" in str(each.message)]
                assert int(state.step) == 2 - len(said)
                assert same(state, state_of(int(state.step)))
                assert metadata == {"history": [{"test/loss": 0.1 * int(state.step)}]}
                results.append(int(state.step))
            path.write_bytes(content)
    assert set(results) == {1, 2}
    assert results.count(1) > 10
