"""Leaves and paths that Orbax cannot handle, and saves that fail."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import checkpoint, tree
from jaxdl.checkpoint import _orbax
from jaxdl.types import TrainState

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def state_of(step, leaf=None):
    leaf = jnp.full(3, float(step)) if leaf is None else leaf
    return TrainState(jnp.int32(step), {"w": leaf}, {}, (), jax.random.key(0))


def save(folder, *states, keep=2):
    with checkpoint.CheckpointManager(folder, keep=keep) as manager:
        for state in states:
            manager.save(state)
    return folder


def restore(folder, target):
    with checkpoint.CheckpointManager(folder, keep=2) as manager:
        return manager.restore(target)[0]


def raw(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return leaf.dtype, leaf.shape, np.asarray(leaf).tobytes()


# Leaves


@pytest.mark.slow
@pytest.mark.parametrize(
    "leaf",
    [
        jnp.zeros((0, 3)),
        np.zeros((2, 0), np.int8),
        jax.random.split(jax.random.key(1), 2)[:0],
        jax.random.key(1, impl="rbg"),
        jax.random.split(jax.random.key(1, impl="unsafe_rbg"), 3),
        jnp.arange(3, dtype=jnp.float8_e4m3fn),
        jnp.arange(-3, 4, dtype=jnp.int4),
        jnp.array([1 + 2j, 3]),
        np.float32(2.5),
        {"a'b\"\n": jnp.ones(2), "日本": jnp.zeros(1), "x": jnp.ones(1), "x.y": jnp.zeros(1)},
    ],
    ids=lambda leaf: (
        type(leaf).__name__ if isinstance(leaf, dict) else tree.describe({"": leaf})[""]
    ),
)
def test_leaves_that_are_rare_are_saved_and_restored(tmp_path, leaf):
    """Orbax refuses arrays without elements, which some optimizers have in their state."""
    state = state_of(1, leaf)
    restored = restore(save(tmp_path, state), jax.eval_shape(lambda: state))
    variables, report = checkpoint.restore_weights(tmp_path)
    for found in (restored.params, variables["params"]):
        expected = jax.tree.map(raw, state.params, is_leaf=lambda x: hasattr(x, "dtype"))
        assert jax.tree.map(raw, found, is_leaf=lambda x: hasattr(x, "dtype")) == expected
    assert report.num_values == sum(leaf.size for leaf in jax.tree.leaves(state.params))


def test_an_array_without_elements_keeps_its_sharding(tmp_path):
    state = state_of(1, jax.device_put(jnp.zeros((0, 2)), jax.devices()[0]))
    leaf = restore(save(tmp_path, state), state).params["w"]
    assert leaf.sharding == state.params["w"].sharding
    assert leaf.shape == (0, 2)


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (0.1, r"params/w is of type float, expected an array \(jnp.asarray\)"),
        ("text", "params/w is of type str"),
        (np.ones(2), "params/w has dtype float64, which JAX would not keep"),
        (np.ones(2, ">f4"), "params/w has dtype >f4, which JAX would not keep"),
        (jnp.ones(2, jnp.uint4), "params/w has dtype uint4, which Orbax cannot save"),
        (np.array(["a"]), "params/w has dtype <U1, which Orbax cannot save"),
        (
            {"a.b": jnp.ones(1), "a": {"b": jnp.zeros(1)}},
            "params/w/a.b would be stored in the same place as params/w/a/b",
        ),
        (
            {"a/b": jnp.ones(1), "a": {"b": jnp.zeros(1)}},
            "params/w/a/b would be stored in the same place as params/w/a/b",
        ),
        ({"a": jnp.ones(1), "a/0": jnp.ones(1)}, "params/w/a/0 would be stored below .*params/w/a"),
        ({"\udcff": jnp.ones(1)}, r"params/w/\S+ has a name that is not valid Unicode"),
    ],
    ids=str,
)
def test_leaves_that_cannot_be_restored_are_refused_by_name(tmp_path, leaf, message):
    state = state_of(1, leaf)
    with pytest.raises(ValueError, match=f"the state cannot be saved:\n  {message}"):
        checkpoint.CheckpointManager.check(state)
    with (
        checkpoint.CheckpointManager(tmp_path, keep=1) as manager,
        pytest.raises(ValueError, match=message),
    ):
        manager.save(state)
    assert not list(tmp_path.iterdir())


# Paths


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "lr[0.1]", "[", "st*r", "**", "q?", "{a,b}", r"back\slash", "two words", "tab\tnew\nline",
        "it's", 'quo"te', "日本", "\udcff", "~", "$HOME", "-dash", "%20", "gs:",
        "a:b|c;d&e#!", ".hidden",
    ],
)  # fmt: skip
def test_a_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name / "last"
    # a pattern would match this one, whose numbers differ
    plain = "".join(c if c.isascii() and c.isalnum() else "a" for c in name)
    sibling = tmp_path / plain / "last"
    save(sibling, state_of(3, jnp.full(3, 30.0)))
    save(folder, *map(state_of, (1, 2, 3)))
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert restore(folder, state_of(0)).params["w"].tolist() == [3.0] * 3
    for path in (folder, folder / "2"):
        variables, _ = checkpoint.restore_weights(path)
        assert variables["params"]["w"].tolist() == [float(checkpoint.describe(path).step)] * 3


def test_no_link_to_a_folder_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    checkpoint.restore_weights(save(tmp_path / "[1]", state_of(1)))
    assert not list((tmp_path / "temporary").iterdir())


def test_a_folder_that_cannot_be_opened_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "[temporary]"))
    (tmp_path / "[temporary]").mkdir()
    with pytest.raises(ValueError, match=r"path '.*\[1\]' has characters that Orbax cannot handle"):
        checkpoint.CheckpointManager(tmp_path / "[1]", keep=1)


# Saves that fail


def damaged_save(manager, damage, monkeypatch):
    """Saves a state whose files are damaged before they are read back."""
    save_whole = manager._orbax.save

    def save_damaged(step, **options):
        save_whole(step, **options)
        damage(manager.directory / str(step))

    with monkeypatch.context() as patch:
        patch.setattr(manager._orbax, "save", save_damaged)
        manager.save(state_of(3, jnp.asarray(np.random.default_rng(0).normal(size=5000))))
        manager.wait_until_finished()


def largest_file(folder):
    return max(
        (path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def cut(folder):
    with largest_file(folder).open("r+b") as file:
        file.truncate(1000)


def lose(folder):
    largest_file(folder).unlink()


def cut_the_index(folder):
    (folder / "state/manifest.ocdbt").write_bytes(b"")


def lose_the_names(folder):
    (folder / "state/_METADATA").unlink()


def cut_the_description(folder):
    (folder / "content/metadata").write_bytes(b"{")


def describe_another(folder):
    (folder / "content/metadata").write_bytes((folder.parent / "2/content/metadata").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, r"\S+ has 1000 bytes, expected \d+"),
        (lose, "No such file or directory"),
        (cut_the_index, "manifest"),
        (lose_the_names, "No such file or directory"),
        (cut_the_description, "Expecting property name"),
        (describe_another, "its step is 2"),
    ],
)
def test_a_save_is_read_back_before_the_one_before_is_deleted(
    damage, reason, tmp_path, monkeypatch
):
    with checkpoint.CheckpointManager(tmp_path, keep=1) as manager:
        manager.save(state_of(2))
        manager.wait_until_finished()
        with pytest.raises(OSError, match=f"3 was not written: .*{reason}.*; older ones are kept"):
            damaged_save(manager, damage, monkeypatch)
        assert manager.all_steps() == [2]
        assert manager.restore(state_of(0))[0].params["w"].tolist() == [2.0] * 3
        manager.save(state_of(3))
        assert manager.all_steps() == [3]


def test_every_leaf_must_be_in_the_index(tmp_path):
    save(tmp_path, state_of(1))
    state = tmp_path / "1/state"
    _orbax.check_stored(state, 3)
    with pytest.raises(ValueError, match="3 of 4 arrays were written"):
        _orbax.check_stored(state, 4)


FAILURES = """
    import resource, shutil, signal, sys, threading, time
    from pathlib import Path
    import jax, jax.numpy as jnp
    from jaxdl import checkpoint
    from jaxdl.types import TrainState

    def state(step):
        params = {"w": jax.random.normal(jax.random.key(step), (1000, 1000))}
        return TrainState(jnp.int32(step), params, {}, (), jax.random.key(0))

    folder = Path(sys.argv[1])
    manager = checkpoint.CheckpointManager(folder, keep=2)
    manager.save(state(1))
    manager.wait_until_finished()

    def attempt(step):
        try:
            manager.save(state(step))
            manager.wait_until_finished()
        except OSError as error:
            print(error)

    # a disk that is full
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    attempt(2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(sorted(path.name for path in folder.iterdir()))
    attempt(3)
    print(manager.all_steps())

    # a folder that vanishes again and again
    gone = threading.Event()
    def remove():
        while not gone.is_set():
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.001)
    thread = threading.Thread(target=remove)
    thread.start()
    for step in range(4, 9):
        attempt(step)
    gone.set()
    thread.join()
    time.sleep(0.5)
"""


@pytest.mark.slow
def test_a_failed_save_is_one_line_and_leaves_nothing_half_written(tmp_path):
    """Orbax's threads also print tracebacks, and leave a folder behind."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FAILURES), str(tmp_path / "last")],
        capture_output=True, text=True, timeout=120, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    first, kept, steps, *others = done.stdout.splitlines()
    place = tmp_path / "last/2"
    assert first == (
        f"the checkpoint {place} was not written: File too large; older ones are kept."
    )
    assert (kept, steps) == ("['1']", "[1, 3]")
    assert all(line.startswith("the checkpoint ") for line in others)
