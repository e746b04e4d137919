"""Model cards."""

import pytest
from helpers.small_runs import make_bundle

from jaxdl.export.model_card import results_by_class


def test_the_card_says_use_data_results_and_limits(tmp_path):
    path = tmp_path / "bundle"
    make_bundle(path)
    card = (path / "README.md").read_text()
    sections = [line for line in card.splitlines() if line.startswith("#")]
    assert sections == [
        "# MLP pets", "## Intended use", "## Model", "## Data", "## Preprocessing", "## Results",
        "## Limits", "## Versions",
    ]  # fmt: skip
    assert (
        "Assigns one of 3 classes to gray images of 5x6 pixels that resemble those of pets." in card
    )
    assert "`jaxdl.models.MLP(features=[4, 3])`, 139 parameters, 556 bytes" in card
    assert "| cat     |       10 |  80.0% |     66.7% | dog (2)              |" in card
    assert "| bird    |       10 |  50.0% |    100.0% | cat (3)              |" in card
    assert "| **all** |       30 |  73.3% |           |                      |" in card
    assert "- test/accuracy: 0.75" in card
    assert "- Drawings were not tried." in card
    assert "- Weakest class: bird, recall 50.0%, most often taken for cat." in card


def test_results_of_classes_without_examples_are_left_open():
    empty, other = results_by_class([[0, 0], [0, 3]], ["a", "b"])
    assert (empty.recall, empty.precision, empty.confused) == (None, None, None)
    assert (other.recall, other.precision) == (1.0, 1.0)
    with pytest.raises(ValueError, match="must be 2x2"):
        results_by_class([[1]], ["a", "b"])
