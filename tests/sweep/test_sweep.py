"""Sweeps: every member is its solo run, whatever its company; what is reported and written."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.devices import run_with_devices
from helpers.event_files import scalars, values
from PIL import Image
from tensorboard.plugins.hparams import metadata

from jaxdl import losses, metrics, models, optim, sweep, train, tree, types
from jaxdl.sweep import _members_dir, _plan

BATCH = 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 3)).astype(np.float32)
DATA = {"x": X, "y": (X[:, 0] + 0.5 * X[:, 1] > 0).astype(np.int32)}
LOSS = train.supervised(
    models.MLP((4, 2), jnp.tanh),
    losses.cross_entropy,
    metrics={"accuracy": metrics.accuracy},
    inputs="x",
    targets="y",
)


def train_one(key, hparams, arrays, state=None, num_epochs=4):
    init_key, order_key = jax.random.split(key)
    tx = optim.sgd(
        hparams["learning_rate"], momentum=0.9, weight_decay=hparams.get("weight_decay", 0.0)
    )
    if state is None:
        state = train.init_state(models.MLP((4, 2), jnp.tanh), tx, init_key, arrays["x"][:1])
    return train.fit(
        train.make_step(LOSS, tx),
        state,
        arrays,
        num_epochs=num_epochs,
        batch_size=hparams.get("batch_size", BATCH),
        key=order_key,
        eval_fn=train.make_eval(LOSS),
        eval_data=arrays,
    )


def order(key, hparams):
    return BATCH, len(X), jax.random.split(key)[1]


SPACE = sweep.grid(learning_rate=[0.01, 0.1, 1e38], weight_decay=[0.0, 0.5])
run_sweep = functools.partial(sweep.sweep, train_one, data=DATA, progress=False)


@pytest.fixture(scope="module")
def solo():
    """The final state and history of a member trained alone."""
    compiled = jax.jit(train_one)

    @functools.cache
    def run(seed, **hparams):
        traced = {name: np.float32(value) for name, value in hparams.items()}
        state, history = compiled(jax.random.key(seed), traced, DATA)
        return jax.device_get(history), state

    return lambda seed, hparams: run(int(seed), **hparams)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep in which some members diverge, and its folder."""
    folder = tmp_path_factory.mktemp("sweep") / "run"
    result = run_sweep(
        SPACE, seeds=(0, 7), method="vmap", chunk_size=5, keep="all", workdir=folder, order=order
    )
    return result, folder


def test_every_member_equals_its_solo_run(swept, solo):
    result, _ = swept
    assert result.method == "vmap"
    assert result.chunk_size == 3  # two blocks of three settings, for each of the two seeds
    assert [tuple(setting.values()) for setting in result.hparams[::2]] == [
        tuple(setting.values()) for setting in SPACE
    ]
    np.testing.assert_array_equal(result.seeds, [0, 7] * 6)
    for member in range(8):
        history, state = solo(result.seeds[member], result.hparams[member])
        assert history.keys() == result.history.keys()
        for name, curve in history.items():
            np.testing.assert_allclose(result.history[name][member], curve, atol=1e-5)
        differences = tree.max_difference(state.params, result.states[member].params)
        assert max(differences.values()) < 1e-5
        assert int(result.states[member].step) == result.num_steps[member] == 12
        np.testing.assert_array_equal(
            jax.random.key_data(state.key), jax.random.key_data(result.states[member].key)
        )


def test_a_member_that_diverges_is_reported_and_spoils_nothing(swept):
    result, _ = swept
    assert set(result.diverged) == {8, 9, 10, 11}
    losses = result.history["test/loss"]
    assert np.isfinite(losses[:8]).all()
    for member, epoch in result.diverged.items():
        assert np.isfinite(losses[member, : epoch - 1]).all()
        assert not np.isfinite(losses[member, epoch:]).any()
    assert result.best == int(np.argmin(result.history["test/loss"][:8, -1]))
    benign = [setting | {"learning_rate": min(setting["learning_rate"], 0.2)} for setting in SPACE]
    again = run_sweep(benign, seeds=(0, 7), method="vmap", chunk_size=5)
    assert again.diverged == {}
    np.testing.assert_array_equal(result.history["test/loss"][:8], again.history["test/loss"][:8])


