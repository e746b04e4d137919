"""Watching a run: cadence, what is written, and that training does not notice."""

import json

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.event_files import accumulate, scalars
from helpers.same import assert_same
from helpers.watched_run import EVERYTHING, TEST, TRAIN, run, scale

from jaxdl import data, losses, models, optim, tensorboard, train, tree
from jaxdl.train import loop
from jaxdl.train.watch.options import params_of


@pytest.fixture(scope="module")
def watched(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    return folder, run(parts, watch=EVERYTHING, workdir=folder)


STEPS = [0, 4, 8, 9, 13, 17]  # two epochs of nine batches


@pytest.mark.slow
def test_watching_changes_no_bit_of_the_training(plain, watched):
    assert_same(plain[0], watched[1][0])
    for a, b in zip(plain[1], watched[1][1], strict=True):
        assert {k: v for k, v in a.items() if "second" not in k} == {
            k: v for k, v in b.items() if "second" not in k
        }


@pytest.mark.slow
def test_looks_are_taken_before_the_same_batches_of_each_epoch(watched):
    accumulator = accumulate(watched[0])
    tags = accumulator.Tags()
    names = ["conv/bias", "conv/kernel", "hidden/bias", "hidden/kernel", "out/bias", "out/kernel"]
    for tag in ("step/loss", "step/accuracy", "step/learning_rate", "gradient_norm/global"):
        assert [event.step for event in accumulator.Scalars(tag)] == STEPS, tag
    for kind in ("gradient_norm", "update_ratio"):
        for name in names:
            zero = kind == "update_ratio" and name.endswith("bias")  # as Linen starts them
            found = [event.step for event in accumulator.Scalars(f"{kind}/{name}")]
            assert found == (STEPS[1:] if zero else STEPS)
    for kind in ("parameters", "gradients"):
        for name in names:
            assert [event.step for event in accumulator.Histograms(f"{kind}/{name}")] == STEPS
    for layer in ("maps", "embed", "output"):
        for kind in ("mean", "std", "zeros"):
            assert f"activation_{kind}/{layer}" in tags["scalars"]
        assert [e.step for e in accumulator.Histograms(f"activations/{layer}")] == STEPS
    assert [e.step for e in accumulator.Images("feature_maps/maps")] == STEPS
    assert [e.step for e in accumulator.Images("inputs")] == [0, 9]
    assert [e.step for e in accumulator.Images("filters/conv")] == [0, 9]
    for tag in ("embeddings/pca", "embeddings/tsne", "confusion_matrix", "worst_classified"):
        assert [e.step for e in accumulator.Images(tag)] == [18]
    # the look before step 0 has no time to speak of
    assert [e.step for e in accumulator.Scalars("speed/step_seconds")] == STEPS[1:]
    assert tags["graph"]
    rates = [round(e.value, 6) for e in accumulator.Scalars("step/learning_rate")]
    assert rates == [0.01, 0.01, 0.005, 0.005, 0.0025, 0.00125]


@pytest.mark.slow
def test_the_projector_gets_vectors_labels_and_images_of_every_epoch(watched):
    for step in (9, 18):
        folder = watched[0] / "projector" / "embed" / f"{step:08d}"
        assert np.loadtxt(folder / "tensors.tsv").shape == (20, 5)
        labels = (folder / "metadata.tsv").read_text().split()
        assert labels == ["abc"[i % 3] for i in range(20)]
        assert (folder / "sprite.png").exists()


@pytest.mark.slow
def test_weights_that_are_all_0_have_no_update_ratio(tmp_path):
    tiny = train.Watch(every=1, update_ratios=True)
    run_tiny(tmp_path, 3, tiny, num_epochs=1, bias_init=linen.initializers.zeros)
    found = scalars(tmp_path)
    assert [step for step, _ in found["update_ratio/Dense_0/bias"]] == [1, 2]  # 0 at step 0
    assert all(value < 10 for _, value in found["update_ratio/Dense_0/bias"])
    norms = tree.norms({"half": jnp.full(4, 300.0, jnp.float16)})
    assert norms["half"] == 600  # beyond the squares that float16 holds


@pytest.mark.slow
def test_few_examples_that_count_are_shown_as_far_as_they_go(parts, tmp_path):
    mask = np.zeros(22, np.float32)
    mask[[3, 5, 11]] = 1
    watch = train.Watch(every=50, worst=8, confusion=True, embeddings="embed", num_embeddings=3)
    run(parts, watch=watch, workdir=tmp_path, num_epochs=1, eval_data={**TEST, "mask": mask})
    tags = accumulate(tmp_path).Tags()["images"]
    assert set(tags) == {"worst_classified", "confusion_matrix", "embeddings/pca"}  # no t-SNE of 3


@pytest.mark.slow
def test_what_a_checkpoint_has_seen_is_in_the_events(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_next_chunk", lambda chunk, seconds: 1)
    original, found = loop.RunFolder.save, []

    def save_and_read(self, state, progress):
        original(self, state, progress)
        looks = accumulate(tmp_path).Scalars("gradient_norm/global")
        found.append((int(state.step), [event.step for event in looks]))

    monkeypatch.setattr(loop.RunFolder, "save", save_and_read)
    watch = train.Watch(every=4, gradient_norms=True)
    run(parts, watch=watch, workdir=tmp_path, num_epochs=1, save_every_seconds=0.0)
    assert len(found) > 4
    for saved, looks in found:  # had the run been killed there, nothing would be missing
        assert looks == [step for step in STEPS if step < saved]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [6, 9])
def test_a_resumed_run_keeps_the_cadence_and_repeats_no_point(
    parts, watched, tmp_path, monkeypatch, stop_at
):
    monkeypatch.setattr(loop, "_next_chunk", lambda chunk, seconds: 1)  # stop anywhere
    watch = train.Watch(every=4, parameters=True)

    class Killed(Exception):
        pass

    saves = []
    original = loop.RunFolder.save

    def save_and_die(self, state, progress):
        original(self, state, progress)
        saves.append(int(state.step))
        if saves[-1] >= stop_at:
            self._last_manager.wait_until_finished()
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.RunFolder, "save", save_and_die)
        with pytest.raises(Killed):
            run(parts, watch=watch, workdir=tmp_path, save_every_seconds=0.0)
    # a save never stands right before a look: what the look wrote would be written again
    assert not set(saves) & set(STEPS)
    state, _ = run(parts, watch=watch, workdir=tmp_path, resume=True)
    found = scalars(tmp_path)
    assert found["step/loss"] == scalars(watched[0])["step/loss"]
    histograms = accumulate(tmp_path).Histograms("parameters/conv/kernel")
    assert [event.step for event in histograms] == STEPS
    assert_same(state, watched[1][0])


