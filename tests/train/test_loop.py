"""The loop: fit and run, their equality, resume, evaluation, and errors."""

import dataclasses
import json
import os
import signal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.same import assert_same, without_times
from helpers.streaming_script import Images, make_parts

from jaxdl import checkpoint, data, losses, models, optim, train
from jaxdl.data.collate import epoch_order
from jaxdl.train import _batches, loop
from jaxdl.types import Mean


def make_data(number=70, seed=0):
    return Images(number, seed).arrays()


def setup(model=None, tx=None):
    """Dropout, BatchNorm and Adam all on."""
    model = model or models.CNN(2, features=(4, 8), dropout_rate=0.3)
    return make_parts(model, tx or optim.adam(optim.warmup_cosine(1e-2, 30), weight_decay=1e-3))


@pytest.fixture(scope="module")
def parts():
    return setup()


def run(parts, num_epochs=3, **kwargs):
    step, eval_fn, state = parts
    options = {
        "num_epochs": num_epochs,
        "batch_size": 16,
        "key": jax.random.key(1),
        "eval_fn": eval_fn,
        "eval_data": make_data(25, seed=1),
        "progress": False,
    } | kwargs
    examples = options.pop("data", None)
    return train.run(step, state, make_data() if examples is None else examples, **options)


@pytest.fixture(scope="module")
def uninterrupted(parts):
    return run(parts)


@pytest.mark.slow
def test_run_is_fit_bit_for_bit(parts, uninterrupted):
    step, eval_fn, state = parts
    state, history = train.fit(
        step,
        state,
        make_data(),
        num_epochs=3,
        batch_size=16,
        key=jax.random.key(1),
        eval_fn=eval_fn,
        eval_data=make_data(25, seed=1),
    )
    assert_same(uninterrupted[0], state)
    for name, values in history.items():
        expected = [row[name] for row in uninterrupted[1]]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


@pytest.mark.slow
def test_fit_goes_on_with_the_epoch_that_the_state_is_at(parts):
    step, _, state = parts
    options = {"batch_size": 16, "key": jax.random.key(1)}
    whole, _ = train.fit(step, state, make_data(), num_epochs=3, **options)
    first, _ = train.fit(step, state, make_data(), num_epochs=1, **options)
    rest, _ = train.fit(step, first, make_data(), num_epochs=2, **options)
    assert_same(whole, rest)


@pytest.mark.slow
def test_fit_vmapped_over_seeds_is_each_seed_alone():
    model, tx = models.MLP((8, 2)), optim.sgd(0.1)
    step = train.make_step(train.supervised(model, losses.squared_error, targets="target"), tx)
    generator = np.random.default_rng(0)
    examples = {
        "image": generator.normal(size=(20, 4)).astype(np.float32),
        "target": generator.normal(size=(20, 2)).astype(np.float32),
    }

    def one(seed):
        key, order_key = jax.random.split(jax.random.key(seed))
        state = train.init_state(model, tx, key, jnp.zeros((1, 4)))
        return train.fit(step, state, examples, num_epochs=2, batch_size=8, key=order_key)

    states, history = jax.vmap(one)(jnp.arange(3))
    alone, alone_history = one(1)
    for a, b in zip(jax.tree.leaves(states.params), jax.tree.leaves(alone.params), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=0, atol=1e-6)
    np.testing.assert_allclose(history["train/loss"][1], alone_history["train/loss"], rtol=1e-5)