def test_the_loop_is_the_solo_run_to_the_bit(solo):
    result = run_sweep(SPACE[:3], seeds=(7,), method="loop", keep="all")
    assert (result.method, result.chunk_size) == ("loop", 1)
    for member in range(3):
        history, state = solo(7, result.hparams[member])
        for name, curve in history.items():
            np.testing.assert_array_equal(result.history[name][member], curve)
        assert max(tree.max_difference(state.params, result.states[member].params).values()) == 0


@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_halving_survivors_are_bitwise_those_that_were_never_stopped(method, solo):
    space = sweep.grid(learning_rate=[1e-4, 0.3, 1e-3, 0.1], weight_decay=[0.0])
    options = {"seeds": (0, 1), "method": method, "chunk_size": 4, "keep": "all"}
    halved = run_sweep(space, halving=(1, 2, 4), **options)
    # a program of one member is the same whoever else is there: trained alone
    alone = method == "loop"
    whole = run_sweep([space[1]] if alone else space, halving=(4,), **options)
    assert list(halved.num_epochs.reshape(-1, 2).min(axis=1)) == [1, 4, 1, 2]
    assert list(halved.num_steps) == [3, 3, 12, 12, 3, 3, 6, 6]
    assert halved.best in (2, 3)
    for member, epochs in enumerate(halved.num_epochs):
        other = member - 2 if alone else member
        for name, curves in halved.history.items():
            assert np.isnan(curves[member, epochs:]).all()
            if not alone or epochs == 4:
                expected = whole.history[name][other, :epochs]
                np.testing.assert_array_equal(curves[member, :epochs], expected)
        if epochs == 4:
            a, b = halved.states[member].params, whole.states[other].params
            assert max(tree.max_difference(a, b).values()) == 0
    for member in (2, 3):
        history, _ = solo(halved.seeds[member], halved.hparams[member])
        for name, curve in history.items():
            np.testing.assert_allclose(halved.history[name][member], curve, atol=1e-6)


def quick(key, hparams, arrays, num_steps=5):
    """Gradient descent on least squares; compiles in no time."""

    def step(w, _):
        residual = arrays["x"] @ w - arrays["y"]
        w = w - hparams["rate"] * arrays["x"].T @ residual / 20
        return w, jnp.square(residual).mean()

    w, curve = jax.lax.scan(step, jax.random.normal(key, (3,)), None, length=num_steps)
    return {"w": w}, {"test/loss": curve}


