"""experiments/fine_tune.py on halves of the digits."""

import dataclasses
import json

import numpy as np
import pytest

import fine_tune
from jaxdl import checkpoint, data, export, tree


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("fine_tune")
    fine_tune.main(fine_tune.Config(source_epochs=1, num_epochs=6, num_target=40, workdir=workdir))
    return workdir


@pytest.mark.slow
def test_three_ways_are_compared(folder):
    assert (folder / "fine_tune.png").stat().st_size > 10_000
    rows = {}
    for name in ("head", "all", "scratch"):
        lines = (folder / name / "metrics.jsonl").read_text().splitlines()
        rows[name] = [json.loads(line) for line in lines]
        assert rows[name][-1]["test/accuracy"] > rows[name][0]["test/accuracy"]
    assert rows["all"][-1]["learning_rate/head"] == 3e-3
    assert rows["all"][-1]["learning_rate/rest"] == 3e-4
    bundle = export.open_model(folder / "head", which="last")
    test = fine_tune.half(data.load("digits"), 1).test
    right = bundle.predict(test["image"]).argmax(axis=1) == test["label"]
    assert right.mean() == pytest.approx(rows["head"][-1]["test/accuracy"])
    assert [int(name[-1]) for name in bundle.class_names] == [5, 6, 7, 8, 9]


@pytest.mark.slow
def test_a_frozen_backbone_stays_to_the_last_bit(folder):
    source, head, everything = (
        checkpoint.restore_weights(folder / name / "checkpoints" / "last")[0]
        for name in ("source", "head", "all")
    )
    moved = tree.max_difference(head["params"], source["params"])
    trained = {name for name, difference in moved.items() if difference > 0}
    assert trained == {"Dense_0/kernel", "Dense_0/bias"}
    statistics = tree.max_difference(head["batch_stats"], source["batch_stats"])
    assert statistics
    assert not any(statistics.values())
    assert all(tree.max_difference(everything, source).values())


def test_the_target_is_few_images_of_other_classes():
    cfg = fine_tune.Config(num_target=7)
    source, target = fine_tune.load(cfg)
    assert source.class_names + target.class_names == data.load("digits").class_names
    assert len(target.train["label"]) == 7
    assert np.all(target.test["label"] < 5)
    assert source.name == "digits, 0 to 4"
    for number in (0, 10**6):
        with pytest.raises(ValueError, match=r"--num_target must lie in 1 to \d+, got"):
            fine_tune.load(dataclasses.replace(cfg, num_target=number))
