"""Training on a loader: the same weights however its batches come, killed and resumed or not."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.same import assert_same, assert_same_run, without_times
from helpers.streaming_script import Images, NameSharedMemory, make_loader, make_parts, run

from jaxdl import data, metrics, train
from jaxdl.data.prefetch import put_on_devices
from jaxdl.train import _setup, _streaming, loop

SCRIPT = Path(__file__).parents[1] / "helpers" / "streaming_script.py"


@pytest.fixture(scope="module")
def parts():
    return make_parts()


@pytest.fixture(scope="module")
def whole(parts):
    return run(parts, make_loader())


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_the_weights(parts, whole, num_workers):
    assert_same_run(run(parts, make_loader(num_workers=num_workers)), whole)


@pytest.mark.slow
def test_batches_that_are_transferred_ahead_give_the_same_weights(parts, whole, monkeypatch):
    """As on an accelerator."""
    monkeypatch.setattr(_streaming, "_transferred", put_on_devices)
    assert_same_run(run(parts, make_loader(num_workers=1)), whole)


@pytest.mark.slow
def test_streamed_is_a_python_loop_over_the_batches(parts, whole):
    step, _, expected = parts
    step = jax.jit(step)
    batches = make_loader(pad_last=True).epoch(0, num_epochs=4)
    for batch in batches:
        expected, _ = step(expected, batch)
    assert_same(whole[0], expected)


def test_resident_and_streamed_go_through_the_same_batches(parts, whole, capsys):
    """The loop on the device is compiled differently, hence other last digits."""
    resident, history = run(parts, make_loader(resident=True), progress=True)
    said = capsys.readouterr().out
    assert "70 examples (0.0 MB) are read once and stay on the device" in said
    assert history[-1]["train/loss"] == pytest.approx(whole[1][-1]["train/loss"], rel=1e-3)
    for a, b in zip(
        jax.tree.leaves(resident.params), jax.tree.leaves(whole[0].params), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)


class Counted(NamedTuple):
    step: Any
    seen: Any


@pytest.mark.parametrize(
    "options",
    [{}, {"drop_last": True}, {"shuffle": None, "sampler": list(range(50)) * 2}],
    ids=["ragged", "dropped", "sampled"],
)
def test_both_take_the_examples_of_the_loader(options):
    """A step that only counts what it sees, whatever the sampler does with the source."""

    def step(state, batch):
        mask = batch.get("mask", jnp.ones(16))
        seen = state.seen.at[batch["label"]].add(mask)
        values = {"label": metrics.mean(batch["label"].astype(jnp.float32), mask)}
        return Counted(state.step + 1, seen), values

    source = data.ArraySource({"label": np.arange(70, dtype=np.int32)})
    counted = []
    for resident in (None, False):
        loader = make_loader(source, resident=resident, **options)
        state = Counted(jnp.int32(0), jnp.zeros(70))
        state, history = train.run(step, state, loader, num_epochs=2, progress=False)
        expected = np.bincount(
            np.concatenate([*loader.indices(0), *loader.indices(1)]), minlength=70
        )
        np.testing.assert_array_equal(state.seen, expected)
        counted.append(without_times(history))
    assert counted[0] == counted[1]


@pytest.mark.parametrize("batch_size", [1, 7, 25])
@pytest.mark.parametrize("resident", [True, False])
def test_evaluation_of_a_loader_is_that_of_its_arrays(parts, batch_size, resident):
    _, eval_fn, state = parts
    source = Images(25, seed=1)
    expected = train.evaluate(eval_fn, state, source.arrays())
    loader = data.Loader(source, batch_size=batch_size, resident=resident, num_workers=1)
    assert train.evaluate(eval_fn, state, loader) == pytest.approx(expected, abs=1e-6)


def test_a_loader_evaluates_a_run(parts, whole):
    for resident in (True, False):
        test = data.Loader(Images(25, seed=1), batch_size=8, resident=resident)
        ours = run(parts, make_loader(), eval_data=test)
        assert ours[1][-1]["test/accuracy"] == whole[1][-1]["test/accuracy"]
        assert ours[1][-1]["test/loss"] == pytest.approx(whole[1][-1]["test/loss"], abs=1e-6)


@pytest.mark.slow
def test_stopped_in_the_middle_of_an_epoch_goes_on_with_the_next_batch(
    parts, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "_next_chunk", lambda chunk, seconds: 1)
    calls = itertools.count(1)

    original = loop.Progress.add

    def interrupt(self, stacked, seconds):
        original(self, stacked, seconds)
        if next(calls) == 8:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(loop.Progress, "add", interrupt)
    with pytest.raises(train.Interrupted, match="step 8 of 20"):
        run(parts, make_loader(num_workers=2), workdir=tmp_path)
    assert_same_run(run(parts, make_loader(num_workers=1), workdir=tmp_path, resume=True), whole)


def children_of(pid):
    """Whichever thread started them."""
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_killed_with_worker_processes_it_resumes_to_the_same_weights(parts, whole, tmp_path):
    memory = NameSharedMemory(f"k{os.getpid()}")
    process = subprocess.Popen([sys.executable, SCRIPT, tmp_path, memory.name])
    last = tmp_path / "checkpoints/last"
    while process.poll() is None:
        steps = [int(path.name) for path in last.glob("*") if path.name.isdigit()]
        if any(step % 5 for step in steps):
            break
        time.sleep(0.02)
    assert memory.left()
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL  # it was not done
    assert len(children) >= 3  # two workers, and Python's tracker of shared memory
    deadline = time.monotonic() + 60
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))
    assert not memory.left()
    assert_same_run(run(parts, make_loader(num_workers=1), workdir=tmp_path, resume=True), whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 8}, "batch_size is 8, but the loader's is 16"),
        ({"key": jax.random.key(2)}, "the order is the loader's"),
        ({"eval_data": None}, "belong together"),
    ],
)
def test_what_the_loader_says_already_may_not_differ(parts, options, message):
    with pytest.raises(ValueError, match=message):
        run(parts, make_loader(), **options)


def test_the_loaders_own_key_and_batch_size_may_be_repeated(parts, whole):
    assert_same_run(run(parts, make_loader(), batch_size=16, key=jax.random.key(1)), whole)


@pytest.mark.slow
def test_resuming_with_another_order_is_refused(parts, tmp_path):
    run(parts, make_loader(), num_epochs=1, workdir=tmp_path)
    with pytest.raises(ValueError, match="trained with order"):
        run(parts, make_loader(key=9), workdir=tmp_path, resume=True)


# Windows that are cut on the device


class Sum(NamedTuple):
    step: jax.Array
    total: jax.Array


def embed(state, batch):
    """A step without weights: sums of what it sees, weighted by position."""
    weight = batch.get("mask", jnp.ones(batch["input"].shape[0]))
    places = jnp.arange(1.0, batch["input"].shape[1] + 1)[None]
    seen = (batch["input"] * places + 1000.0 * batch["target"] * places).sum(1)
    total = metrics.mean(seen, weight)
    return Sum(state.step + 1, state.total + total.total), {"loss": total}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["windows", "subset"])
@pytest.mark.parametrize("stride", [1, 3])
def test_windows_are_cut_on_the_device(kind, stride):
    tokens = np.random.default_rng(0).integers(0, 65, 103).astype(np.int32)
    source = data.sources.Windows(tokens, block_size=8, stride=stride)
    if kind == "subset":
        source, _ = data.random_split(source, [0.7, 0.3], 0)
    loader = data.Loader(source, batch_size=5, shuffle=True, key=3)
    said = []
    arrays, gather = _setup.compact_arrays(loader, said.append)
    assert arrays["token"].dtype == np.uint8  # 65 characters take a byte each
    assert sum(array.nbytes for array in arrays.values()) <= 103 + 4 * len(source)
    assert "are cut on the device from" in said[0]
    rows = np.array([len(source) - 1, 0, 2])
    batch = jax.jit(gather)(arrays, rows)
    for name, expected in source.__getitems__(rows).items():
        np.testing.assert_array_equal(batch[name], expected)
        assert batch[name].dtype == expected.dtype
    start = Sum(jnp.int32(0), jnp.float32(0))
    sums = [
        float(train.run(embed, start, each, num_epochs=2, progress=False)[0].total)
        for each in (loader, loader.replace(resident=False))
    ]
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-6)
