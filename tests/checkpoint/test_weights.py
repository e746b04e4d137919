"""Weights of a checkpoint: on other devices, in another dtype or model, averaged; best and last."""

import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.devices import run_with_devices
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxdl import checkpoint, optim, train, tree
from jaxdl.checkpoint._info import StructureMismatchError
from jaxdl.metrics import mean
from jaxdl.train.gan import GANState, PlayerState
from jaxdl.types import TrainState

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

KERNEL = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def variables_of(step, dtype=jnp.float32):
    """The variables in the state of a step."""
    return {
        "params": {
            "Dense_0": {"kernel": jnp.asarray(KERNEL * step, dtype), "bias": jnp.ones(4, dtype)},
            "head": {"kernel": jnp.full((4, 3), step, dtype)},
        },
        "batch_stats": {"norm": {"mean": jnp.full(4, 10.0 * step)}},
        "counts": {"seen": jnp.array([step, 7], jnp.int32)},
    }


def state_of(step, tx=None, dtype=jnp.float32):
    variables = variables_of(step, dtype)
    params = variables.pop("params")
    opt_state = (tx or optim.adam(1e-3)).init(params)
    return TrainState(jnp.int32(step), params, variables, opt_state, jax.random.key(step))


def save_all(folder, *states, keep=9):
    with checkpoint.CheckpointManager(folder, keep=keep) as manager:
        for state in states:
            manager.save(state, {"row": {"test/loss": 1.0}})
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run folder whose best step is 2 and whose last ones are 3 and 4; only read."""
    folder = tmp_path_factory.mktemp("run")
    save_all(folder / "checkpoints/best", state_of(2))
    save_all(folder / "checkpoints/last", state_of(3), state_of(4))
    return folder


def assert_equal(actual, expected):
    assert tree.describe(actual) == tree.describe(expected)
    assert max(tree.max_difference(actual, expected).values()) == 0


# Which checkpoint


@pytest.mark.parametrize(
    ("inner", "step"),
    [
        (".", 2),
        ("checkpoints", 2),
        ("checkpoints/best", 2),
        ("checkpoints/last", 4),
        ("checkpoints/last/3", 3),
    ],
)
def test_a_run_a_folder_and_a_step_are_found(run_folder, inner, step):
    variables, report = checkpoint.restore_weights(run_folder / inner)
    assert_equal(variables, variables_of(step))
    assert report.fits
    assert len(report.loaded) == 5
    contents = checkpoint.describe(str(run_folder / inner))
    assert contents.step == step
    assert contents.metadata == {"row": {"test/loss": 1.0}}
    assert contents.structure["params/head/kernel"] == "float32[4, 3]"
    assert contents.folder.name == str(step)


def test_a_step_folder_may_be_copied_under_another_name(run_folder, tmp_path):
    shutil.copytree(run_folder / "checkpoints/last/3", tmp_path / "mine")
    assert_equal(checkpoint.restore_weights(tmp_path / "mine")[0], variables_of(3))
    assert checkpoint.describe(tmp_path / "mine").step == 3


def test_where_there_is_no_checkpoint_what_is_there_is_listed(run_folder, tmp_path):
    (tmp_path / "notes.txt").touch()
    (tmp_path / "7.orbax-checkpoint-tmp-0").mkdir()
    with pytest.raises(FileNotFoundError, match=r"expected a run folder.*found .*'notes.txt'"):
        checkpoint.restore_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="the path does not exist"):
        checkpoint.restore_weights(tmp_path / "nothing")


# Into a model


def test_a_full_state_gives_weights_in_the_form_of_a_model(run_folder):
    target = jax.eval_shape(lambda: variables_of(0))
    variables, report = checkpoint.restore_weights(run_folder, target)
    assert_equal(variables, variables_of(2))
    assert str(report) == "loaded 5 of 5 leaves (46 numbers)"


def test_a_dtype_is_converted_only_where_it_is_asked_for(run_folder):
    target = variables_of(0, jnp.bfloat16)
    with pytest.raises(StructureMismatchError) as error:
        checkpoint.restore_weights(run_folder, target)
    assert "to convert them, pass dtype=jnp.bfloat16" in str(error.value)
    assert "params/Dense_0/kernel: float32, the model has bfloat16" in str(error.value)
    expected = variables_of(2)
    expected["params"] = jax.tree.map(lambda x: x.astype(jnp.bfloat16), expected["params"])
    assert_equal(checkpoint.restore_weights(run_folder, target, dtype=jnp.bfloat16)[0], expected)
    # statistics and counts stay as they are
    assert_equal(checkpoint.restore_weights(run_folder, dtype="bfloat16")[0], expected)


def test_integers_are_never_converted(run_folder):
    target = variables_of(0)
    target["counts"]["seen"] = jnp.zeros(2)
    with pytest.raises(ValueError, match="counts/seen: int32, the model has float32"):
        checkpoint.restore_weights(run_folder, target, dtype=jnp.float32)


def test_weights_are_converted_to_floating_point_only(run_folder):
    with pytest.raises(ValueError, match="dtype must be a floating-point dtype, got int8"):
        checkpoint.restore_weights(run_folder, dtype=jnp.int8)
    with pytest.raises(ValueError, match="JAX does not have float64 unless jax_enable_x64 is on"):
        checkpoint.restore_weights(run_folder, dtype=np.float64)


def test_what_does_not_fit_is_an_error_that_names_it(run_folder):
    target = variables_of(0)
    target["params"]["head"]["kernel"] = jnp.zeros((4, 5))
    target["params"]["Dense_1"] = target["params"].pop("Dense_0")
    with pytest.raises(ValueError, match=r"does not fit the model:\nloaded 2 of 5") as error:
        checkpoint.restore_weights(run_folder, target)
    for words in (
        "missing in the checkpoint",
        r"params/Dense_1/bias: no leaf of that name, shape (4,)",
        "unexpected in the checkpoint",
        r"params/Dense_0/kernel: of shape (6, 4)",
        r"params/head/kernel: the checkpoint's has shape (4, 3), expected (4, 5)",
        "partial=True",
    ):
        assert words in str(error.value)


def test_a_larger_model_takes_what_fits_and_keeps_the_rest(run_folder):
    larger = variables_of(0)
    larger["params"]["head"]["kernel"] = jnp.full((4, 5), 0.5)
    larger["params"]["Dense_1"] = {"kernel": jnp.full((4, 4), 0.25)}
    del larger["counts"]
    variables, report = checkpoint.restore_weights(run_folder, larger, partial=True)
    expected = jax.tree.map(jnp.copy, larger)
    expected["params"]["Dense_0"] = variables_of(2)["params"]["Dense_0"]
    expected["batch_stats"] = variables_of(2)["batch_stats"]
    assert_equal(variables, expected)
    assert set(report.loaded) == {
        "params/Dense_0/kernel",
        "params/Dense_0/bias",
        "batch_stats/norm/mean",
    }
    assert set(report.missing) == {"params/Dense_1/kernel"}
    assert set(report.unexpected) == {"counts/seen"}
    assert set(report.mismatched) == {"params/head/kernel"}
    assert report.num_values == 24 + 4 + 4


def test_partial_needs_values_for_what_is_not_loaded(run_folder):
    larger = {**variables_of(0), "more": {"x": jnp.ones(2)}}
    with pytest.raises(ValueError, match="more/x is not loaded and has no initial value"):
        checkpoint.restore_weights(run_folder, jax.eval_shape(lambda: larger), partial=True)
    with pytest.raises(ValueError, match="partial=True needs target="):
        checkpoint.restore_weights(run_folder, partial=True)
    with pytest.raises(ValueError, match="nothing in the checkpoint fits the model"):
        checkpoint.restore_weights(run_folder, {"params": {"a": jnp.ones(2)}}, partial=True)


@pytest.mark.slow
def test_the_average_that_training_kept_can_be_taken(run_folder, tmp_path):
    tx = optim.recipe(optim.adam, 0.1, ema=0.5)
    state = state_of(1, tx)
    gradients = jax.tree.map(jnp.ones_like, state.params)
    updates, opt_state = tx.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    save_all(tmp_path, state.replace(params=params, opt_state=opt_state))
    kept = checkpoint.restore_weights(tmp_path, averaged=True)[0]
    assert_equal(kept["params"], optim.averaged_params(opt_state))
    assert_equal(checkpoint.restore_weights(tmp_path)[0]["params"], params)
    with pytest.raises(ValueError, match=r"0 sets of averaged .*averages in \[\]"):
        checkpoint.restore_weights(run_folder, averaged=True)


def test_a_player_of_a_gan_is_chosen_by_its_field(tmp_path):
    players = [
        PlayerState(s.params, s.model_state, s.opt_state) for s in (state_of(1), state_of(2))
    ]
    save_all(tmp_path, GANState(jnp.int32(5), *players, jax.random.key(0)))
    variables = checkpoint.restore_weights(tmp_path, part="discriminator")[0]
    assert_equal(variables, variables_of(2))
    with pytest.raises(ValueError, match=r"parameters in \['discriminator', 'generator'\] \(part="):
        checkpoint.restore_weights(tmp_path)


# Averages


def test_the_average_of_checkpoints_is_that_of_their_numbers(run_folder, tmp_path):
    paths = [run_folder / "checkpoints/last/4", run_folder, run_folder / "checkpoints/last/3"]
    mean = checkpoint.average(paths)
    expected = variables_of(3)  # (4 + 2 + 3) / 3; the counts are of step 4, the newest
    expected["counts"]["seen"] = jnp.array([4, 7], jnp.int32)
    assert tree.describe(mean) == tree.describe(expected)
    assert tree.max_difference(mean, expected)["params/Dense_0/kernel"] <= 3e-7
    assert mean["counts"]["seen"].tolist() == [4, 7]
    assert_equal(
        checkpoint.average(run_folder / "checkpoints/last"),
        checkpoint.average([paths[0], paths[2]]),
    )
    assert_equal(checkpoint.average([run_folder]), variables_of(2))


def test_half_precision_is_averaged_in_double(tmp_path):
    tx = optax.sgd(0.1)
    save_all(tmp_path, *(state_of(step, tx, jnp.bfloat16) for step in (1, 2, 3)))
    kernels = [
        np.asarray(variables_of(s, jnp.bfloat16)["params"]["Dense_0"]["kernel"]) for s in (1, 2, 3)
    ]
    expected = np.mean([kernel.astype(np.float64) for kernel in kernels], axis=0)
    actual = checkpoint.average(tmp_path)["params"]["Dense_0"]["kernel"]
    np.testing.assert_array_equal(np.asarray(actual), expected.astype(actual.dtype))


def test_averages_need_one_model(run_folder, tmp_path):
    state = state_of(9)
    state.params["head"]["kernel"] = jnp.zeros((4, 5))
    save_all(tmp_path, state)
    with pytest.raises(ValueError, match=r"not hold the model .*(?s:.)*float32\[4, 5\]"):
        checkpoint.average([run_folder, tmp_path])
    with pytest.raises(ValueError, match="at least one checkpoint, got none"):
        checkpoint.average([])


# Other devices


def mesh_of_all_devices():
    return jax.make_mesh((jax.device_count(),), ("d",), axis_types=(AxisType.Auto,))


def wide_state():
    """A state with one parameter that is split over devices."""
    state = state_of(3)
    params = {**state.params, "wide": jnp.arange(64.0).reshape(16, 4)}
    return state.replace(params=params, opt_state=jax.tree.map(jnp.ones_like, params))


def sharded(state):
    """The state's form, with a sharding on every leaf."""
    mesh = mesh_of_all_devices()

    def form(path, leaf):
        spec = PartitionSpec("d") if "wide" in tree.leaf_name(path) else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree_util.tree_map_with_path(form, state)