def run_tiny(workdir, number, watch, *, bias_init=None, **options):
    """A linear model and batches of one example."""
    examples = {"image": np.zeros((number, 2, 1, 1), np.uint8), "label": np.zeros(number, np.int32)}
    model, tx = models.MLP((2,), bias_init=bias_init), optim.sgd(0.1)
    loss_fn = train.supervised(model, losses.cross_entropy, preprocess=scale)
    state = train.init_state(model, tx, jax.random.key(0), jnp.zeros((1, 2, 1, 1)))
    settings = {"batch_size": 1, "key": jax.random.key(1), "progress": False} | options
    step = train.make_step(loss_fn, tx)
    return train.run(step, state, examples, workdir=workdir, watch=watch, **settings)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "every"), [(6, 1), (1, 50), (6, 2)])
def test_looks_do_not_keep_a_run_from_being_saved(tmp_path, monkeypatch, number, every):
    monkeypatch.setattr(loop, "_next_chunk", lambda chunk, seconds: 1)
    saved = []
    monkeypatch.setattr(
        loop.RunFolder, "save", lambda self, state, progress: saved.append(int(state.step))
    )
    watch = train.Watch(every=every, speed=True)
    run_tiny(tmp_path, number, watch, num_epochs=12 // number, save_every_seconds=0.0)
    assert saved == [step for step in range(1, 13) if every != 2 or step % 2 or step == 12]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "last"), [(937, 9333), (938, 9342)])
