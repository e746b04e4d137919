"""``python -m jaxdl inspect``: trees, sizes, steps and configurations of all that jaxdl writes."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.small_runs import make_bundle, make_run

from jaxdl import __main__ as command
from jaxdl.cli.inspect import make_tree
from jaxdl.export import write_stablehlo
from jaxdl.interop import write_safetensors

pytestmark = pytest.mark.slow  # all share one run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return folder, *make_run(folder)


def inspect(capsys, *arguments):
    assert command.main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def line_of(text, name):
    """The words of the line that begins with a name."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [name]]
    return line.split()


def test_a_run_shows_model_step_metrics_and_tree(run, capsys):
    folder, state, history, _ = run
    shown = inspect(capsys, folder, "--checkpoint", "last")
    assert (
        f"checkpoint {folder}/checkpoints/last/{int(state.step)}: step {int(state.step)}" in shown
    )
    assert line_of(shown, "test/accuracy") == [
        "test/accuracy", f"{history[-1]['test/accuracy']:.6g}",
    ]  # fmt: skip
    assert line_of(shown, "features") == ["features", "16,", "10"]
    assert line_of(shown, "params/Dense_0/kernel")[1:] == [
        "float32",
        "(64,",
        "16)",
        "1,024",
        "4,096",
    ]
    assert line_of(shown, "key")[1:] == ["key<fry>", "()", "1", "8"]
    parameters = 64 * 16 + 16 + 16 * 10 + 10
    sums = next(line for line in shown.splitlines() if line.startswith("all of params"))
    assert sums.split()[3:] == [f"{parameters:,}", f"{4 * parameters:,}"]
    assert "checkpoints/best/" in inspect(capsys, folder)


def test_the_tree_can_be_cut_and_filtered(run, capsys):
    folder, *_ = run
    shown = inspect(capsys, folder, "--depth", "1", "--filter", "^params")
    tree = shown[shown.index("name      dtype") :]
    assert tree.splitlines()[1].split() == ["params/…", "float32", "4", "arrays", "1,210", "4,840"]
    assert len(tree.splitlines()) == 3
    assert command.main(["inspect", str(folder), "--filter", "absent"]) == 1
    assert "--filter 'absent' matches no name" in capsys.readouterr().err


@pytest.mark.slow
def test_the_checkpoints_alone(run, capsys):
    folder, state, *_ = run
    shown = inspect(capsys, folder / "checkpoints" / "last")
    assert f"step {int(state.step)}" in shown
    assert "params/Dense_1/bias" in shown


def test_a_bundle(tmp_path, capsys):
    make_bundle(tmp_path / "bundle")
    shown = inspect(capsys, tmp_path / "bundle")
    assert shown.startswith(f"{tmp_path / 'bundle'}: bundle\n")
    assert line_of(shown, "class_names") == ["class_names", "cat,", "dog,", "bird"]
    assert line_of(shown, "params/Dense_1/kernel")[1:] == ["float32", "(4,", "3)", "12", "48"]
    assert line_of(shown, "all") == ["all", "139", "556"]


def test_files_of_weights_and_exports(tmp_path, capsys):
    arrays = {"fc.weight": np.zeros((3, 2), np.float16), "fc.bias": jnp.zeros(3, jnp.bfloat16)}
    write_safetensors(tmp_path / "a.safetensors", arrays, {"format": "pt"})
    shown = inspect(capsys, tmp_path / "a.safetensors")
    assert line_of(shown, "format") == ["format", "pt"]
    assert line_of(shown, "fc.weight")[1:] == ["float16", "(3,", "2)", "6", "12"]
    assert line_of(shown, "fc.bias")[1:] == ["bfloat16", "(3,)", "3", "6"]
    write_stablehlo(tmp_path / "a.stablehlo", lambda x: x, (3,), "float32", info={"name": "Ada"})
    shown = inspect(capsys, tmp_path / "a.stablehlo")
    assert line_of(shown, "platforms") == ["platforms", "cpu,", "cuda"]
    assert line_of(shown, "name") == ["name", "Ada"]


def test_sums_of_a_tree():
    forms = {
        "a/b": ("float32", (2, 3)),
        "a/c": ("int8", ()),
        "d/e": ("key<rbg>", (2,)),
        "d/f": ("bool", (0,)),
    }
    rows = [line.split() for line in make_tree(forms).splitlines()]
    assert rows[-3:] == [
        ["all", "of", "a", "7", "25"], ["all", "of", "d", "2", "32"], ["all", "9", "57"],
    ]  # fmt: skip


def test_one_of_several_state_dicts_is_chosen_by_key(tmp_path, capsys):
    torch = pytest.importorskip("torch")
    path = tmp_path / "gan.pth"
    parts = {"first": {"weight": torch.ones(2, 3)}, "second": {"weight": torch.ones(4)}}
    torch.save(parts, path)
    assert command.main(["inspect", str(path)]) == 1
    assert "--key" in capsys.readouterr().err
    assert command.main(["inspect", str(path), "--key", "second"]) == 0
    assert "weight  float32  (4,)" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--filter", "("], ["--depth", "0"], ["--depth", "x"]])
def test_invalid_flags_are_refused_by_the_parser(tmp_path, flags, capsys):
    with pytest.raises(SystemExit) as raised:
        command.main(["inspect", str(tmp_path), *flags])
    assert raised.value.code == 2
    assert f"argument {flags[0]}: " in capsys.readouterr().err


def test_what_is_wrong_is_one_line(tmp_path, capsys):
    (tmp_path / "text.safetensors").write_text("text")
    for path, message in (
        ("absent", "no such file or folder"),
        (".", "no checkpoint in"),
        ("text.safetensors", "cannot be read: it begins with b'text'"),
    ):
        folder = tmp_path / path
        if path == ".":
            folder = tmp_path / "empty"
            folder.mkdir()
        assert command.main(["inspect", str(folder)]) == 1
        assert message in capsys.readouterr().err
