"""``python -m jaxdl data``: what it prints and draws."""

import numpy as np
import pytest
from PIL import Image

from jaxdl import __main__ as command


def run(*arguments):
    return command.main(["data", *map(str, arguments)])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.slow
def test_a_set_of_images(tmp_path, capsys):
    assert run("digits", "--split", "test", "--num_examples", 8, "--out", tmp_path / "new") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["digits, test", "360 examples, 24.5 kB as arrays"]
    assert lines[2].startswith("image  uint8 (8, 8, 1)  0 to 255, mean 0.30")
    assert lines[4] == "classes: 10, 35 to 37 each"
    assert lines[-3:] == [
        f"wrote {tmp_path / 'new' / name}" for name in ("classes.png", "grid.png", "augmented.png")
    ]
    assert names(tmp_path / "new") == ["augmented.png", "classes.png", "grid.png"]
    for name in names(tmp_path / "new"):
        pixels = np.asarray(Image.open(tmp_path / "new" / name).convert("L"))
        assert pixels.std() > 10  # not blank


@pytest.mark.slow
def test_folders_and_tables_and_texts(tmp_path, capsys):
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
        for index in range(2):
            image = Image.fromarray(generator.integers(0, 256, (9 + index, 8, 3), np.uint8))
            image.save(tmp_path / "pets" / "train" / name / f"{index}.png")
    # Images of two sizes: shown at that of the first.
    assert run("pets", "--data_dir", tmp_path, "--augment", "flip", "--out", tmp_path / "a") == 0
    assert "and 1 other shapes" in capsys.readouterr().out
    (tmp_path / "b.csv").write_text("x,y,label\n1,2,0\n3,4,1\n")
    assert run(tmp_path / "b.csv", "--out", tmp_path / "b") == 0
    assert names(tmp_path / "b") == ["classes.png", "values_input.png"]
    (tmp_path / "c.txt").write_text("to be\nor not\n")
    assert run(tmp_path / "c.txt", "--out", tmp_path / "c") == 0
    assert "2 examples\ntext  text  5 to 6 characters" in capsys.readouterr().out
    assert names(tmp_path / "c") == ["lengths.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "error: no data 'nothing'"),
        (
            ["digits", "--augment", "flop"],
            r"error: --augment must be names of flip, crop, .*got 'flop'",
        ),
        (["digits", "--augment", ""], "error: --augment must be"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message.split(".*")[0] in error
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "flags",
    [
        ["--max_examples", "0"],
        ["--num_examples", "-1"],
        ["--seed", "9" * 30],
        ["--seed", "-1"],
        ["--size", "0", "8"],
        ["--size", "8"],
    ],
)
def test_numbers_out_of_range_are_refused_by_the_parser(flags, capsys):
    with pytest.raises(SystemExit) as raised:
        run("digits", *flags)
    assert raised.value.code == 2
    assert f"argument {flags[0]}: expected" in capsys.readouterr().err


def test_every_augmentation_can_be_made():
    from jaxdl.cli.data import AUGMENTATIONS, make_augment

    for name in AUGMENTATIONS:
        assert callable(make_augment(name))
    assert callable(make_augment(",".join(AUGMENTATIONS)))
