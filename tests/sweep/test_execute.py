"""Programs of a sweep: without traced hyperparameters, of mixed types, on several devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.devices import run_with_devices
from helpers.small_sweeps import DATA, check_members, least_squares, shrink

from jaxdl import sweep
from jaxdl.sweep import _sweep

run_sweep = functools.partial(sweep.sweep, shrink, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("space", [[{}], sweep.grid(width=[2, 3])])
@pytest.mark.parametrize("halving", [None, (1, 2)])
def test_seeds_without_a_traced_hyperparameter(space, halving):
    result = run_sweep(space, seeds=range(3), method="vmap", halving=halving)
    assert (result.method, result.history["test/loss"].shape) == ("vmap", (3 * len(space), 2))
    check_members(result)


def test_the_data_are_on_the_device_once(monkeypatch):
    found, original = [], _sweep._make_result

    def count(*args, **kwargs):
        found.append(sum(array.shape == (41, 3) for array in jax.live_arrays()))
        return original(*args, **kwargs)

    def one(key, hparams, data):
        w = jnp.zeros(hparams["width"]) + data[0, 0]
        return {"w": w}, {"test/loss": w[:1]}

    monkeypatch.setattr(_sweep, "_make_result", count)
    data = np.ones((41, 3), np.float32)
    sweep.sweep(one, sweep.grid(width=[1, 2, 3]), data, progress=False)
    assert found == [1]


def test_every_thread_uses_the_callers_kind_of_keys():
    with jax.default_prng_impl("rbg"):
        result = run_sweep(sweep.grid(rate=[0.1, 0.2, 0.3]), seeds=(0, 1))
        check_members(result)


@pytest.fixture(scope="module")
def two_devices():
    """Output of a process with two devices: both methods, with and without halving."""
    script = """
        import jax
        from helpers import small_sweeps as t
        from jaxdl import sweep
        from jaxdl.sweep import _execute
        used, original = set(), _execute.Group._run_block
        def look(self, program, *args):
            def called(*given):
                out = program(*given)
                used.update(*(leaf.devices() for leaf in jax.tree.leaves(out)))
                return out
            return original(self, called, *args)
        _execute.Group._run_block = look
        rates = sweep.grid(rate=[0.1, 0.2, 0.3])
        for halving in (None, (1, 2)):
            for method in ("loop", "vmap"):
                used.clear()
                result = sweep.sweep(
                    t.shrink, rates, seeds=(4, 5, 6), method=method, halving=halving,
                    chunk_size=2, progress=False,
                )
                t.check_members(result)
                print(halving, result.method, result.chunk_size, len(used), *result.num_epochs)
    """
    return run_with_devices(2, script).splitlines()


@pytest.mark.slow
def test_the_loop_trains_one_member_on_every_device(two_devices):
    assert "None loop 2 2 2 2 2 2 2 2 2 2 2" in two_devices


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vmap", "loop"])
def test_halving_continues_with_the_same_members_on_two_devices(two_devices, method):
    assert f"(1, 2) {method} 2 2 1 1 1 2 2 2 2 2 2" in two_devices


def test_an_integer_among_floats_is_a_float():
    result = run_sweep(sweep.grid(rate=[1, 0.25]), halving=(1, 2), keep="all")
    assert list(result.num_epochs) == [2, 1]
    assert result.states[0].opt_state["rate"].dtype == jnp.float32
    check_members(result)


@pytest.mark.parametrize("where", ["weights", "history"])
def test_bfloat16_values_that_are_not_finite_are_found(where):
    def one(key, hparams, data):
        bad = jnp.log(-hparams["rate"]).astype(jnp.bfloat16)[None]
        w, metric = (bad, jnp.ones(1)) if where == "weights" else (jnp.ones(1), bad)
        return {"w": w}, {"test/loss": hparams["rate"][None], "train/metric": metric}

    result = sweep.sweep(one, sweep.grid(rate=[0.1, -0.2, 0.3]), progress=False)
    assert (result.diverged, result.best) == ({0: 1, 2: 1}, 1)


def test_max_bytes_limits_the_program():
    space = sweep.grid(rate=list(np.linspace(0.01, 0.1, 24)))
    options = {"method": "vmap", "chunk_size": 24, "progress": False}
    free = sweep.sweep(least_squares, space, DATA, max_bytes=1e9, **options)
    assert free.chunk_size == 24
    bound = free.program_bytes * 2 // 3
    tight = sweep.sweep(least_squares, space, DATA, max_bytes=bound * free.num_programs, **options)
    assert tight.program_bytes <= bound
    assert 1 < tight.chunk_size < 24
    np.testing.assert_allclose(tight.history["test/loss"], free.history["test/loss"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"one member needs .* max_bytes allows 0\.0"):
        sweep.sweep(least_squares, space, DATA, max_bytes=300, **options)


@pytest.mark.slow
def test_members_sharded_over_eight_devices_equal_their_solo_runs():
    script = """
        import jax, numpy as np
        from helpers import small_sweeps as t
        from jaxdl import sweep
        assert len(jax.devices()) == 8
        solo = jax.jit(t.least_squares)
        rates = sweep.grid(rate=[float(rate) for rate in np.linspace(0.01, 0.1, 9)])
        for space, seeds in ((rates, [0]), (rates, [3, 4]), (rates[:1], range(9))):
            result = sweep.sweep(
                t.least_squares, space, t.DATA, seeds=seeds, chunk_size=8, progress=False
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