def save_wide(folder):
    state = wide_state()
    state = jax.tree.map(lambda x, form: jax.device_put(x, form.sharding), state, sharded(state))
    assert len(state.params["wide"].sharding.device_set) == jax.device_count() == 8
    save_all(folder, state)


def num_devices(variables):
    return {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(variables)}


def check_restored(folder, count):
    assert jax.device_count() == count
    expected = wide_state()
    form = sharded(expected)
    with checkpoint.CheckpointManager(folder, keep=1) as manager:
        placed, metadata = manager.restore(form)
        alone, _ = manager.restore(jax.eval_shape(wide_state))
    assert metadata == {"row": {"test/loss": 1.0}}
    for state in (placed, alone):
        assert_equal(state, expected)
    assert (num_devices(placed), num_devices(alone)) == ({count}, {1})
    assert placed.params["wide"].addressable_shards[0].data.shape == (16 // count, 4)
    # weights alone: on the first device, on one that is asked for, on all, and where the model is
    replicated = NamedSharding(mesh_of_all_devices(), PartitionSpec())
    last = jax.devices()[-1]
    variables = {"params": expected.params, **expected.model_state}
    target = {"params": form.params, **form.model_state}
    for options, number in (({}, 1), ({"sharding": last}, 1), ({"sharding": replicated}, count)):
        found, _ = checkpoint.restore_weights(folder, **options)
        assert_equal(found, variables)
        assert num_devices(found) == {number}
        if options.get("sharding") == last:
            assert found["params"]["wide"].sharding.device_set == {last}
    found, _ = checkpoint.restore_weights(folder, target)
    assert_equal(found, variables)
    assert found["params"]["wide"].addressable_shards[0].data.shape == (16 // count, 4)
    half, _ = checkpoint.restore_weights(folder, target, dtype=jnp.bfloat16)
    assert half["params"]["wide"].dtype == jnp.bfloat16
    assert num_devices(half) == {count}


def in_a_process(call, devices):
    """Calls a function of this file where there are this many devices."""
    run_with_devices(devices, f"from checkpoint import test_weights; test_weights.{call}")


@pytest.mark.slow
def test_what_was_saved_on_eight_devices_is_restored_on_four_and_on_one(tmp_path):
    in_a_process(f"save_wide({str(tmp_path)!r})", 8)
    in_a_process(f"check_restored({str(tmp_path)!r}, 4)", 4)
    check_restored(tmp_path, 1)


# Best and last


@pytest.mark.slow
def test_after_fifty_epochs_the_best_and_the_last_two_are_left(tmp_path):
    """The metric is least at epoch 37 and comes near it once more, at epoch 45."""
    losses = np.abs(np.arange(51) - 37.0) + 1.0
    losses[45] = 1.5

    def step(state, batch):
        params = {"w": state.params["w"] + 1}
        state = state.replace(step=state.step + 1, params=params)
        return state, {"loss": mean(batch["x"])}

    def evaluate(state, batch):
        loss = jnp.asarray(losses, jnp.float32)[state.step // 2]
        return {"loss": mean(loss * jnp.ones_like(batch["x"]))}

    state = TrainState(jnp.int32(0), {"w": jnp.zeros(3)}, {}, (), jax.random.key(0))
    _, history = train.run(
        step,
        state,
        {"x": np.ones(4, np.float32)},
        num_epochs=50,
        batch_size=2,
        key=jax.random.key(1),
        eval_fn=evaluate,
        eval_data={"x": np.ones(4, np.float32)},
        workdir=tmp_path,
        save_every_seconds=0,
        progress=False,
    )
    assert len(history) == 50
    kept = {kind: sorted(os.listdir(tmp_path / "checkpoints" / kind)) for kind in ("best", "last")}
    assert kept == {"best": ["74"], "last": ["100", "98"]}
    best, last = checkpoint.describe(tmp_path), checkpoint.describe(tmp_path / "checkpoints/last")
    assert (best.step, best.metadata["row"]["test/loss"]) == (74, 1.0)
    assert last.metadata["history"] == history
    assert checkpoint.restore_weights(tmp_path)[0]["params"]["w"].tolist() == [74] * 3
    assert checkpoint.restore_weights(last.folder)[0]["params"]["w"].tolist() == [100] * 3
