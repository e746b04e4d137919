"""experiments/sweep.py on digits, and the folders that it leaves to the command compare."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import sweep
from jaxdl import config
from jaxdl.cli.compare import config_differences, read_runs

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    cfg = sweep.Config(
        learning_rates=(1e-4, 1e-2),
        weight_decays=(0.0, 0.1),
        num_seeds=2,
        halving=(1, 3),
        hidden=(16,),
        workdir=tmp_path_factory.mktemp("sweep") / "run",
    )
    return sweep.main(cfg), cfg.workdir


def test_the_better_rate_goes_on_and_learns(swept):
    result, folder = swept
    assert list(result.num_epochs) == [1, 1, 1, 1, 3, 3, 3, 3]
    assert result.hparams[result.best]["learning_rate"] == 1e-2
    best = result.history["test/accuracy"][result.best, 2]
    assert best > 0.8 > result.history["test/accuracy"][:4, 0].max()
    saved = json.loads((folder / "best" / "config.json").read_text())["config"]
    assert saved["learning_rates"] == [1e-2]
    assert saved["hidden"] == [16]
    rows = [
        json.loads(line) for line in (folder / "best" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rows[-1]["test/accuracy"] == pytest.approx(best)
    assert np.asarray(Image.open(folder / "heat_map.png").convert("L")).std() > 20


def test_members_can_be_compared(swept):
    _, folder = swept
    members = sorted((folder / "members").iterdir())
    different = config_differences(read_runs([members[0], members[6]]))
    assert different == {
        "learning_rates": ["[0.0001]", "[0.01]"],
        "weight_decays": ["[0.0]", "[0.1]"],
    }


@pytest.mark.slow
def test_a_sweep_that_has_ended_is_read_again(swept):
    result, folder = swept
    again = sweep.main(
        dataclasses.replace(
            config.load(sweep.Config, folder / "config.json"), workdir=folder, resume=True
        )
    )
    np.testing.assert_array_equal(again.history["test/loss"], result.history["test/loss"])
    with pytest.raises(ValueError, match="trained with --seed 0, got --seed 1"):
        config.parse(sweep.Config, ["--workdir", str(folder), "--resume", "--seed", "1"])


def test_random_search_says_what_it_draws_between(tmp_path):
    with pytest.raises(ValueError, match=r"two --weight_decays greater than 0, got \(0\.0,\)"):
        sweep.main(sweep.Config(random=4, weight_decays=(0.0,), workdir=tmp_path / "run"))
