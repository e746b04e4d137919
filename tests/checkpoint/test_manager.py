"""Checkpoints: what goes in comes out to the bit, and damage is noticed and survived."""

import json
import shutil
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl import checkpoint
from jaxdl.checkpoint._info import StructureMismatchError
from jaxdl.types import TrainState

# Orbax leaves coroutines behind when a file is damaged
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KERNEL = jnp.asarray(np.random.default_rng(0).normal(size=(40, 60)), jnp.float32)


def make_state(step, tx=None, **params):
    params = {"kernel": KERNEL + step, "half": jnp.array([1.5, -2], jnp.bfloat16)} | params
    model_state = {"counts": jnp.array([1, 2**31 - 1], jnp.int32), "flag": jnp.array(True)}
    opt_state = (tx or optax.sgd(0.1, momentum=0.9)).init(params)
    return TrainState(jnp.int32(step), params, model_state, opt_state, jax.random.key(step))


TARGET = make_state(0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints 1, 2 and 3; tests work on copies."""
    directory = tmp_path_factory.mktemp("checkpoints")
    manager = checkpoint.CheckpointManager(directory, keep=3)
    for step in (1, 2, 3):
        manager.save(make_state(step), {"row": {"test/loss": 0.1 * step}})
    manager.close()
    return directory


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "last")


@pytest.fixture
def open_at():
    managers = []

    def open_one(directory, keep=3):
        managers.append(checkpoint.CheckpointManager(directory, keep=keep))
        return managers[-1]

    yield open_one
    for manager in managers:
        manager.close()


def as_bytes(state):
    leaves = jax.tree.leaves(state.replace(key=jax.random.key_data(state.key)))
    return [(leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()) for leaf in leaves]


def data_files(step_folder):
    """Files of a checkpoint, the largest first."""
    files = [path for path in step_folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda path: path.stat().st_size, reverse=True)


def truncate(step_folder):
    path = data_files(step_folder)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_byte(step_folder):
    path = data_files(step_folder)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete_the_data(step_folder):
    data_files(step_folder)[0].unlink()


def rename_in_the_structure(step_folder):
    path = step_folder / "content" / "metadata"
    path.write_text(path.read_text().replace("params/kernel", "params/kernfl"))


def change_the_history(step_folder):
    path = step_folder / "content" / "metadata"
    path.write_text(path.read_text().replace("test/loss", "test/lost"))


def empty(step_folder):
    shutil.rmtree(step_folder)
    step_folder.mkdir()


DAMAGE = [
    truncate,
    flip_a_byte,
    delete_the_data,
    rename_in_the_structure,
    change_the_history,
    empty,
]


# What goes in comes out


def test_everything_comes_back_to_the_bit(folder, open_at):
    state, metadata = open_at(folder).restore(TARGET)
    assert as_bytes(state) == as_bytes(make_state(3))
    assert jax.tree.structure(state) == jax.tree.structure(TARGET)
    assert state.key.dtype == TARGET.key.dtype
    assert metadata == {"row": {"test/loss": 0.1 * 3}}


def test_an_abstract_state_is_enough_to_restore(folder, open_at):
    abstract = jax.eval_shape(lambda: make_state(0))
    state, _ = open_at(folder).restore(abstract)
    assert as_bytes(state) == as_bytes(make_state(3))


def test_a_step_can_be_chosen(folder, open_at):
    state, metadata = open_at(folder).restore(TARGET, step=2)
    assert as_bytes(state) == as_bytes(make_state(2))
    assert metadata == {"row": {"test/loss": 0.2}}


def test_no_metadata_comes_back_as_an_empty_mapping(tmp_path, open_at):
    manager = open_at(tmp_path)
    manager.save(make_state(1))
    manager.wait_until_finished()
    assert manager.restore(TARGET)[1] == {}


def test_nan_and_nested_metadata_come_back(tmp_path, open_at):
    manager = open_at(tmp_path)
    metadata = {"history": [{"loss": float("nan")}, {"loss": 0.1 + 0.2}], "progress": None}
    manager.save(make_state(1), metadata)
    manager.wait_until_finished()
    restored = manager.restore(TARGET)[1]
    assert np.isnan(restored["history"][0]["loss"])
    assert restored["history"][1:] == metadata["history"][1:]
    assert restored["progress"] is None


def test_only_the_newest_are_kept(folder, open_at):
    manager = open_at(folder, keep=2)
    manager.save(make_state(4))
    manager.wait_until_finished()
    assert sorted(manager.all_steps()) == [3, 4]
    assert sorted(path.name for path in folder.iterdir()) == ["3", "4"]


def test_a_step_that_is_there_is_not_written_again(folder, open_at):
    manager = open_at(folder)
    manager.save(make_state(3, kernel=KERNEL * 0), {"other": 1})
    manager.wait_until_finished()
    state, metadata = manager.restore(TARGET)
    assert as_bytes(state) == as_bytes(make_state(3))
    assert "other" not in metadata


def test_buffers_may_be_donated_right_after_saving(tmp_path, open_at):
    manager, state = open_at(tmp_path), make_state(1)
    expected = as_bytes(state)
    manager.save(state)
    jax.jit(lambda params: jax.tree.map(lambda x: x * 0, params), donate_argnums=0)(state.params)
    manager.wait_until_finished()
    assert as_bytes(manager.restore(TARGET)[0]) == expected


# Damage


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(damage, folder, open_at):
    damage(folder / "3")
    with pytest.warns(UserWarning, match=r"last/3 is damaged: .*Using the one before it") as caught:
        state, metadata = open_at(folder).restore(TARGET)
    assert len(caught) == 1
    assert as_bytes(state) == as_bytes(make_state(2))
    assert metadata == {"row": {"test/loss": 0.2}}
    assert (folder / "3").exists()


def test_two_damaged_checkpoints_give_two_warnings(folder, open_at):
    truncate(folder / "3")
    flip_a_byte(folder / "2")
    with pytest.warns(UserWarning, match="is damaged") as caught:
        state, _ = open_at(folder).restore(TARGET)
    assert len(caught) == 2
    assert as_bytes(state) == as_bytes(make_state(1))


@pytest.mark.filterwarnings("ignore:the checkpoint")
def test_only_damaged_checkpoints_are_an_error(folder, open_at):
    for step in "123":
        flip_a_byte(folder / step)
    with pytest.raises(
        ValueError, match=r"all checkpoints in .*last are damaged \(steps 3, 2, 1\)"
    ):
        open_at(folder).restore(TARGET)


def test_damage_of_the_step_that_was_asked_for_is_an_error(folder, open_at):
    flip_a_byte(folder / "2")
    manager = open_at(folder)
    with pytest.raises(ValueError, match=r"last/2 is damaged: .*checksum"):
        manager.restore(TARGET, step=2)
    assert as_bytes(manager.restore(TARGET, step=1)[0]) == as_bytes(make_state(1))


@pytest.mark.filterwarnings("ignore:the checkpoint")
def test_damaged_checkpoints_can_be_set_aside_and_written_again(folder, open_at):
    truncate(folder / "3")
    empty(folder / "2")
    manager = open_at(folder)
    manager.restore(TARGET, set_aside_damaged=True)
    aside = folder.parent / "damaged"
    assert sorted(path.name for path in aside.iterdir()) == ["last-2", "last-3"]
    assert sorted(manager.all_steps()) == [1]
    manager.save(make_state(3))
    manager.wait_until_finished()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state, _ = manager.restore(TARGET)
    assert as_bytes(state) == as_bytes(make_state(3))


@pytest.mark.filterwarnings("ignore:the checkpoint")
def test_setting_aside_twice_keeps_the_later_one(folder, open_at):
    old = folder.parent / "damaged" / "last-3"
    old.mkdir(parents=True)
    (old / "from_before").touch()
    truncate(folder / "3")
    open_at(folder).restore(TARGET, set_aside_damaged=True)
    assert not (old / "from_before").exists()
    assert (old / "state").is_dir()


def test_nothing_is_set_aside_where_nothing_is_damaged(folder, open_at):
    open_at(folder).restore(TARGET, set_aside_damaged=True)
    assert not (folder.parent / "damaged").exists()


def test_what_a_killed_process_left_half_written_is_ignored_and_removed(folder, open_at):
    half = folder / "4.orbax-checkpoint-tmp-0"
    (half / "state").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        state, _ = open_at(folder).restore(TARGET)
    assert int(state.step) == 3
    assert not half.exists()


# Another model, no checkpoint


@pytest.mark.parametrize(
    ("target", "leaves"),
    [
        (make_state(0, extra=jnp.zeros(2)), [r"params/extra: expected float32\[2\], got nothing"]),
        (
            make_state(0, kernel=jnp.zeros((3, 4))),
            [r"expected float32\[3, 4\], got float32\[40, 60"],
        ),
        (
            make_state(0, half=jnp.zeros(2)),
            [r"params/half: expected float32\[2\], got bfloat16\[2"],
        ),
        (make_state(0, optax.adam(0.1)), [r"opt_state/0/count: expected int32\[\], got nothing"]),
    ],
    ids=["parameter", "shape", "dtype", "optimizer"],
)
def test_another_model_or_optimizer_is_an_error_that_names_leaves(folder, target, leaves, open_at):
    with pytest.raises(StructureMismatchError, match="another model or optimizer") as raised:
        open_at(folder).restore(target)
    for leaf in leaves:
        raised.match(leaf)


def test_no_checkpoint_is_an_error_that_names_those_there_are(folder, tmp_path, open_at):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint of step 7 .* found \[1, 2, 3\]"):
        open_at(folder).restore(TARGET, step=7)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint in .*empty; found \[\]"):
        open_at(tmp_path / "empty").restore(TARGET)


def test_metadata_may_change_right_after_saving(tmp_path, open_at):
    """Orbax writes JSON in another thread; a history that grows meanwhile is not torn."""
    manager, history = open_at(tmp_path / "last", keep=1), [{"epoch": 1}]
    manager.save(make_state(1), {"history": history})
    history[0]["epoch"] = 9
    history.append({"epoch": 2})
    manager.wait_until_finished()
    _, metadata = manager.restore(make_state(0))
    assert metadata == {"history": [{"epoch": 1}]}


# Asynchronous


@pytest.fixture
def gate(monkeypatch):
    """Writing waits until it is opened; ``gate.states`` are those that were to be written."""
    gate, write = threading.Event(), checkpoint.CheckpointManager._write
    gate.states = []

    def wait_and_write(manager, step, state, *arguments):
        gate.states.append(state)
        if not gate.wait(60):
            raise TimeoutError
        write(manager, step, state, *arguments)

    monkeypatch.setattr(checkpoint.CheckpointManager, "_write", wait_and_write)
    return gate


def test_saving_does_not_wait_for_the_disk(tmp_path, open_at, gate):
    manager, state = open_at(tmp_path), make_state(1)
    expected = as_bytes(state)
    manager.save(state)
    assert manager.is_saving()
    assert not list(tmp_path.iterdir())
    # meanwhile training continues, in the same buffers
    step = jax.jit(lambda params: jax.tree.map(lambda x: x * 0, params), donate_argnums=0)
    jax.block_until_ready(step(state.params))
    gate.set()
    assert manager.all_steps() == [1]
    assert not manager.is_saving()
    assert as_bytes(manager.restore(TARGET)[0]) == expected


def test_a_state_is_copied_only_where_its_buffers_may_be_donated(tmp_path, open_at, gate):
    gate.set()
    manager, states = open_at(tmp_path), [make_state(1), make_state(2)]
    manager.save(states[0])
    manager.save(states[1], copy=False)
    manager.wait_until_finished()
    for state, written, same in zip(states, gate.states, (False, True), strict=True):
        kernels = (state.params["kernel"], written.params["kernel"])
        pointers = {kernel.unsafe_buffer_pointer() for kernel in kernels}
        assert (len(pointers) == 1) == same


def test_one_manager_writes_after_another(tmp_path, open_at, gate):
    best, last = open_at(tmp_path / "best"), open_at(tmp_path / "last")
    best.save(make_state(1))
    last.save(make_state(2), after=best)
    assert best.is_saving()
    assert last.is_saving()
    gate.set()
    assert last.all_steps() == [2]
    assert not best.is_saving()  # it was on disk before


def test_what_a_write_raises_is_raised_when_it_is_waited_for(tmp_path, open_at, monkeypatch):
    manager = open_at(tmp_path)

    def fail(*_):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.CheckpointManager, "_write", fail)
        manager.save(make_state(1))
        with pytest.raises(OSError, match="disk full"):
            manager.save(make_state(2))
        manager.save(make_state(3))
        with pytest.raises(OSError, match="disk full"):
            manager.wait_until_finished()
    manager.save(make_state(4))
    assert manager.all_steps() == [4]


def test_a_checkpoint_of_an_older_version_is_named_and_not_set_aside(folder, open_at):
    path = folder / "3/content/metadata"
    content = json.loads(path.read_text())
    content["checksum"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"last/3 was written by an older version of jaxdl"):
        open_at(folder).restore(TARGET, set_aside_damaged=True)
    assert path.exists()