def test_the_bound_on_memory_is_kept():
    space = sweep.grid(rate=list(np.linspace(0.01, 0.1, 24)))
    options = {"method": "vmap", "chunk_size": 24, "progress": False}
    free = sweep.sweep(quick, space, DATA, max_bytes=1e9, **options)
    assert free.chunk_size == 24
    bound = free.program_bytes * 2 // 3
    tight = sweep.sweep(quick, space, DATA, max_bytes=bound * free.num_programs, **options)
    assert tight.program_bytes <= bound
    assert 1 < tight.chunk_size < 24
    np.testing.assert_allclose(tight.history["test/loss"], free.history["test/loss"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"one member needs .* max_bytes allows 0\.0"):
        sweep.sweep(quick, space, DATA, max_bytes=300, **options)


def test_hyperparameters_that_decide_shapes_are_named_and_looped_over():
    space = sweep.grid(batch_size=[4, 10], learning_rate=[0.05, 0.1])
    with pytest.raises(
        ValueError, match=r"decide a shape(?s:.)*'batch_size': Tracer(?s:.)*outer=\['batch"
    ):
        run_sweep(space)
    result = run_sweep(space, outer="auto", method="vmap", keep="all")
    assert [int(state.step) for state in result.states] == [20, 20, 8, 8]
    np.testing.assert_array_equal(result.num_steps, [20, 20, 8, 8])
    given = run_sweep(space[2:], outer=["batch_size"], method="loop")
    np.testing.assert_allclose(
        given.history["test/loss"], result.history["test/loss"][2:], atol=1e-5
    )


def test_widths_dropout_and_names_are_found_too():
    def build(key, hparams, arrays):
        kind = {"tanh": jnp.tanh, "relu": jax.nn.relu}[hparams["activation"]]
        model = models.MLP((hparams["width"], 1), kind, dropout_rate=hparams["dropout_rate"])
        variables = model.init(key, arrays["x"])
        loss = jnp.square(model.apply(variables, arrays["x"]) * hparams["scale"]).mean()
        return variables, {"test/loss": loss[None]}

    space = sweep.grid(activation=["tanh"], width=[3, 5], dropout_rate=[0.1], scale=[1.0, 2.0])
    with pytest.raises(ValueError) as caught:
        sweep.sweep(build, space, DATA, progress=False)
    message = str(caught.value)
    assert "'activation': its value 'tanh' is no number" in message
    assert "'width': TypeError: Shapes must be 1D sequences of concrete values" in message
    assert "'dropout_rate': TracerBoolConversionError" in message
    assert "'scale':" not in message
    assert "outer=['activation', 'width', 'dropout_rate']" in message


def test_an_error_of_another_kind_is_left_as_it_is():
    def broken(key, hparams, arrays):
        raise KeyError("momentum")

    with pytest.raises(KeyError, match="momentum"):
        sweep.sweep(broken, SPACE, DATA, progress=False)


def test_scalars_of_optimizer_and_loss_can_be_swept():
    smooth = {"b1": 0.8, "b2": 0.99, "eps": 1e-6}
    given = {"weight_decay": 0.1, "momentum": 0.5, "label_smoothing": 0.2, "clip_norm": 0.5}

    def one(key, hparams, arrays):
        names = {"weight_decay": hparams["weight_decay"], "clip_norm": hparams["clip_norm"]}
        adam = optim.recipe(optim.adam, 1e-2, **{n: hparams[n] for n in smooth}, **names)
        sgd = optim.recipe(optim.sgd, 1e-2, momentum=hparams["momentum"], **names)
        results = {}
        for name, tx in (("adam", adam), ("sgd", sgd)):
            params = {"w": jnp.asarray([[0.3, -0.2]] * 3)}
            opt_state = tx.init(params)
            for _ in range(3):

                def loss(params):
                    return losses.cross_entropy(
                        arrays["x"] @ params["w"],
                        arrays["y"],
                        label_smoothing=hparams["label_smoothing"],
                    ).mean()

                updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
                params = jax.tree.map(jnp.add, params, updates)
            results[name] = params["w"]
        return results, {"test/loss": jnp.zeros(1)}

    result = sweep.sweep(one, [{**smooth, **given}], DATA, progress=False)
    expected, _ = jax.jit(lambda key, arrays: one(key, {**smooth, **given}, arrays))(
        jax.random.key(0), DATA
    )
    for name, weights in expected.items():
        np.testing.assert_allclose(result.state[name], weights, atol=1e-6)
        assert abs(weights[0, 0] - 0.3) > 1e-3


def test_the_method_is_chosen_by_the_model():
    def traced(model, *shape):
        def one(key, hparams, arrays):
            state = model.init(key, jnp.zeros(shape))
            return state, {"test/loss": jnp.zeros(1)}

        return _plan.trace(one, 0, {}, None)

    small = traced(models.MLP((64, 10)), 1, 784)
    assert _plan.choose_method(small, 64)[0] == "vmap"
    assert _plan.choose_method(small, 1)[0] == "loop"
    assert _plan.choose_method(traced(models.ConvNet(10), 1, 28, 28, 1), 64)[0] == "loop"
    method, why = _plan.choose_method(traced(models.MLP((512, 512, 10)), 1, 784), 64)
    assert method == "loop"
    assert "2.7 MB" in why


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


def test_the_folder_holds_a_table_and_a_map(swept):
    result, folder = swept
    table = json.loads((folder / "sweep.json").read_text())
    assert table["best"] == result.best
    assert table["members"][10]["diverged"] == result.diverged[10]
    assert table["members"][3]["test/loss"] == pytest.approx(result.history["test/loss"][3, -1])
    assert np.asarray(Image.open(folder / "heat_map.png").convert("L")).std() > 20
    with pytest.raises(ValueError, match="already holds a sweep"):
        run_sweep(SPACE, workdir=folder)


@pytest.mark.parametrize("halving", [None, [1, 4]])
def test_a_sweep_that_is_cut_short_leaves_the_members_that_ended(tmp_path, monkeypatch, halving):
    def descend(key, hparams, arrays, state=None, num_epochs=4):
        """Gradient descent on w², three updates an epoch, compiled in no time."""
        start = state or types.TrainState(jnp.int32(0), jnp.float32(1), {}, (), key)
        shrunk = (1 - hparams["learning_rate"]) ** (3.0 * jnp.arange(1, num_epochs + 1))
        end = start.params * shrunk[-1]
        state = types.TrainState(start.step + 3 * num_epochs, end, {}, (), key)
        return state, {"test/loss": jnp.square(start.params * shrunk)}

    folder, written = tmp_path / "run", []
    space = sweep.grid(learning_rate=[0.01, 0.1, 0.02, 0.05])
    original = _members_dir.write_member

    def write_and_die(workdir, member, config, *, num_seeds):
        if len(written) == (2 if halving else 3):
            raise KeyboardInterrupt
        original(workdir, member, config, num_seeds=num_seeds)
        written.append(member)

    monkeypatch.setattr(_members_dir, "write_member", write_and_die)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(descend, space, method="loop", halving=halving, workdir=folder, progress=False)
    found = sorted(path.name for path in (folder / "members").iterdir())
    assert found == sorted(member.name for member in written)
    for member in written:
        lines = (folder / "members" / member.name / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == (1 if halving else 4)  # of two rungs, those that ended with the first
        assert json.loads(lines[-1])["test/loss"] == pytest.approx(member.history["test/loss"][-1])
        assert scalars(folder / "members" / member.name)["test/loss"][-1][0] == 3 * len(lines)
    with pytest.raises(ValueError, match="already holds a sweep"):
        run_sweep(space, workdir=folder)


def test_the_best_members_folder_goes_on_with_run(swept, solo):
    result, folder = swept
    hparams, seed = result.hparams[result.best], int(result.seeds[result.best])
    saved = json.loads((folder / "best" / "config.json").read_text())["config"]
    assert saved == {**hparams, "seed": seed}
    init_key, order_key = jax.random.split(jax.random.key(seed))
    tx = optim.sgd(hparams["learning_rate"], momentum=0.9, weight_decay=hparams["weight_decay"])
    state = train.init_state(models.MLP((4, 2), jnp.tanh), tx, init_key, jnp.asarray(X[:1]))
    step = train.make_step(LOSS, tx)
    options = {"batch_size": BATCH, "workdir": folder / "best", "resume": True, "progress": False}
    options |= {"eval_fn": train.make_eval(LOSS), "eval_data": DATA}
    with pytest.raises(ValueError, match="order key"):
        train.run(step, state, DATA, num_epochs=6, key=init_key, **options)
    resumed, rows = train.run(step, state, DATA, num_epochs=6, key=order_key, **options)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["step"] for row in rows] == [3, 6, 9, 12, 15, 18]
    np.testing.assert_allclose(
        [row["test/loss"] for row in rows[:4]], result.history["test/loss"][result.best], rtol=1e-6
    )
    straight, _ = train.fit(step, state, DATA, num_epochs=6, batch_size=BATCH, key=order_key)
    assert max(tree.max_difference(resumed.params, straight.params).values()) < 1e-5


def test_sharded_over_eight_devices_every_member_is_its_solo_run():
    script = """
        import jax, numpy as np
        from sweep import test_sweep as t
        from jaxdl import sweep
        assert len(jax.devices()) == 8
        solo = jax.jit(t.quick)
        rates = sweep.grid(rate=[float(rate) for rate in np.linspace(0.01, 0.1, 9)])
        for space, seeds in ((rates, [0]), (rates, [3, 4]), (rates[:1], range(9))):
            result = sweep.sweep(
                t.quick, space, t.DATA, seeds=seeds, chunk_size=8, progress=False
            )
            assert (result.method, result.chunk_size, result.num_programs) == ("vmap", 8, 1)
            for member, setting in enumerate(result.hparams):
                key = jax.random.key(int(result.seeds[member]))
                _, history = solo(key, {"rate": np.float32(setting["rate"])}, t.DATA)
                np.testing.assert_allclose(
                    result.history["test/loss"][member], history["test/loss"], atol=1e-5
                )
        print("equal")
    """
    assert run_with_devices(8, script) == "equal\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"space": []}, "space holds no settings"),
        ({"space": [{"a": 1}, {"b": 1}]}, r"setting 0 has \['a'\], setting 1 has \['b'\]"),
        ({"seeds": (1, 1)}, r"none twice, got \[1, 1\]"),
        ({"seeds": ()}, "at least one"),
        ({"method": "pmap"}, "method must be one of"),
        ({"halving": (2, 2)}, r"halving must be ascending numbers of epochs, got \[2, 2\]"),
        ({"halving": (1, 2), "halving_factor": 1}, "halving_factor must be at least 2"),
        ({"outer": ["width"]}, "outer names 'width', which is no hyperparameter"),
        ({"monitor": "test/lost"}, r"'test/lost' is not a metric of this sweep: \['test/acc"),
        ({"heat_map": ["width"]}, "heat_map names 'width'"),
        ({"chunk_size": 0}, "chunk_size must be greater than 0"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(options, message):
    with pytest.raises(ValueError, match=message):
        run_sweep(**({"space": SPACE} | options))


def test_halving_wants_a_function_that_goes_on_from_a_state():
    def whole(key, hparams, arrays):
        return train_one(key, hparams, arrays)

    with pytest.raises(ValueError, match="train_one must take state"):
        sweep.sweep(whole, SPACE, DATA, halving=(1, 2), progress=False)


def test_a_state_without_a_step_is_refused_before_it_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"a state with a field step.*returns a dict"):
        sweep.sweep(quick, [{"rate": 0.1}], DATA, workdir=tmp_path / "run", progress=False)


def test_random_search_draws_from_the_distributions():
    draws = {"rate": sweep.log_uniform(1e-4, 1e-2), "decay": sweep.uniform(-1.0, 3.0)}
    space = sweep.random_search(2000, jax.random.key(3), **draws, kind=sweep.choice("a", "b", "c"))
    again = sweep.random_search(2000, jax.random.key(3), **draws, kind=sweep.choice("a", "b", "c"))
    assert space == again
    rates, decays = (np.array([setting[name] for setting in space]) for name in draws)
    assert 1e-4 <= rates.min() < 1.1e-4
    assert 0.9e-2 < rates.max() <= 1e-2
    assert abs((rates < 1e-3).mean() - 0.5) < 0.04  # as many in each decade
    assert abs(decays.mean() - 1.0) < 0.1
    assert abs(decays.std() - 4 / np.sqrt(12)) < 0.05
    kinds = [setting["kind"] for setting in space]
    assert all(abs(kinds.count(kind) / 2000 - 1 / 3) < 0.04 for kind in "abc")
    with pytest.raises(ValueError, match="low must be below high, got 3 and 2"):
        sweep.uniform(3, 2)
    with pytest.raises(ValueError, match="rate: expected 2 values, got 1"):
        sweep.random_search(2, jax.random.key(0), rate=lambda key, number: [1])
