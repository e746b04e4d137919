"""A trace of some steps."""

import gzip
import json

import jax
import numpy as np
import pytest

from jaxdl import losses, models, optim, train

DATA = {
    "x": np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32),
    "label": np.zeros(6, np.int32),
}


def make_step(tx):
    model = models.MLP((3, 2))
    loss_fn = train.supervised(model, losses.cross_entropy, inputs="x")
    return train.make_step(loss_fn, tx), train.init_state(model, tx, jax.random.key(0), DATA["x"])


def run(step, state, **options):
    settings = {"num_epochs": 4, "batch_size": 2, "key": 0, "progress": False}
    return train.run(step, state, DATA, **settings | options)


@pytest.mark.slow
def test_a_trace_holds_the_steps_that_were_asked_for_by_number(tmp_path):
    step, state = make_step(optim.adam(1e-3))
    traced, _ = run(step, state, workdir=tmp_path, watch=train.Watch(profile=(4, 7)))
    (path,) = tmp_path.glob("plugins/profile/*/*.trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = [str(event.get("args", {}).get("step_num")) for event in events
             if event.get("name", "").startswith("train")]  # fmt: skip
    assert sorted(names) == ["4", "5", "6"]
    (plane,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    found = jax.profiler.ProfileData.from_file(str(plane))
    assert [plane.name for plane in found.planes]
    plain, _ = run(step, state)
    for a, b in zip(jax.tree.leaves(traced.params), jax.tree.leaves(plain.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_trace_that_cannot_be_is_refused(tmp_path):
    step, state = make_step(optim.sgd(0.1))
    for steps in [(3, 3), (-1, 2), (5, 2)]:
        with pytest.raises(ValueError, match="0 <= first < last"):
            run(step, state, workdir=tmp_path / str(steps), watch=train.Watch(profile=steps))
    with pytest.raises(ValueError, match="begins after the end of the run: it has 12 steps"):
        run(step, state, workdir=tmp_path, watch=train.Watch(profile=(100, 110)))
    with pytest.raises(ValueError, match="pass workdir to run"):
        run(step, state, watch=train.Watch(profile=(0, 1)))
