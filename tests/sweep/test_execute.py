"""Sweeps without traced hyperparameters, of mixed types, on two devices: each member as alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.devices import run_with_devices

from jaxdl import sweep
from jaxdl.sweep.result import Store
from jaxdl.types import TrainState

pytestmark = pytest.mark.usefixtures("quick_compilation")


def shrink(key, hparams, data, state=None, num_epochs=2):
    """w ← (1 − rate) w, one update an epoch, from a normal vector; compiled in no time."""
    rate = hparams.get("rate", 0.5)
    if state is None:
        init_key, key = jax.random.split(key)
        w = jax.random.normal(init_key, (hparams.get("width", 3),))
        state = TrainState(jnp.int32(0), w, {}, {"rate": jnp.asarray(rate)}, key)
    losses = []
    for _ in range(num_epochs):
        w = state.params * (1 - state.opt_state["rate"])
        state = state.replace(step=state.step + 1, params=w)
        losses.append(jnp.square(w).mean())
    return state, {"test/loss": jnp.stack(losses)}


def alone(hparams, seed, num_epochs=2):
    return shrink(jax.random.key(int(seed)), hparams, None, num_epochs=num_epochs)[1]["test/loss"]


run_sweep = functools.partial(sweep.sweep, shrink, progress=False)


def check_members(result):
    for member, hparams in enumerate(result.hparams):
        epochs = result.num_epochs[member]
        np.testing.assert_allclose(
            result.history["test/loss"][member, :epochs],
            alone(hparams, result.seeds[member], epochs),
            rtol=1e-5,
        )


@pytest.mark.parametrize("space", [[{}], sweep.grid(width=[2, 3])])
@pytest.mark.parametrize("halving", [None, (1, 2)])
def test_seeds_need_no_traced_hyperparameter(space, halving):
    result = run_sweep(space, seeds=range(3), outer="auto", method="vmap", halving=halving)
    assert (result.method, result.history["test/loss"].shape) == ("vmap", (3 * len(space), 2))
    check_members(result)


def test_the_data_are_on_the_device_once(monkeypatch):
    found, original = [], Store.result

    def count(*args):
        found.append(sum(array.shape == (41, 3) for array in jax.live_arrays()))
        return original(*args)

    def one(key, hparams, data):
        w = jnp.zeros(hparams["width"]) + data[0, 0]
        return {"w": w}, {"test/loss": w[:1]}

    monkeypatch.setattr(Store, "result", count)
    data = np.ones((41, 3), np.float32)
    sweep.sweep(one, sweep.grid(width=[1, 2, 3]), data, outer=["width"], progress=False)
    assert found == [1]


def test_the_callers_kind_of_keys_holds_in_every_thread():
    with jax.default_prng_impl("rbg"):
        result = run_sweep(sweep.grid(rate=[0.1, 0.2, 0.3]), seeds=(0, 1))
        check_members(result)


@pytest.fixture(scope="module")
def two_devices():
    """What a process with two devices says of the loop, and of halving by either method."""
    script = """
        import jax
        from sweep import test_execute as t
        from jaxdl import sweep
        from jaxdl.sweep import _execute as blocks
        used, original = set(), blocks.Group._run_block
        def look(self, program, *args):
            def called(*given):
                out = program(*given)
                used.update(*(leaf.devices() for leaf in jax.tree.leaves(out)))
                return out
            return original(self, called, *args)
        blocks.Group._run_block = look
        rates = sweep.grid(rate=[0.1, 0.2, 0.3])
        for halving in (None, (1, 2)):
            for method in ("loop", "vmap"):
                used.clear()
                result = t.run_sweep(
                    rates, seeds=(4, 5, 6), method=method, halving=halving, chunk_size=2
                )
                t.check_members(result)
                print(halving, result.method, result.chunk_size, len(used), *result.num_epochs)
    """
    return run_with_devices(2, script).splitlines()


def test_the_loop_trains_one_member_on_every_device(two_devices):
    assert "None loop 2 2 2 2 2 2 2 2 2 2 2" in two_devices


@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_halving_goes_on_with_the_same_members_on_two_devices(two_devices, method):
    assert f"(1, 2) {method} 2 2 1 1 1 2 2 2 2 2 2" in two_devices


def test_an_integer_among_floats_is_a_float():
    result = run_sweep(sweep.grid(rate=[1, 0.25]), halving=(1, 2), keep="all")
    assert list(result.num_epochs) == [2, 1]
    assert result.states[0].opt_state["rate"].dtype == jnp.float32
    check_members(result)


@pytest.mark.parametrize("where", ["weights", "history"])
def test_what_is_not_finite_is_seen_in_bfloat16(where):
    def one(key, hparams, data):
        bad = jnp.log(-hparams["rate"]).astype(jnp.bfloat16)[None]
        w, metric = (bad, jnp.ones(1)) if where == "weights" else (jnp.ones(1), bad)
        return {"w": w}, {"test/loss": hparams["rate"][None], "train/metric": metric}

    result = sweep.sweep(one, sweep.grid(rate=[0.1, -0.2, 0.3]), progress=False)
    assert (result.diverged, result.best) == ({0: 1, 2: 1}, 1)


@pytest.mark.parametrize(("shape", "written"), [((), r"\(\)"), ((5,), r"\(5,\)")])
def test_a_metric_without_a_value_an_epoch_is_named(shape, written):
    def one(key, hparams, data):
        return {}, {"test/loss": jnp.ones(2) * hparams["rate"], "final": jnp.zeros(shape)}

    expected = rf"'final' must hold one value an epoch, shape \(2, \.\.\.\).*got {written}"
    with pytest.raises(ValueError, match=expected):
        sweep.sweep(one, sweep.grid(rate=[0.1]), progress=False)


def test_an_integer_of_more_than_32_bits_is_told_from_a_shape():
    with pytest.raises(ValueError, match=r"'rate': its value 1099511627776 does not fit int32"):
        run_sweep(sweep.grid(rate=[1, 2**40]))


def test_settings_that_differ_in_their_metrics_are_told():
    def one(key, hparams, data):
        extra = {"test/extra": jnp.ones(1)} if hparams["kind"] == "b" else {}
        return {}, {"test/loss": jnp.ones(1), **extra}

    with pytest.raises(ValueError, match=r"the same metrics.*\{'test/loss': \(\)\}, another .*ext"):
        sweep.sweep(one, sweep.grid(kind=["a", "b"]), outer=["kind"], progress=False)
