"""The folder of a sweep: hyperparameters of every kind, the best run, killed and resumed."""

import contextlib
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.devices import TESTS
from helpers.event_files import scalars, values
from helpers.same import assert_same
from helpers.small_sweeps import BATCH, LOSS, MODEL, SPACE, X, shrink
from helpers.small_sweeps import DATA as MLP_DATA
from PIL import Image
from tensorboard.plugins.hparams import metadata

from jaxdl import checkpoint, metrics, optim, sweep, train, tree
from jaxdl._lock import locked
from jaxdl.sweep import _execute, _members_dir
from jaxdl.types import TrainState

DATA = {"x": np.arange(6, dtype=np.float32).reshape(6, 1)}


def step(rate, state, batch):
    w = state.params - rate * (state.params - batch["x"].mean())
    return state.replace(step=state.step + 1, params=w), {"loss": metrics.mean(jnp.square(w)[None])}


def train_one(key, hparams, data):
    state = TrainState(jnp.int32(0), jax.random.normal(jax.random.fold_in(key, 0)), {}, (), key)
    options = {"num_epochs": 2, "batch_size": 4}
    step_fn = functools.partial(step, hparams["rate"])
    state, history = train.fit(step_fn, state, data, key=jax.random.fold_in(key, 1), **options)
    return state, {"test/loss": history["train/loss"]}


def order(key, hparams):
    return 4, 6, jax.random.fold_in(key, 1)


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_run_resumes_the_best_member_if_it_was_given_the_order(tmp_path, known):
    result = sweep.sweep(
        train_one, sweep.grid(rate=[0.1, 0.2]), DATA,
        seeds=[5], workdir=tmp_path / "run", order=order if known else None, progress=False,
    )  # fmt: skip
    rate = result.hparams[result.best]["rate"]

    def resume():
        return train.run(
            functools.partial(step, rate), result.state, DATA, num_epochs=3, batch_size=4,
            key=jax.random.fold_in(jax.random.key(5), 1), workdir=tmp_path / "run" / "best",
            resume=True, progress=False,
        )  # fmt: skip

    if not known:
        with pytest.raises(ValueError, match="was trained with batch size unknown, got 4"):
            resume()
        return
    _, rows = resume()
    assert [row["step"] for row in rows] == [2, 4, 6]


def descend(key, hparams, data):
    w = hparams.get("function", jnp.tanh)(jnp.ones(hparams.get("hidden", (1,))))
    state = TrainState(jnp.int32(3), w, {}, (), key)
    return state, {"test/loss": (w.sum() * hparams.get("optimizer/lambda", 1.0))[None]}


def read(path):
    return json.loads(path.read_text())


def test_functions_lists_and_any_name_are_written(tmp_path):
    space = sweep.grid(
        function=[jnp.tanh, jnp.sin],
        hidden=[[2], [2, 3]],
        **{"optimizer/lambda": np.array([1, 2])},
    )
    folder = tmp_path / "run"
    result = sweep.sweep(descend, space, workdir=folder, progress=False)
    assert result.best == 0
    expected = {"function": "tanh", "hidden": [2], "optimizer/lambda": 1}
    assert read(folder / "sweep.json")["members"][0]["hparams"] == expected
    assert read(folder / "best" / "config.json")["config"] == {**expected, "seed": 0}
    names = sorted(path.name for path in (folder / "members").iterdir())
    assert names[-1] == "7_function=sin_hidden=-2-3-_optimizer-lambda=2"
    assert (folder / "heat_map.png").exists()
    start = values(folder / "members" / names[-1])["_hparams_/session_start_info"][0]
    read_back = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
    assert read_back.hparams["function"].string_value == "sin"
    assert read_back.hparams["hidden"].string_value == "2, 3"
    assert read_back.hparams["optimizer/lambda"].number_value == 2


def test_seeds_alone_and_a_desktops_file_are_no_trouble(tmp_path):
    (tmp_path / "members" / ".0_cut_short.tmp").mkdir(parents=True)
    (tmp_path / "members" / ".DS_Store").write_text("a desktop's")
    result = sweep.sweep(descend, [{}], seeds=(3, 4), workdir=tmp_path, progress=False)
    names = sorted(path.name for path in (tmp_path / "members").iterdir())
    assert names == [".DS_Store", "0_seed=3", "1_seed=4"]
    assert read(tmp_path / "best" / "config.json")["config"] == {"seed": result.seeds[result.best]}
    with pytest.raises(ValueError, match="already holds a sweep"):
        sweep.sweep(descend, [{}], workdir=tmp_path, progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": [{"": 1.0}]}, "the name of a hyperparameter must be printable"),
        ({"config": lambda hparams, seed: hparams["depth"]}, "depth"),
    ],
)
def test_what_cannot_be_written_is_refused_before_training(options, message, tmp_path):
    called = []

    def one(key, hparams, data):
        jax.debug.callback(lambda: called.append(1))
        return descend(key, hparams, data)

    with pytest.raises((ValueError, KeyError), match=message):
        sweep.sweep(one, **({"space": [{}]} | options), workdir=tmp_path / "run", progress=False)
    jax.effects_barrier()
    assert called == []


