"""What a sweep writes of every kind of hyperparameter."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import values
from tensorboard.plugins.hparams import metadata

from jaxdl import sweep, train
from jaxdl.types import TrainState

pytestmark = pytest.mark.usefixtures("quick_compilation")

DATA = {"x": np.arange(6, dtype=np.float32).reshape(6, 1)}


def step(rate, state, batch):
    w = state.params - rate * (state.params - batch["x"].mean())
    return state.replace(step=state.step + 1, params=w), {"loss": jnp.square(w)}


def train_one(key, hparams, data):
    state = TrainState(jnp.int32(0), jax.random.normal(jax.random.fold_in(key, 0)), {}, (), key)
    options = {"num_epochs": 2, "batch_size": 4}
    step_fn = functools.partial(step, hparams["rate"])
    state, history = train.fit(step_fn, state, data, key=jax.random.fold_in(key, 1), **options)
    return state, {"test/loss": history["train/loss"]}


def order(key, hparams):
    return 4, 6, jax.random.fold_in(key, 1)


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
    result = sweep.sweep(descend, space, outer="auto", workdir=folder, progress=False)
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
def test_what_cannot_be_written_is_said_before_anything_is_trained(options, message, tmp_path):
    called = []

    def one(key, hparams, data):
        jax.debug.callback(lambda: called.append(1))
        return descend(key, hparams, data)

    with pytest.raises((ValueError, KeyError), match=message):
        sweep.sweep(one, **({"space": [{}]} | options), workdir=tmp_path / "run", progress=False)
    jax.effects_barrier()
    assert called == []
