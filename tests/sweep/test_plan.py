"""Hyperparameters that cannot be traced, checks of the history, and the choice of the method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_sweeps import DATA, SPACE, shrink, train_one

from jaxdl import models, sweep
from jaxdl.sweep import _plan

run_sweep = functools.partial(sweep.sweep, train_one, data=DATA, progress=False)


@pytest.mark.slow
def test_hyperparameters_that_determine_shapes_are_compiled_separately():
    space = sweep.grid(batch_size=[4, 10], learning_rate=[0.05, 0.1])
    with pytest.raises(
        ValueError, match=r"determine a shape(?s:.)*'batch_size': Tracer(?s:.)*outer=\['batch"
    ):
        run_sweep(space, outer=())
    result = run_sweep(space, method="vmap", keep="all")
    assert [int(state.step) for state in result.states] == [20, 20, 8, 8]
    np.testing.assert_array_equal(result.num_steps, [20, 20, 8, 8])
    given = run_sweep(space[2:], outer=["batch_size"], method="loop")
    np.testing.assert_allclose(
        given.history["test/loss"], result.history["test/loss"][2:], atol=1e-5
    )


def test_all_untraceable_hyperparameters_are_listed():
    def build(key, hparams, arrays):
        kind = {"tanh": jnp.tanh, "relu": jax.nn.relu}[hparams["activation"]]
        model = models.MLP((hparams["width"], 1), kind, dropout_rate=hparams["dropout_rate"])
        variables = model.init(key, arrays["x"])
        loss = jnp.square(model.apply(variables, arrays["x"]) * hparams["scale"]).mean()
        return variables, {"test/loss": loss[None]}

    space = sweep.grid(activation=["tanh"], width=[3, 5], dropout_rate=[0.1], scale=[1.0, 2.0])
    with pytest.raises(ValueError) as caught:
        sweep.sweep(build, space, DATA, outer=(), progress=False)
    message = str(caught.value)
    assert "'activation': its value 'tanh' is not a number" in message
    assert "'width': TypeError: Shapes must be 1D sequences of concrete values" in message
    assert "'dropout_rate': TracerBoolConversionError" in message
    assert "'scale':" not in message
    assert "outer=['activation', 'width', 'dropout_rate']" in message


def test_other_errors_are_not_changed():
    def broken(key, hparams, arrays):
        raise KeyError("momentum")

    with pytest.raises(KeyError, match="momentum"):
        sweep.sweep(broken, SPACE, DATA, progress=False)


@pytest.mark.parametrize(("shape", "written"), [((), r"\(\)"), ((5,), r"\(5,\)")])
def test_a_metric_without_one_value_per_epoch_is_refused(shape, written):
    def one(key, hparams, data):
        return {}, {"test/loss": jnp.ones(2) * hparams["rate"], "final": jnp.zeros(shape)}

    expected = rf"'final' must have one value per epoch, shape \(2, \.\.\.\).*got {written}"
    with pytest.raises(ValueError, match=expected):
        sweep.sweep(one, sweep.grid(rate=[0.1]), progress=False)


def test_an_integer_beyond_32_bits_is_refused():
    with pytest.raises(ValueError, match=r"'rate': its value 1099511627776 does not fit int32"):
        sweep.sweep(shrink, sweep.grid(rate=[1, 2**40]), outer=(), progress=False)


def test_settings_with_different_metrics_are_refused():
    def one(key, hparams, data):
        extra = {"test/extra": jnp.ones(1)} if hparams["kind"] == "b" else {}
        return {}, {"test/loss": jnp.ones(1), **extra}

    with pytest.raises(
        ValueError, match=r"the same metrics.*'test/loss': \(\)\}, another has .*ext"
    ):
        sweep.sweep(one, sweep.grid(kind=["a", "b"]), outer=["kind"], progress=False)


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
