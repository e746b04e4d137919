"""Sweeps: every member equals its solo run, whatever the other members are."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_sweeps import DATA, SPACE, least_squares, train_one

from jaxdl import losses, optim, sweep, tree
from jaxdl.sweep import _sweep

run_sweep = functools.partial(sweep.sweep, train_one, data=DATA, progress=False)


def test_without_a_bar_no_widgets_are_looked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)  # it warns in a notebook without ipywidgets

    def one(key, hparams, data):
        return {}, {"test/loss": jnp.square(hparams["rate"])[None]}

    assert sweep.sweep(one, [{"rate": 0.5}], progress=False).best == 0


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_member_that_diverges_is_reported_and_affects_no_other(swept):
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


@pytest.mark.slow
def test_the_loop_is_bitwise_the_solo_run(solo):
    result = run_sweep(SPACE[:3], seeds=(7,), method="loop", keep="all")
    assert (result.method, result.chunk_size) == ("loop", 1)
    for member in range(3):
        history, state = solo(7, result.hparams[member])
        for name, curve in history.items():
            np.testing.assert_array_equal(result.history[name][member], curve)
        assert max(tree.max_difference(state.params, result.states[member].params).values()) == 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_halving_survivors_are_bitwise_those_never_stopped(method, solo):
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


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (1, 1)}, r"all different, got \[1, 1\]"),
        ({"seeds": ()}, "at least one"),
        ({"method": "pmap"}, "method must be one of"),
        ({"halving": (2, 2)}, r"halving must be ascending numbers of epochs, got \[2, 2\]"),
        ({"halving": (1, 2), "halving_factor": 1}, "halving_factor must be at least 2"),
        ({"outer": ["width"]}, "outer: 'width' is not a hyperparameter"),
        ({"monitor": "test/lost"}, r"'test/lost' is not a metric of this sweep: \['test/acc"),
        ({"chunk_size": 0}, "chunk_size must be greater than 0"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run_sweep(**({"space": SPACE} | options))


def test_halving_needs_a_function_that_continues_from_a_state():
    def whole(key, hparams, arrays):
        return train_one(key, hparams, arrays)

    with pytest.raises(ValueError, match="train_one must also take state"):
        sweep.sweep(whole, SPACE, DATA, halving=(1, 2), progress=False)


def test_a_state_without_a_step_cannot_have_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"a state with a field step.*returns a dict"):
        sweep.sweep(least_squares, [{"rate": 0.1}], DATA, workdir=tmp_path / "run", progress=False)


def test_a_file_gets_a_line_when_a_minute_has_passed(monkeypatch, capsys):
    monkeypatch.setattr(_sweep, "HEARTBEAT_SECONDS", 0.0)
    space = sweep.grid(rate=[0.01, 0.02, 0.03])
    sweep.sweep(least_squares, space, DATA, method="loop", progress=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if " of 3 " in line]
    assert [line.split(" of 3 ")[0].split()[-1] for line in lines] == ["1", "2", "3"]
    monkeypatch.setattr(_sweep, "HEARTBEAT_SECONDS", 60.0)
    sweep.sweep(least_squares, space, DATA, method="loop", progress=True)
    assert " of 3 " not in capsys.readouterr().out
