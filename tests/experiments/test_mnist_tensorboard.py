"""experiments/mnist_tensorboard.py on images made up here, of MNIST's size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import accumulate
from tensorboard.plugins.hparams import metadata

import mnist_tensorboard as experiment
from jaxdl import data, export, losses, models, types
from jaxdl import train as training
from jaxdl.train.watch._probes import make_embedding, make_statistics
from jaxdl.train.watch.options import resolve

pytestmark = pytest.mark.slow  # all share one run


def make_dataset(num_train=40, num_test=27):
    """A class is the brightness of a square."""

    def split(number):
        label = (np.arange(number) % 10).astype(np.int32)
        image = np.zeros((number, 28, 28, 1), np.uint8)
        image[:, 4:24, 4:24] = (label * 28)[:, None, None, None]
        return {"image": image, "label": label}

    names = tuple(f"class {index}" for index in range(10))
    return data.Dataset("mnist", split(num_train), split(num_test), names)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    cfg = experiment.Config(batch_size=16, num_epochs=2, step_size=1, workdir=folder)
    return folder, experiment.train(cfg, make_dataset())[1][-1]["test/accuracy"]


def test_every_test_image_counts(trained):
    folder, accuracy = trained
    assert round(accuracy * 27) == pytest.approx(accuracy * 27, abs=1e-4)  # of 27, not of 16
    test = make_dataset().test
    predicted = export.open_model(folder, which="last").predict(test["image"]).argmax(axis=1)
    assert np.mean(predicted == test["label"]) == pytest.approx(accuracy)
    accumulator = accumulate(folder)
    # drop_last: two batches of 16 of 40 images; the first of each epoch is looked at
    assert [event.step for event in accumulator.Scalars("step/loss")] == [0, 2]
    rates = [event.value for event in accumulator.Scalars("step/learning_rate")]
    np.testing.assert_allclose(rates, [1e-3, 5e-4], rtol=1e-6)
    assert accumulator.Scalars("test/accuracy")[-1].value == pytest.approx(accuracy)
    content = accumulator.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(content)
    assert start.hparams["batch_size"].number_value == 16
    assert start.hparams["weight_decay"].number_value == 1e-5
    assert accumulator.SummaryMetadata("_hparams_/session_end_info").plugin_data.content


def test_defaults_are_the_sources():
    fields = dataclasses.asdict(experiment.Config())
    assert {name: fields[name] for name in fields if name not in experiment.NOT_HPARAMS} == {
        "batch_size": 64, "learning_rate": 1e-3, "dropout_rate": 0.3, "num_epochs": 10,
        "optimizer": "adam", "momentum": 0.0, "weight_decay": 1e-5, "step_size": 5, "gamma": 0.5,
        "drop_last": True, "seed": 0,
    }  # fmt: skip


@pytest.mark.slow
def test_eight_tensors_make_eight_histograms_twice_and_eight_norms(trained):
    tags = accumulate(trained[0]).Tags()
    parameters = [tag for tag in tags["histograms"] if tag.startswith("parameters/")]
    gradients = [tag for tag in tags["histograms"] if tag.startswith("gradients/")]
    norms = [tag for tag in tags["scalars"] if tag.startswith("gradient_norm/")]
    assert (len(parameters), len(gradients), len(norms)) == (8, 8, 8 + 1)  # and the global one


def test_image_grids_have_the_sizes_of_the_source(trained):
    accumulator = accumulate(trained[0])
    sizes = {
        tag: [(event.height, event.width) for event in accumulator.Images(tag)]
        for tag in ("feature_maps/feat1", "feature_maps/feat2", "inputs", "filters/Conv_0")
    }
    assert sizes == {
        "feature_maps/feat1": [(114, 58)] * 2,
        "feature_maps/feat2": [(54, 28)] * 2,
        "inputs": [(32, 242)] * 2,
        "filters/Conv_0": [(12, 42)] * 2,
    }


@pytest.mark.parametrize("batch_size", [32, 64, 128])
def test_always_1024_embeddings_of_32_numbers(batch_size):
    """Checkable output 73."""
    model = models.ConvNet()
    network = types.Network(model, lambda batch: batch["image"].astype(jnp.float32))
    embed = make_embedding(experiment.WATCH, network, batch_size)
    form = jax.eval_shape(
        lambda key, x: training.init_state(model, experiment.optim.adam(), key, x),
        jax.random.key(0),
        jnp.zeros((1, 28, 28, 1)),
    )
    test = {"image": jax.ShapeDtypeStruct((10_000, 28, 28, 1), "uint8"),
            "label": jax.ShapeDtypeStruct((10_000,), "int32")}  # fmt: skip
    assert jax.eval_shape(embed, form, test).shape == (1024, 32)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_the_optimizer_that_was_chosen_is_used(name):
    """One update of a weight 1 with gradient 1, rate 0.1 and no decay."""
    hparams = experiment.Config(
        optimizer=name,
        learning_rate=0.1,
        weight_decay=0.0,
        momentum=0.5 if name in ("sgd", "rmsprop") else 0.0,
    )
    tx, params, state = experiment.make_optimizer(hparams, 10), {"w": jnp.ones(1)}, None
    state = tx.init(params)
    total = 0.0
    for _ in range(2):
        updates, state = tx.update({"w": jnp.ones(1)}, state, params)
        total += float(updates["w"][0])
    # momentum: 1 + 1.5; rmsprop: mean squares .01, .0199 and momentum on top
    expected = {
        "adam": -0.2,
        "adamw": -0.2,
        "sgd": -0.1 * 2.5,
        "rmsprop": -0.1 * (1.5 / 0.1 + 1 / np.sqrt(0.0199)),
    }
    assert total == pytest.approx(expected[name], rel=1e-4)


def test_momentum_of_an_optimizer_that_has_none_is_refused():
    with pytest.raises(ValueError, match="momentum is for sgd and rmsprop, not adam"):
        experiment.make_optimizer(experiment.Config(momentum=0.9), 10)


def test_the_lists_are_those_of_the_source():
    two = [experiment.Config(**changes) for changes in experiment.RUNS["two"]]
    assert [(h.batch_size, h.learning_rate, h.dropout_rate, h.num_epochs) for h in two] == [
        (32, 1e-3, 0.3, 5),
        (64, 5e-4, 0.5, 5),
    ]
    assert [(h.weight_decay, h.step_size, h.gamma) for h in two] == [(1e-5, 2, 0.5), (1e-4, 3, 0.2)]
    three = [experiment.Config(**changes) for changes in experiment.RUNS["three"]]
    assert [(h.batch_size, h.dropout_rate, h.weight_decay) for h in three] == [
        (32, 0.3, 1e-5),
        (64, 0.5, 1e-4),
        (128, 0.7, 1e-3),
    ]
    assert {(h.learning_rate, h.num_epochs) for h in three} == {(1e-4, 3)}


@pytest.mark.slow
def test_a_graph_and_statistics_of_the_full_model_are_asked_for():
    model = models.ConvNet()
    loss_fn = training.supervised(model, losses.cross_entropy)
    step = training.make_step(loss_fn, experiment.optim.adam())
    form = jax.eval_shape(
        lambda key, x: training.init_state(model, experiment.optim.adam(), key, x),
        jax.random.key(0),
        jnp.zeros((1, 28, 28, 1)),
    )
    batch = {"image": jax.ShapeDtypeStruct((64, 28, 28, 1), "float32"),
             "label": jax.ShapeDtypeStruct((64,), "int32")}  # fmt: skip
    watch = resolve(experiment.WATCH, step, form, batch, batch)
    found = jax.eval_shape(make_statistics(watch, step), form, batch)
    assert set(found) == {
        "parameters", "gradients", "gradient_norm", "update_ratio", "filters", "inputs",
        "activations", "activation_mean", "activation_std", "activation_zeros", "feature_maps",
    }  # fmt: skip
    # what leaves the device at a look: bucket counts, norms and pictures
    leaving = sum(leaf.size for leaf in jax.tree.leaves(found))
    assert leaving < 30_762 / 2
