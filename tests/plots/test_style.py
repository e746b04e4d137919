"""Tests of ``jaxdl.plots.style``."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from jaxdl import plots

HISTORY = [
    {
        "epoch": epoch,
        "step": 100 * epoch,
        "train/loss": 1 / epoch,
        "test/loss": loss,
        "train/accuracy": accuracy + 0.05,
        "test/accuracy": accuracy,
        "learning_rate": rate,
        "epoch_seconds": 1.5,
        "train/examples_per_second": 30_000.0,
        "test/confusion": [[3, 1], [0, 4]],
        "note": "text",
    }
    for epoch, loss, accuracy, rate in [
        (1, 0.9, 0.60, 1e-1),
        (2, 0.5, 0.70, 1e-2),
        (3, 0.6, 0.8125, 1e-3),
        (4, 0.7, 0.75, 1e-4),
    ]
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: plots.learning_curves(HISTORY), (1980, 525)),
        (lambda: plots.image_grid(np.eye(28).reshape(1, 28, 28, 1)), (150, 150)),
        (lambda: plots.confusion_matrix(np.eye(2), ["a", "b"]), None),
    ],
)
def test_the_file_is_a_picture_of_the_expected_size(tmp_path, make, size):
    figure = make()
    path = plots.save(figure, tmp_path / "new" / "picture.png")
    assert path == tmp_path / "new" / "picture.png"
    with Image.open(path) as picture:
        inches = figure.get_size_inches()
        assert picture.size == (size or tuple((inches * plots.style.DPI).astype(int)))
        gray = np.asarray(picture.convert("L"))
    assert gray.max() > 240  # background
    assert gray.min() < 100  # ink
    assert gray[0].mean() > 200 or size == (150, 150)  # text does not run over the edge
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_nothing_is_cut_off_at_the_left_edge(tmp_path):
    rows = [{"epoch": i, "train/loss": 1.75 / i, "test/loss": 1.7 / i} for i in range(1, 31)]
    path = plots.save(plots.learning_curves(rows), tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L"))[:, :2].min() > 250


def test_saving_replaces_the_old_picture(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    plots.save(plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8)), path, dpi=50)
    with Image.open(path) as picture:
        assert picture.size == (50, 50)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    figure = plots.image_grid(np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(OSError, match=r"Cannot write the picture .*picture\.png"):
        plots.save(figure, tmp_path / "file" / "picture.png")
    with pytest.raises(ValueError, match=r"must end in .png, got .*picture.jpg"):
        plots.save(figure, tmp_path / "picture.jpg")


@pytest.mark.slow
def test_threads_draw_the_same_picture(tmp_path):
    def draw(name):
        plots.save(plots.confusion_matrix(np.eye(3), ["a", "b", "c"]), tmp_path / name)

    names = ["0.png", "1.png", "2.png"]
    threads = [threading.Thread(target=draw, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tmp_path / name).read_bytes() for name in names}) == 1


@pytest.mark.slow
def test_importing_plots_does_not_import_matplotlib_and_drawing_not_pyplot():
    code = """
import sys, numpy
from jaxdl import plots
assert "matplotlib" not in sys.modules
plots.image_grid(numpy.zeros((1, 4, 4, 1), "uint8"))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
