"""The loop: fit and run, their equality, resume, evaluation, and what they say of bad input."""

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
from jaxdl.train import _batches, loop


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


def test_fit_goes_on_with_the_epoch_that_the_state_is_at(parts):
    step, _, state = parts
    options = {"batch_size": 16, "key": jax.random.key(1)}
    whole, _ = train.fit(step, state, make_data(), num_epochs=3, **options)
    first, _ = train.fit(step, state, make_data(), num_epochs=1, **options)
    rest, _ = train.fit(step, first, make_data(), num_epochs=2, **options)
    assert_same(whole, rest)


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


def test_one_epoch_is_a_python_loop_over_slices(parts):
    """Also for the ragged last batch: its padding changes nothing."""
    step, _, state = parts
    examples = make_data()
    order = np.asarray(data.epoch_order(jax.random.key(1), 0, 70, 16)).ravel()[:70]
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


def test_the_callers_state_stays_valid(parts):
    run(parts, num_epochs=1)
    assert float(jax.tree.leaves(parts[2].params)[0].sum()) == pytest.approx(
        float(jax.tree.leaves(setup()[2].params)[0].sum())
    )


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


def test_resuming_a_finished_run_changes_nothing(parts, tmp_path):
    state, history = run(parts, workdir=tmp_path)
    again, again_history = run(parts, workdir=tmp_path, resume=True)
    assert_same(state, again)
    assert again_history == history == read_rows(tmp_path)


def test_more_epochs_can_be_asked_of_a_finished_run(parts, uninterrupted, tmp_path):
    run(parts, num_epochs=1, workdir=tmp_path)
    state, _ = run(parts, num_epochs=3, workdir=tmp_path, resume=True)
    assert_same(state, uninterrupted[0])
    with pytest.raises(ValueError, match="at step 15 already, 2 epochs end at step 10"):
        run(parts, num_epochs=2, workdir=tmp_path, resume=True)


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
    # from the good state the run goes on to where it would have been
    resumed, history = run(parts, num_epochs=2, workdir=tmp_path, resume=True)
    assert_same(resumed, expected)
    assert [row["epoch"] for row in history] == [1, 2]


def test_a_loss_that_diverges_is_named():
    parts = setup(models.MLP((8, 2)), optax.sgd(1e20))
    with pytest.raises(FloatingPointError, match=r"accuracy|loss stopped being finite at step \d"):
        run(parts)


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