@pytest.mark.slow
def test_tensorboard_reads_hyperparameters_and_curves_of_every_member(swept):
    result, folder = swept
    folders = sorted((folder / "members").iterdir())
    assert len(folders) == 12
    assert folders[2].name == "02_learning_rate=0.01_weight_decay=0.5_seed=0"
    groups = []
    for member, path in enumerate(folders):
        found = {
            tag.removeprefix("_hparams_/"): value[0].metadata.plugin_data.content
            for tag, value in values(path).items()
            if tag.startswith("_hparams_/")
        }
        start = metadata.parse_session_start_info_plugin_data(found["session_start_info"])
        read = {name: value.number_value for name, value in start.hparams.items()}
        assert read == result.hparams[member]
        groups.append(start.group_name)
        experiment = metadata.parse_experiment_plugin_data(found["experiment"])
        assert "test/loss" in [info.name.tag for info in experiment.metric_infos]
        end = metadata.parse_session_end_info_plugin_data(found["session_end_info"])
        assert (end.status == 2) == (member in result.diverged)  # 2: failure
        points = scalars(path)["test/loss"]
        assert [step for step, _ in points] == [3, 6, 9, 12]
        np.testing.assert_allclose(
            [value for _, value in points], result.history["test/loss"][member], rtol=1e-6
        )
    assert groups[0] == groups[1] != groups[2]  # seeds of one setting share a row


@pytest.mark.slow
def test_the_folder_holds_a_table_and_a_map(swept):
    result, folder = swept
    table = json.loads((folder / "sweep.json").read_text())
    assert table["best"] == result.best
    assert table["members"][10]["diverged"] == result.diverged[10]
    assert table["members"][3]["test/loss"] == pytest.approx(result.history["test/loss"][3, -1])
    assert np.asarray(Image.open(folder / "heat_map.png").convert("L")).std() > 20
    with pytest.raises(ValueError, match="already holds a sweep"):
        sweep.sweep(shrink, SPACE, workdir=folder)


# Killed and resumed


class KilledError(BaseException):
    """An error that nothing catches, so that nothing is cleaned up."""


RATES = sweep.grid(rate=[0.1, 0.4, 0.2, 0.3])


def resume(folder, **options):
    options = {"seeds": (0, 1), "workdir": folder, "resume": True, "progress": False} | options
    return sweep.sweep(shrink, RATES, **options)


def contents(folder):
    """The names of all files of the members, the best state, and all tables without times."""
    members = [path for path in (folder / "members").rglob("*") if "events." not in path.name]
    names = [*sorted(path.relative_to(folder) for path in members), *sorted(os.listdir(folder))]
    best = checkpoint.describe(folder / "best" / "checkpoints" / "last").checksums
    table = read(folder / "sweep.json")
    del table["seconds"]
    metrics = [path.read_text() for path in sorted(folder.rglob("metrics.jsonl"))]
    return names, best, table, metrics


def assert_same_results(a, b):
    assert (a.best, a.diverged, a.hparams) == (b.best, b.diverged, b.hparams)
    for name in a.history:
        np.testing.assert_array_equal(a.history[name], b.history[name])
    np.testing.assert_array_equal(a.num_steps, b.num_steps)
    assert_same((a.state, a.states), (b.state, b.states))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"method": "loop"},
        {"method": "vmap", "chunk_size": 2, "keep": "all"},
        {"method": "vmap", "halving": (1, 3)},
        {"method": "loop", "halving": (2, 3), "keep": "all"},
    ],
    ids=["loop", "vmap", "vmap, halving", "loop, halving"],
)
def test_killed_at_any_file_and_resumed_equals_uninterrupted(tmp_path, monkeypatch, options):
    expected = resume(tmp_path / "whole", **options)
    write, run = _members_dir.replacing, _execute.Group.run
    trained, killed = [], 0

    def run_and_list(self, numbers, before=None):
        trained.extend(numbers)
        return run(self, numbers, before)

    monkeypatch.setattr(_execute.Group, "run", run_and_list)
    for kill_at in itertools.count(1, 4):
        folder, calls = tmp_path / str(kill_at), []

        @contextlib.contextmanager
        def write_or_die(path, calls=calls, kill_at=kill_at):
            calls.append(path)
            if len(calls) == kill_at:
                raise KilledError
            with write(path) as temporary:
                yield temporary

        monkeypatch.setattr(_members_dir, "replacing", write_or_die)
        try:
            resume(folder, **options)
        except KilledError:
            killed += 1
        monkeypatch.setattr(_members_dir, "replacing", write)
        ended = {int(path.name[0]) for path in (folder / "members").glob("[!.]*")}
        trained.clear()
        again = resume(folder, **options)
        assert not ended & set(trained), "members that ended were trained again"
        assert_same_results(again, expected)
        assert contents(folder) == contents(tmp_path / "whole")
        if len(calls) < kill_at:  # it was not killed
            break
    assert killed > 2


