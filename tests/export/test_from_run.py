"""Models of run folders."""

import json
import shutil

import jax
import numpy as np
import pytest
from helpers.small_runs import digits, make_run

import jaxdl
from jaxdl import export
from jaxdl.export.bundle import bundle_of
from jaxdl.export.from_run import read_run

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *make_run(folder, ema=0.9)


def test_a_run_becomes_a_bundle_with_the_weights_that_were_evaluated(trained):
    folder, state, history, description = trained
    run = read_run(folder, which="last")
    averaged = jaxdl.optim.averaged_params(state.opt_state)
    jax.tree.map(np.testing.assert_array_equal, run.variables["params"], averaged)
    assert run.step == int(state.step)
    assert run.metrics["test/accuracy"] == history[-1]["test/accuracy"]
    assert run.confusion_matrix is None
    assert run.description == json.loads(json.dumps(description))
    bundle = export.open_model(folder, which="last")
    test = digits().test
    accuracy = (bundle.predict(test["image"]).argmax(-1) == test["label"]).mean()
    assert accuracy == pytest.approx(history[-1]["test/accuracy"])


def test_results_by_class_are_those_of_the_same_weights(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    step, matrix = int(trained[1].step), np.diag(np.arange(1, 11))
    export.write_evaluation(folder, step, matrix)
    by_class = export.open_model(folder, which="last").config["by_class"]
    assert by_class[3] == ["digit 3", 4, 1.0, 1.0, None]
    export.write_evaluation(folder, step - 1, matrix)
    assert export.open_model(folder, which="last").config["by_class"] == []


@pytest.mark.slow
def test_a_run_that_does_not_say_what_its_model_is(trained, tmp_path):
    folder = shutil.copytree(trained[0], tmp_path / "run")
    (folder / "model.json").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"has no model.json: the step of its run has no network"
    ):
        export.open_model(folder)
    with pytest.raises(ValueError, match="lacks 'preprocessing'"):
        bundle_of({"model": {"name": "MLP"}}, {})
