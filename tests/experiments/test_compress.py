"""experiments/compress.py on a small MLP."""

import numpy as np
import pytest
from helpers.small_runs import make_run
from PIL import Image

import compress
from jaxdl import interop

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The rows of the table by name, and the folder of the files."""
    folder = tmp_path_factory.mktemp("compress")
    make_run(folder / "run")
    rows = compress.main(compress.Config(run=folder / "run", workdir=folder / "out"))
    return {row["weights"]: row for row in rows}, folder / "out"


def test_half_precision_and_int8_are_smaller_and_cost_little(results):
    rows, _ = results
    first = rows["float32"]
    assert first["accuracy"] > 0.8
    for name, factor in (("bfloat16", 1.7), ("float16", 1.7), ("int8", 2.5)):
        assert first["num_bytes"] / rows[name]["num_bytes"] > factor  # headers of a tiny network
        assert abs(rows[name]["accuracy"] - first["accuracy"]) < 0.01
        assert 0 < abs(rows[name]["loss"] - first["loss"]) < 0.01


def test_pruning_is_seen_in_the_zeros_and_in_the_zipped_size(results):
    rows, _ = results
    assert rows["float32"]["sparsity"] < 0.01
    assert rows["pruned_50"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert rows["pruned_50"]["num_bytes"] == rows["float32"]["num_bytes"]
    assert rows["pruned_50"]["zipped"] < 0.7 * rows["float32"]["zipped"]
    assert rows["pruned_50_int8"]["zipped"] < rows["int8"]["zipped"]


@pytest.mark.slow
def test_files_table_and_picture_are_left(results):
    rows, folder = results
    arrays = interop.read_weights(folder / "int8.safetensors")
    assert arrays["params/Dense_0/kernel/int8"].dtype == np.int8
    table = (folder / "table.md").read_text().splitlines()
    assert len(table) == 2 + len(rows)
    assert table[5].startswith("| int8 ")
    picture = np.asarray(Image.open(folder / "pruning.png").convert("L"))
    assert min(picture.shape) > 300
    assert picture.std() > 10