@pytest.mark.slow
@pytest.mark.parametrize("halving", [None, (1, 3)])
def test_a_process_killed_and_resumed_equals_uninterrupted(tmp_path, halving):
    script = f"""
        import os, signal, sys
        from helpers.small_sweeps import shrink
        from jaxdl import sweep
        from jaxdl.sweep import _execute, _members_dir
        add, calls = _members_dir.SweepDir.add, []
        def add_and_die(self, *args, **options):
            add(self, *args, **options)
            calls.append(args)
            if len(calls) == int(sys.argv[-1]):
                os.kill(os.getpid(), signal.SIGKILL)
        _members_dir.SweepDir.add = add_and_die
        sweep.sweep(
            shrink, sweep.grid(rate=[0.1, 0.4, 0.2, 0.3]), seeds=(0, 1), halving={halving},
            workdir=sys.argv[-2], resume=True, progress=False,
        )
    """
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "run")]
    codes = [subprocess.run([*command, str(n)], env=environ).returncode for n in (3, 2, 99)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    expected = resume(tmp_path / "whole", halving=halving)
    assert_same_results(resume(tmp_path / "run", halving=halving), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (0, 2)}, r"was started with seeds \[0, 1\], but this sweep has \[0, 2\]"),
        ({"keep": "all"}, 'was started with keep "best", but this sweep has "all"'),
        ({"halving": (1, 2)}, r"was started with halving null, but this sweep has \[1, 2\]"),
        ({"monitor": "train/loss"}, "'train/loss' is not a metric"),
        ({"resume": False}, "already holds a sweep. Resume it"),
    ],
)
def test_another_sweep_is_not_resumed(tmp_path, options, message):
    resume(tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        resume(tmp_path / "run", **options)
    assert contents(tmp_path / "run") == before


def test_a_folder_in_use_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(OSError, match=rf"in use by process {os.getpid()}"):
        resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_damaged_member_is_named(tmp_path):
    resume(tmp_path / "run")
    path = next((tmp_path / "run" / "members").glob("3_*")) / "result.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"result\.npz is damaged .* Delete its folder"):
        resume(tmp_path / "run")
    shutil.rmtree(path.parent)
    resume(tmp_path / "run")


def test_a_sweep_without_a_plan_is_not_resumed(tmp_path):
    resume(tmp_path / "run")
    (tmp_path / "run" / "plan.json").unlink()
    with pytest.raises(ValueError, match=r"cannot be resumed: plan\.json is missing"):
        resume(tmp_path / "run")


def test_bfloat16_and_infinity_survive_a_resume(tmp_path):
    def one(key, hparams, data):
        w = jnp.full(2, hparams["rate"], jnp.bfloat16)
        metric = jnp.stack([hparams["rate"], -1 / jnp.maximum(hparams["rate"] - 0.1, 0)])
        state = TrainState(jnp.int32(2), w, {}, (), key)
        return state, {"test/loss": hparams["rate"] * jnp.ones(2), "test/half": w, "x": metric}

    options = {"workdir": tmp_path / "run", "resume": True, "progress": False, "keep": "all"}
    first, again = (sweep.sweep(one, sweep.grid(rate=[0.1, 0.3]), **options) for _ in range(2))
    assert first.diverged == {0: 2}
    assert again.history["test/half"].dtype == jnp.bfloat16
    assert_same_results(again, first)


def test_ctrl_c_says_how_to_resume(tmp_path, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(_members_dir.SweepDir, "add", interrupt)
    with pytest.raises(train.Interrupted, match=r"0 of 8 members; resume it from .*run"):
        resume(tmp_path / "run")


@pytest.mark.slow
def test_run_resumes_the_best_members_folder(swept, solo):
    result, folder = swept
    hparams, seed = result.hparams[result.best], int(result.seeds[result.best])
    saved = json.loads((folder / "best" / "config.json").read_text())["config"]
    assert saved == {**hparams, "seed": seed}
    init_key, order_key = jax.random.split(jax.random.key(seed))
    tx = optim.sgd(hparams["learning_rate"], momentum=0.9, weight_decay=hparams["weight_decay"])
    state = train.init_state(MODEL, tx, init_key, jnp.asarray(X[:1]))
    step = train.make_step(LOSS, tx)
    options = {"batch_size": BATCH, "workdir": folder / "best", "resume": True, "progress": False}
    options |= {"eval_fn": train.make_eval(LOSS), "eval_data": MLP_DATA}
    with pytest.raises(ValueError, match="order key"):
        train.run(step, state, MLP_DATA, num_epochs=6, key=init_key, **options)
    resumed, rows = train.run(step, state, MLP_DATA, num_epochs=6, key=order_key, **options)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows] == [3, 6, 9, 12, 15, 18]
    np.testing.assert_allclose(
        [row["test/loss"] for row in rows[:4]], result.history["test/loss"][result.best], rtol=1e-6
    )
    straight, _ = train.fit(step, state, MLP_DATA, num_epochs=6, batch_size=BATCH, key=order_key)
    assert max(tree.max_difference(resumed.params, straight.params).values()) < 1e-5