@pytest.mark.slow
def test_one_epoch_is_a_python_loop_over_slices(parts):
    """Also for the ragged last batch: its padding changes nothing."""
    step, _, state = parts
    examples = make_data()
    order = np.asarray(epoch_order(jax.random.key(1), 0, 70, 16)).ravel()[:70]
    one_step = jax.jit(step)
    total = 0.0
    expected = state
    for start in range(0, 70, 16):
        rows = order[start : start + 16]
        batch = {name: array[rows] for name, array in examples.items()}
        expected, values = one_step(expected, batch)
        total += float(values["loss"].total)
    ours, history = run(parts, num_epochs=1)
    assert history[0]["train/loss"] == pytest.approx(total / 70, rel=1e-5)
    # the last batch has another shape here than there, hence another order of the sums
    for a, b in zip(
        jax.tree.leaves(ours.model_state), jax.tree.leaves(expected.model_state), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_callers_state_stays_valid(parts):
    run(parts, num_epochs=1)
    assert float(jax.tree.leaves(parts[2].params)[0].sum()) == pytest.approx(
        float(jax.tree.leaves(setup()[2].params)[0].sum())
    )


@pytest.mark.slow
def test_the_step_is_traced_and_compiled_once(parts):
    step, _, state = parts
    traces = []

    def counted(state, batch):
        traces.append(batch["image"].shape)
        return step(state, batch)

    train.run(
        counted,
        state,
        make_data(),
        num_epochs=4,
        batch_size=16,
        key=jax.random.key(0),
        progress=False,
    )
    assert set(traces) == {(16, 8, 8, 1)}
    # the form of the result, the loop's buffer, and the loop itself: nothing at run time
    assert len(traces) <= 3


@pytest.mark.slow
def test_a_step_that_changes_the_state_is_named(parts):
    step, _, state = parts

    def grows(state, batch):
        state, values = step(state, batch)
        kernel = state.params["Dense_0"]["kernel"]
        params = state.params | {"Dense_0": {"kernel": kernel[:-1], "bias": kernel[0]}}
        return state.replace(params=params), values

    with pytest.raises(
        ValueError, match=r"params/Dense_0/kernel: expected float32\[32, 2\], got float32\[31, 2\]"
    ):
        train.run(grows, state, make_data(), num_epochs=1, batch_size=16, key=jax.random.key(0))


class LaxNet(nn.Module):
    """A user's own network with XLA's convolution."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(2)(nn.relu(nn.Conv(4, (3, 3))(x)).reshape(x.shape[0], -1))


@pytest.mark.slow
def test_lax_convolutions_are_stepped_on_cpu_with_the_same_result(monkeypatch):
    parts = setup(LaxNet(), optim.adam(1e-3))
    calls = []
    original = _batches._compile_single_step
    monkeypatch.setattr(
        _batches, "_compile_single_step", lambda *args: calls.append(1) or original(*args)
    )
    stepped, history = run(parts)
    assert calls == [1]
    monkeypatch.setattr(_batches, "has_convolution", lambda jaxpr: False)
    looped, looped_history = run(parts)
    assert calls == [1]
    # the backward convolutions are compiled differently inside a loop
    for a, b in zip(jax.tree.leaves(stepped.params), jax.tree.leaves(looped.params), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    assert history[-1]["train/loss"] == pytest.approx(looped_history[-1]["train/loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 7, 25, 1000])
def test_evaluation_does_not_depend_on_the_batch_size(parts, batch_size):
    _, eval_fn, state = parts
    examples = make_data(25, seed=1)
    expected = {
        name: float(value.total / value.count) for name, value in eval_fn(state, examples).items()
    }
    assert train.evaluate(eval_fn, state, examples, batch_size=batch_size) == pytest.approx(
        expected, abs=1e-6
    )


def test_predict_gives_every_output_in_order(parts):
    inputs = np.arange(23, dtype=np.float32).reshape(23, 1)
    outputs = train.predict(lambda scale, x: scale * x, jnp.array(2.0), inputs, batch_size=5)
    np.testing.assert_array_equal(outputs, 2 * inputs)


def read_rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_folder_holds_rows_events_and_both_checkpoints(parts, tmp_path):
    state, history = run(parts, num_epochs=6, workdir=tmp_path, save_every_seconds=0)
    assert read_rows(tmp_path) == history
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6]
    assert list(tmp_path.glob("events.*"))
    best = min(history, key=lambda row: row["test/loss"])["step"]
    with checkpoint.CheckpointManager(tmp_path / "checkpoints/best", keep=1) as manager:
        assert manager.all_steps() == [best]
        assert int(manager.restore(state)[0].step) == best
    with checkpoint.CheckpointManager(tmp_path / "checkpoints/last", keep=2) as manager:
        assert max(manager.all_steps()) == history[-1]["step"]
        assert_same(manager.restore(state)[0], state)


@pytest.mark.slow
def test_resumed_after_an_epoch_equals_uninterrupted(parts, uninterrupted, tmp_path):
    def interrupt(event):
        if event.row["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(train.Interrupted, match="stopped at step 10 of 15; resume it from"):
        run(parts, workdir=tmp_path, hooks=[interrupt])
    state, history = run(parts, workdir=tmp_path, resume=True)
    assert_same(state, uninterrupted[0])
    assert without_times(history) == without_times(uninterrupted[1])
    assert read_rows(tmp_path) == history


@pytest.mark.slow
def test_resumed_in_the_middle_of_an_epoch_equals_uninterrupted(
    parts, uninterrupted, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "_next_chunk", lambda chunk, seconds: 1)
    calls = []

    original = loop.Progress.add

    def interrupt(self, stacked, seconds):
        original(self, stacked, seconds)
        calls.append(seconds)
        if len(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Progress, "add", interrupt)
    with pytest.raises(train.Interrupted, match="step 8 of 15"):
        run(parts, workdir=tmp_path)
    assert [row["epoch"] for row in read_rows(tmp_path)] == [1]
    state, history = run(parts, workdir=tmp_path, resume=True)
    assert_same(state, uninterrupted[0])
    assert without_times(history) == without_times(uninterrupted[1])


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_costs_only_time(parts, uninterrupted, tmp_path):
    run(parts, num_epochs=2, workdir=tmp_path, save_every_seconds=0)
    newest = tmp_path / "checkpoints/last/10"
    for path in newest.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"last/10 is damaged.*Using the one before it"):
        state, _ = run(parts, workdir=tmp_path, resume=True)
    assert_same(state, uninterrupted[0])
    assert [row["epoch"] for row in read_rows(tmp_path)] == [1, 2, 3]
    assert (tmp_path / "checkpoints/damaged/last-10").is_dir()


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(parts, tmp_path):
    state, history = run(parts, workdir=tmp_path)
    again, again_history = run(parts, workdir=tmp_path, resume=True)
    assert_same(state, again)
    assert again_history == history == read_rows(tmp_path)


@pytest.mark.slow
def test_more_epochs_can_be_asked_of_a_finished_run(parts, uninterrupted, tmp_path):
    run(parts, num_epochs=1, workdir=tmp_path)
    state, _ = run(parts, num_epochs=3, workdir=tmp_path, resume=True)
    assert_same(state, uninterrupted[0])
    with pytest.raises(ValueError, match="at step 15 already, 2 epochs end at step 10"):
        run(parts, num_epochs=2, workdir=tmp_path, resume=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "trained with batch size 16, got 8"),
        ({"key": jax.random.key(7)}, "trained with order key"),
        ({"data": make_data(60)}, "trained with number of examples 70, got 60"),
    ],
)
def test_resuming_with_another_order_is_refused(parts, tmp_path, change, message):
    run(parts, num_epochs=1, workdir=tmp_path)
    with pytest.raises(ValueError, match=message):
        run(parts, workdir=tmp_path, resume=True, **change)


@pytest.mark.slow
def test_resuming_with_another_model_or_optimizer_is_refused(parts, tmp_path):
    run(parts, num_epochs=1, workdir=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    with pytest.raises(
        ValueError, match=r"another model or optimizer.*\n.*BatchNorm_0/mean: expected nothing"
    ):
        run(setup(models.MLP((4, 2))), workdir=tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"another model or optimizer.*\n.*opt_state/"):
        run(setup(tx=optim.sgd(0.1, momentum=0.9)), workdir=tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_folder_with_a_run_is_not_overwritten(parts, tmp_path):
    run(parts, num_epochs=1, workdir=tmp_path)
    with pytest.raises(ValueError, match=r"already holds a run\. Resume it"):
        run(parts, num_epochs=1, workdir=tmp_path)


def test_a_folder_that_cannot_be_written_is_named(parts, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the run folder .*file/run cannot be written"):
        run(parts, workdir=tmp_path / "file" / "run")


def test_a_full_disk_is_named_before_training(parts, tmp_path, monkeypatch):
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"needs about 0\.\d+ MB for checkpoints, but only 0\.00 MB"):
        run(parts, workdir=tmp_path)


def explode_at(parts, number):
    step, eval_fn, state = parts

    def step_fn(state, batch):
        state, values = step(state, batch)
        bad = jnp.where(state.step == number, jnp.nan, 1.0)
        params = jax.tree.map(lambda leaf: leaf * bad, state.params)
        return state.replace(params=params), values

    return dataclasses.replace(step, update=step_fn), eval_fn, state


@pytest.mark.slow
def test_a_weight_that_breaks_is_found_and_the_state_before_it_kept(parts, tmp_path):
    broken = explode_at(parts, 8)
    message = (
        r"(?s)a weight stopped being finite at step 7, batch 2 of the epoch \(examples \d+, .*; "
        r"the largest gradient is [\d.e-]+, in \w+/\w+; learning_rate 0\.00.*"
        r"The state before it is saved in .*checkpoints/last/7"
    )
    with pytest.raises(FloatingPointError, match=message):
        run(broken, workdir=tmp_path)
    with checkpoint.CheckpointManager(tmp_path / "checkpoints/last", keep=2) as manager:
        good, _ = manager.restore(parts[2])
    expected = run(parts, num_epochs=2, hooks=[])[0]
    assert int(good.step) == 7
    # from the good state the run continues to where it would have been
    resumed, history = run(parts, num_epochs=2, workdir=tmp_path, resume=True)
    assert_same(resumed, expected)
    assert [row["epoch"] for row in history] == [1, 2]


@pytest.mark.slow
def test_a_loss_that_diverges_is_named():
    parts = setup(models.MLP((8, 2)), optax.sgd(1e20))
    with pytest.raises(FloatingPointError, match=r"accuracy|loss stopped being finite at step \d"):
        run(parts)


@pytest.mark.slow
def test_early_stopping_counts_epochs_without_a_better_one(parts):
    rate_zero = setup(models.MLP((4, 2)), optim.sgd(0.0))
    _, history = run(rate_zero, num_epochs=10, patience=3)
    assert len(history) == 4


def test_hooks_see_every_epoch_and_can_stop(parts):
    seen = []

    def hook(event):
        seen.append((event.row["epoch"], len(event.history), event.workdir))
        return event.row["epoch"] == 2

    _, history = run(parts, hooks=[hook])
    assert seen == [(1, 1, None), (2, 2, None)]
    assert len(history) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, r"batch_size must lie in 1 to 70 \(the number of examples\), got 0"),
        ({"batch_size": 71}, "batch_size must lie in 1 to 70"),
        ({"num_epochs": 0}, "num_epochs must be at least 1, got 0"),
        ({"eval_fn": None}, "eval_fn and eval_data belong together"),
        ({"mode": "maximum"}, "mode must be 'min' or 'max', got 'maximum'"),
        ({"monitor": "test/acuracy"}, r"monitor 'test/acuracy' is not a metric of this run"),
        ({"data": {}}, "data holds no arrays"),
        ({"data": make_data() | {"label": np.zeros(69, np.int32)}}, "image: 70, label: 69"),
        ({"data": make_data() | {"label": np.full(70, -1)}}, r"labels must lie in 0 to .*, got -1"),
        (
            {"data": make_data() | {"image": np.full((70, 8, 8, 1), np.nan, np.float32)}},
            "NaN or infinity in 70 of 70 examples",
        ),
    ],
)
def test_bad_input_is_named_and_leaves_nothing_behind(parts, tmp_path, change, message):
    workdir = tmp_path / "run" if "monitor" not in change else None
    with pytest.raises(ValueError, match=message):
        run(parts, workdir=workdir, **change)
    assert not (tmp_path / "run").exists()


# Steps instead of epochs


def test_rows_every_few_steps(parts, uninterrupted):
    """5 batches make an epoch of 70 examples, the last of which has 6."""
    state, history = run(parts, num_epochs=None, num_steps=15, eval_every=4)
    assert_same(state, uninterrupted[0])
    assert [row["step"] for row in history] == [4, 8, 12, 15]
    assert [row["epoch"] for row in history] == [0.8, 1.6, 2.4, 3]
    ours = sum(n * row["train/loss"] for n, row in zip((64, 54, 54, 38), history, strict=True))
    expected = sum(70 * row["train/loss"] for row in uninterrupted[1])
    assert ours == pytest.approx(expected, rel=1e-6)
    assert history[-1]["test/loss"] == uninterrupted[1][-1]["test/loss"]


@pytest.mark.slow
def test_a_run_of_steps_is_continued(parts, uninterrupted, tmp_path):
    steps = {"num_epochs": None, "eval_every": 5, "workdir": tmp_path}
    _, history = run(parts, num_steps=7, **steps)
    assert [(row["epoch"], row["step"]) for row in history] == [(1, 5), (1.4, 7)]
    state, history = run(parts, num_steps=15, resume=True, **steps)
    assert_same(state, uninterrupted[0])
    assert [row["step"] for row in history] == [5, 7, 10, 15]
    with pytest.raises(ValueError, match="at step 15 already, num_steps is 14"):
        run(parts, num_steps=14, resume=True, **steps)


@pytest.mark.slow
def test_leftover_gradients_are_applied_at_the_end_of_an_epoch():
    """5 batches an epoch, updates after 3 and 2 of them, in run and in fit."""
    parts = setup(models.MLP((4, 2)), optim.recipe(optim.sgd, 0.1, accumulate=3))
    step, _, state = parts
    options = {"num_epochs": 2, "batch_size": 16}
    for seed in (1, jax.random.key(1)):  # a seed is a key
        ours, _ = run(parts, key=seed, **options)
        pure, _ = train.fit(step, state, make_data(), key=seed, **options)
        assert_same(ours, pure)
    longer = setup(models.MLP((4, 2)), optim.recipe(optim.sgd, 0.1, accumulate=8))
    moved, _ = run(longer, num_epochs=1)
    assert not np.array_equal(
        moved.params["Dense_0"]["kernel"], longer[2].params["Dense_0"]["kernel"]
    )


# The best epoch, and several evaluation sets


def make_eval_at(losses_by_step):
    """An evaluation that returns these losses, by the number of updates."""

    def eval_fn(state, batch):
        loss = jnp.asarray(losses_by_step, jnp.float32)[state.step]
        count = batch.get("mask", jnp.ones(len(batch["label"]))).sum()
        return {"loss": Mean(loss * count, count)}

    return eval_fn


SCRIPTED = [9, 9, 9, 9, 9, 3, 9, 9, 9, 9, 1, 9, 9, 9, 9, 2, 9, 9, 9, 9, 4]  # best at step 10


@pytest.mark.slow
@pytest.mark.parametrize("with_folder", [False, True])
def test_the_best_state_is_returned(parts, tmp_path, with_folder):
    step, _, state = parts
    scripted = (step, make_eval_at(SCRIPTED), state)
    options = {"patience": 2, "num_epochs": 9, "workdir": tmp_path if with_folder else None}
    ours, history = run(scripted, restore_best=True, **options)
    assert [row["test/loss"] for row in history] == [3, 1, 2, 4]
    assert_same(ours, run(scripted, num_epochs=2)[0])
    if with_folder:  # of a finished run too, and the last state is kept beside it
        again, _ = run(scripted, restore_best=True, resume=True, **options)
        assert_same(again, ours)
        last, _ = run(scripted, resume=True, **options)
        assert int(last.step) == 20


@pytest.mark.slow
def test_the_best_state_survives_an_interruption(parts, tmp_path):
    step, _, state = parts
    scripted = (step, make_eval_at(SCRIPTED), state)

    def interrupt(event):
        if event.row["epoch"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(train.Interrupted):
        run(scripted, restore_best=True, num_epochs=4, workdir=tmp_path, hooks=[interrupt])
    ours, _ = run(scripted, restore_best=True, num_epochs=4, workdir=tmp_path, resume=True)
    assert_same(ours, run(scripted, num_epochs=2)[0])


@pytest.mark.slow
@pytest.mark.parametrize("best", [False, True])
def test_the_test_set_is_evaluated_once_at_the_end(parts, uninterrupted, tmp_path, best):
    step, eval_fn, state = parts
    calls = []

    def counted(state, batch):
        jax.debug.callback(calls.append, batch["label"].shape[0])
        return eval_fn(state, batch)

    sets = {"test": make_data(30, seed=2), "val": make_data(25, seed=1)}
    options = {"eval_data": sets, "restore_best": best, "workdir": tmp_path}
    ours, history = run((step, counted, state), **options)
    jax.effects_barrier()
    assert sorted(calls) == [25, 25, 25, 30]
    for row, expected in zip(history, uninterrupted[1], strict=True):
        assert row["val/loss"] == expected["test/loss"]
    assert [row["step"] for row in history if "test/loss" in row] == [15]
    index = min(range(3), key=lambda i: history[i]["val/loss"]) if best else 2
    assert int(ours.step) == history[index]["step"]
    assert history[-1]["test/loss"] == train.evaluate(eval_fn, ours, sets["test"])["loss"]
    assert read_rows(tmp_path) == history
    again = run(parts, resume=True, **options)
    assert again[1] == history
    longer = run(parts, resume=True, num_epochs=4, **options)[1]
    assert longer[:3] == history
    assert "test/loss" in longer[3]


@pytest.mark.slow
def test_several_sets_without_a_test_set(parts):
    small, large = make_data(10, seed=1), data.Loader(Images(25, seed=2), batch_size=4)
    _, history = run(parts, num_epochs=2, eval_data={"small": small, "large": large})
    for row in history:
        assert {"small/loss", "small/accuracy", "large/loss", "large/accuracy"} <= row.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eval_data": {"train": make_data(9)}}, "evaluation set cannot be named 'train'"),
        ({"eval_data": {"a/b": make_data(9)}}, "evaluation set cannot be named 'a/b'"),
        ({"eval_data": {"val": make_data(9), "image": np.zeros(3)}}, "'image' and 'val' differ"),
        ({"eval_data": {"val": {}}}, "eval_data holds no arrays"),
        ({"monitor": "val/loss"}, r"monitor 'val/loss' is not .* one of \['test/accuracy', "),
        ({"monitor": "test/confusion"}, "monitor 'test/confusion' is not a metric"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"eval_fn": None, "eval_data": None, "patience": 2}, "patience needs a metric to monitor"),
        ({"eval_fn": None, "eval_data": None, "restore_best": True}, "restore_best needs a metric"),
        ({"data": (make_data()["image"], 1)}, "data must be a mapping of arrays .*, got tuple"),
        ({"data": data.load("digits")}, "got Dataset; pass one split, e.g. dataset.train"),
        ({"eval_data": [1]}, "eval_data must be a mapping of arrays"),
    ],
)
def test_bad_arguments_are_refused_before_training(parts, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        run(parts, workdir=tmp_path / "run", **change)
    assert not (tmp_path / "run").exists()


def test_a_plateau_needs_a_metric():
    parts = setup(models.MLP((4, 2)), optim.reduce_on_plateau(optim.sgd(0.1)))
    with pytest.raises(ValueError, match="reduce_on_plateau needs a metric to monitor"):
        run(parts, eval_fn=None, eval_data=None)


def test_a_state_without_a_step_is_named(parts):
    with pytest.raises(ValueError, match="state must have a field `step`, got dict"):
        train.run(parts[0], {"w": jnp.ones(2)}, make_data(), num_epochs=1, batch_size=16, key=0)


@pytest.mark.parametrize("name", ["data", "eval_data"])
def test_a_sharded_loader_is_refused(parts, name):
    loader = data.Loader(Images(), batch_size=16, shard=(0, 2))
    change = {name: loader, "batch_size": None, "key": None} if name == "data" else {name: loader}
    with pytest.raises(ValueError, match="does not take a loader with shard="):
        run(parts, **change)


# Losses and other metrics


@pytest.mark.slow
def test_an_infinite_metric_does_not_stop_the_run(parts, tmp_path):
    step, eval_fn, state = parts

    def with_psnr(state, batch):
        state, values = step(state, batch)
        return state, {**values, "psnr": Mean(jnp.inf, 1.0), "ratio": Mean(jnp.nan, 1.0)}

    options = {"num_epochs": 2, "workdir": tmp_path}
    ours, history = run((with_psnr, eval_fn, state), **options)
    assert_same(ours, run(parts, num_epochs=2)[0])
    assert history[0]["train/psnr"] == np.inf
    assert read_rows(tmp_path)[0]["train/psnr"] is None
    broken = explode_at(parts, 8)[0]

    def both(state, batch):
        state, values = broken(state, batch)
        return state, {**values, "psnr": Mean(jnp.inf, 1.0)}

    with pytest.raises(FloatingPointError, match="weight stopped being finite at step 7"):
        run((both, eval_fn, state))


# Interruptions


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_status_is_that_of_the_signal(parts, number, status):
    with pytest.raises(train.Interrupted) as raised:
        run(parts, hooks=[lambda event: os.kill(os.getpid(), number)])
    assert raised.value.exit_status == status


@pytest.mark.slow
@pytest.mark.parametrize("with_folder", [False, True])
def test_ctrl_c_in_a_notebook_returns_the_state(
    parts, uninterrupted, tmp_path, monkeypatch, capsys, with_folder
):
    monkeypatch.setattr("sys.ps1", "In : ", raising=False)
    hooks = [lambda event: os.kill(os.getpid(), signal.SIGINT) if event.row["epoch"] == 2 else None]
    options = {"workdir": tmp_path} if with_folder else {}
    state, history = run(parts, hooks=hooks, **options)
    assert (int(state.step), len(history)) == (10, 2)
    advice = f"resume=True continues {tmp_path}" if with_folder else "pass it to run to continue"
    printed = f"stopped at step 10 of 15: this is the state so far; {advice}.\n"
    assert capsys.readouterr().out == printed
    if with_folder:
        state, _ = run(parts, resume=True, **options)
    else:
        step, eval_fn, _ = parts
        state, _ = run((step, eval_fn, state))
    assert_same(state, uninterrupted[0])


# A resumed run, and the process


@pytest.mark.slow
def test_a_changed_constant_is_followed_and_printed(tmp_path, capsys):
    slow, fast = (setup(models.MLP((4, 2)), optim.sgd(rate)) for rate in (0.1, 0.001))
    run(slow, num_epochs=1, workdir=tmp_path)
    assert "resumed with" not in capsys.readouterr().out
    options = {"num_epochs": 2, "workdir": tmp_path, "resume": True, "progress": True}
    _, history = run(fast, **options)
    assert [row["learning_rate"] for row in history] == [0.1, 0.001]
    assert "resumed with learning_rate 0.1 -> 0.001\n" in capsys.readouterr().out


def test_a_description_is_written_before_training(parts, tmp_path):
    def read(event):
        return json.loads((event.workdir / "model.json").read_text())["a"] == [1]

    assert len(run(parts, workdir=tmp_path, description={"a": [1]}, hooks=[read])[1]) == 1


def test_a_step_that_returns_no_metrics_can_run(tmp_path):
    def count(state, batch):
        return state.replace(step=state.step + 1), {}

    state = train.init_state(nn.Dense(1), optax.sgd(0.1), jax.random.key(0), jnp.zeros((1, 2)))
    options = {"num_epochs": 2, "batch_size": 5, "key": jax.random.key(1), "progress": False}
    final, history = train.run(
        count, state, {"x": jnp.zeros((10, 2))}, workdir=tmp_path / "run", **options
    )
    assert int(final.step) == 4
    assert [row["step"] for row in history] == [2, 4]
    with pytest.raises(ValueError, match="neither the step nor the evaluation returns one"):
        train.run(
            count,
            state,
            {"x": jnp.zeros((10, 2))},
            eval_fn=lambda state, batch: {},
            eval_data={"x": jnp.zeros((10, 2))},
            **options,
        )
