"""experiments/fine_tune.py on halves of the digits."""

import numpy as np
import pytest

import fine_tune
from jaxdl import export, optim, tree


@pytest.mark.slow
def test_three_ways_are_compared(tmp_path):
    cfg = fine_tune.Config(
        source_epochs=1, target_epochs=6, num_target=40, workdir=tmp_path / "runs"
    )
    histories = fine_tune.main(cfg)
    assert set(histories) == {"source", "head", "all", "scratch"}
    assert (tmp_path / "runs" / "fine_tune.png").stat().st_size > 10_000
    for name in ("head", "all", "scratch"):
        assert histories[name][-1]["test/accuracy"] > histories[name][0]["test/accuracy"]
    assert histories["all"][-1]["learning_rate/head"] == 3e-3
    assert histories["all"][-1]["learning_rate/rest"] == 3e-4
    bundle = export.open_model(tmp_path / "runs" / "head", which="last")
    test = fine_tune.load(cfg, "digits", 1).test
    right = bundle.predict(test["image"]).argmax(axis=1) == test["label"]
    assert right.mean() == pytest.approx(histories["head"][-1]["test/accuracy"])
    assert [int(name[-1]) for name in bundle.class_names] == [5, 6, 7, 8, 9]


@pytest.mark.slow
def test_a_frozen_backbone_stays_to_the_last_bit(tmp_path):
    cfg = fine_tune.Config()
    source = fine_tune.load(cfg, "digits", 0)
    tx = optim.recipe(optim.adamw, 1e-3)
    backbone, _ = fine_tune.train(cfg, tmp_path / "source", tx, None, source, 1, 64)
    frozen = optim.recipe(optim.adamw, 1e-3, frozen="^(Conv|BatchNorm)")
    target = fine_tune.load(cfg, "digits", 1)
    state, _ = fine_tune.train(cfg, tmp_path / "head", frozen, backbone, target, 1, 64, True)
    moved = tree.max_difference(state.params, backbone.params)
    assert {name for name, difference in moved.items() if difference > 0} == {
        "Dense_0/kernel",
        "Dense_0/bias",
    }
    statistics = tree.max_difference(state.model_state, backbone.model_state)
    assert statistics
    assert not any(statistics.values())
    assert np.all(target.test["label"] < 5)
    with pytest.raises(ValueError, match=r"--num_target must lie in 1 to \d+, got 0"):
        fine_tune.main(fine_tune.Config(num_target=0, workdir=tmp_path / "none"))
