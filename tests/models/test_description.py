"""Descriptions of models in run folders."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import export, losses, metrics, models, optim, train
from jaxdl.__main__ import main
from jaxdl.models.description import describe
from jaxdl.types import Network, TrainState


class UsesLen(nn.Module):
    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(3)(x.reshape(len(x), -1))


class Own(nn.Module):
    outputs: int = 3

    @nn.compact
    def __call__(self, x, *, train=False):
        return nn.Dense(self.outputs)(x.reshape(x.shape[0], -1))


def run(workdir, model, *, dtype=np.uint8, loss=losses.cross_entropy, targets="label", **options):
    rng = np.random.default_rng(0)
    data = {
        "image": rng.integers(0, 200, (8, 2, 2, 1)).astype(dtype),
        "label": np.arange(8, dtype=np.int32) % 3,
        "height": np.linspace(0, 1, 8, dtype=np.float32)[:, None],
    }
    tx = optim.sgd(0.1)

    def preprocess(x):
        return x / 255.0

    example = preprocess(jnp.asarray(data["image"][:1]))
    state = train.init_state(model, tx, jax.random.key(0), example)
    loss_fn = train.supervised(model, loss, preprocess=preprocess, targets=targets)
    step = train.make_step(loss_fn, tx)
    options = {"num_epochs": 1, "batch_size": 4, "key": jax.random.key(1), **options}
    state, _ = train.run(step, state, data, workdir=workdir, progress=False, **options)
    return state, data


def description(workdir):
    return json.loads((workdir / "model.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_any_dtype_of_raw_inputs(tmp_path, dtype):
    model = Own()
    state, data = run(tmp_path, model, dtype=dtype)
    bundle = export.open_model(tmp_path)
    inputs = data["image"].astype(bundle.preprocessing.dtype)
    expected = model.apply({"params": state.params}, data["image"] / np.float32(255))
    np.testing.assert_allclose(bundle.outputs(inputs), expected, rtol=1e-4, atol=1e-5)
    assert bundle.class_names == ("0", "1", "2")


@pytest.mark.slow
def test_a_regression_has_no_class_names(tmp_path):
    def loss(outputs, targets):
        return ((outputs - targets) ** 2).mean(-1)

    run(tmp_path, Own(1), loss=loss, targets="height")
    assert description(tmp_path)["class_names"] == []
    assert export.open_model(tmp_path).class_names == ()


def test_what_is_given_comes_first(tmp_path):
    given = {"class_names": ["a", "b", "c"], "data": {"name": "letters"}}
    run(tmp_path, Own(), description=given)
    found = description(tmp_path)
    assert found["class_names"] == ["a", "b", "c"]
    assert found["data"] == {"name": "letters"}
    assert export.open_model(tmp_path).class_names == ("a", "b", "c")


@pytest.mark.slow
def test_a_described_model_of_jaxdl_needs_no_program(tmp_path):
    model = models.MLP((3,))
    rule = export.Preprocessing((2, 2, 1))
    run(tmp_path / "a", model, description=export.describe_run(model, rule, ["a", "b", "c"]))
    assert not (tmp_path / "a" / "forward.stablehlo").exists()
    assert export.open_model(tmp_path / "a").forward is None
    run(tmp_path / "b", model)  # its preprocessing is code
    assert (tmp_path / "b" / "forward.stablehlo").exists()


def test_a_network_that_cannot_be_exported_trains_and_gives_the_reason(tmp_path, capsys):
    run(tmp_path, UsesLen())
    assert description(tmp_path)["program"] is None
    assert not (tmp_path / "forward.stablehlo").exists()
    assert main(["predict", str(tmp_path), "image.png"]) == 1
    error = capsys.readouterr().err
    assert "holds no program of its model" in error
    assert "x.reshape(len(x), -1)" in error
    assert error.count("\n") == 1


def test_a_step_without_a_network_has_no_description(tmp_path, capsys):
    def loss_fn(params, model_state, batch, *, key, train):
        loss = metrics.mean(params["w"] * batch["x"], batch.get("mask"))
        return loss.total / loss.count, (model_state, {"loss": loss})

    tx = optim.sgd(0.1)
    params = {"w": jnp.ones(())}
    state = TrainState(jnp.zeros((), jnp.int32), params, {}, tx.init(params), jax.random.key(0))
    step = train.make_step(loss_fn, tx)
    options = {"num_epochs": 1, "batch_size": 2, "key": jax.random.key(1), "progress": False}
    train.run(step, state, {"x": np.zeros(4, np.float32)}, workdir=tmp_path, **options)
    assert not (tmp_path / "model.json").exists()
    assert main(["predict", str(tmp_path), "image.png"]) == 1
    assert "has no model.json: the step of its run has no network" in capsys.readouterr().err


def test_a_network_that_reads_more_of_a_batch_is_named(tmp_path):
    model = Own()
    network = Network(model, lambda batch: batch["image"] / 255 + batch["shift"][:, None, None])
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)))
    state = TrainState(jnp.zeros((), jnp.int32), variables["params"], {}, (), None)
    batch = {"image": jnp.zeros((4, 2, 2, 1), jnp.uint8), "label": jnp.zeros(4, jnp.int32)}
    found, program = describe(network, state, batch, (), {})
    assert program is None
    assert found["no_program"] == "The network reads 'shift' of a batch beside its inputs."