def test_190_points_in_ten_epochs_of_mnist(tmp_path, number, last):
    """Checkable output 71, with as many batches of one example as MNIST has of 64."""
    watch = train.Watch(every=50, gradient_norms=True)
    run_tiny(tmp_path, number, watch, num_epochs=10)
    points = scalars(tmp_path)
    steps = [step for step, _ in points["step/loss"]]
    assert steps == [epoch * number + batch for epoch in range(10) for batch in range(0, 901, 50)]
    assert (len(steps), steps[-1]) == (190, last)
    assert len(points["gradient_norm/Dense_0/kernel"]) == 190


@pytest.mark.slow
def test_a_loader_that_streams_is_watched_at_the_same_batches(parts, tmp_path):
    step, eval_fn, state = parts
    loader = data.Loader(
        data.ArraySource(TRAIN), batch_size=8, shuffle=True, key=3, resident=False, num_workers=2
    )
    settings = {"num_epochs": 2, "eval_fn": eval_fn, "eval_data": TEST, "progress": False}
    watch = train.Watch(every=4, gradient_norms=True, inputs=True)
    watched, _ = train.run(step, state, loader, workdir=tmp_path, watch=watch, **settings)
    plain, _ = train.run(step, state, loader, **settings)
    assert_same(watched, plain)
    assert [step for step, _ in scalars(tmp_path)["gradient_norm/global"]] == STEPS


@pytest.mark.slow
def test_a_gan_shows_histograms_norms_and_metrics_of_both_players(tmp_path):
    class Generator(linen.Module):
        num_latents: int = 2

        @linen.compact
        def __call__(self, z, *, train=False):
            return linen.Dense(1)(z)

    class Discriminator(linen.Module):
        @linen.compact
        def __call__(self, x, *, train=False):
            return linen.Dense(1)(x)[:, 0]

    loss = losses.adversarial.least_squares()
    players = train.Players(Generator(), Discriminator(), optim.adam(1e-2), optim.adam(1e-2), loss)
    step = train.make_gan_step(players, inputs="x")
    state = train.init_gan_state(players, jax.random.key(0))
    train.run(
        step,
        state,
        {"x": np.ones((16, 1), np.float32)},
        num_epochs=1,
        batch_size=4,
        key=jax.random.key(1),
        workdir=tmp_path,
        progress=False,
        watch=train.Watch(every=2, parameters=True, gradients=True, gradient_norms=True),
    )
    accumulator = accumulate(tmp_path)
    for player in ("generator", "discriminator"):
        for kind in ("parameters", "gradients"):
            events = accumulator.Histograms(f"{kind}/{player}/Dense_0/kernel")
            assert [event.step for event in events] == [0, 2]
    assert {"step/generator_loss", "gradient_norm/global"} <= set(accumulator.Tags()["scalars"])
    assert set(params_of(state)) == {"generator", "discriminator"}


def test_without_a_watch_metrics_are_logged_every_so_many_steps(parts, tmp_path):
    run(parts, workdir=tmp_path, watch=train.Watch(every=4))
    assert [step for step, _ in scalars(tmp_path)["step/loss"]] == [4, 8, 12, 16]


def test_hyperparameters_have_a_start_and_an_end_even_of_a_run_that_fails(parts, tmp_path):
    def fail(_):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        run(parts, workdir=tmp_path, hooks=[fail], watch=train.Watch(hparams={"rate": 0.1}))
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    ends = accumulate(tmp_path).SummaryMetadata("_hparams_/session_end_info")
    content = metadata.parse_session_end_info_plugin_data(ends.plugin_data.content)
    assert (
        content.status
        == plugin_data_pb2.SessionEndInfo.DESCRIPTOR.fields_by_name["status"]
        .enum_type.values_by_name["STATUS_FAILURE"]
        .number
    )


@pytest.mark.slow
def test_an_error_in_the_thread_that_writes_stops_the_run(parts, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorboard.histograms, "write_buckets", full)
    with pytest.raises(OSError, match="can no longer be written: No space left on device"):
        run(parts, workdir=tmp_path, watch=train.Watch(every=4, parameters=True))


def test_the_history_on_disk_is_that_of_the_run(watched):
    lines = (watched[0] / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [9, 18]
