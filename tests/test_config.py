"""Configurations: files, command lines and their errors."""

import builtins
import dataclasses
import json
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import pytest

from jaxdl import _versions, config, train


@dataclasses.dataclass(frozen=True)
class Config:
    """Every kind of field."""

    model: Literal["mlp", "cnn"] = "mlp"
    learning_rate: float = 1e-3
    num_epochs: int = 10
    patience: int | None = None
    features: tuple[int, ...] = (512, 10)
    name: str = "run"
    data_dir: Path | None = None
    workdir: Path | None = None
    shuffle: bool = True
    resume: bool = False


@dataclasses.dataclass(frozen=True)
class Required:
    seed: int
    rate: float = 0.1


OTHER = Config("cnn", 0.5, 3, 7, (1, 2, 3), "ä", Path("a/b"), Path("c"), False)


@pytest.fixture
def write(tmp_path):
    def write_file(content):
        path = tmp_path / "config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_file


# Files


@pytest.mark.parametrize("cfg", [Config(), OTHER], ids=["defaults", "other"])
def test_what_is_saved_comes_back_equal(cfg, tmp_path):
    config.save(cfg, tmp_path / "runs" / "config.json")
    loaded = config.load(Config, tmp_path / "runs" / "config.json")
    assert loaded == cfg
    for field in dataclasses.fields(Config):
        assert type(getattr(loaded, field.name)) is type(getattr(cfg, field.name))


def test_a_saved_file_holds_the_versions_and_nothing_half_written(tmp_path):
    config.save(Config(), tmp_path / "config.json")
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["versions"].keys() == set(_versions.PACKAGES)
    assert content["config"]["learning_rate"] == 1e-3
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_plain_object_of_fields_keeps_the_other_defaults(write):
    path = write({"num_epochs": 3, "learning_rate": 1})
    loaded = config.load(Config, path)
    assert loaded == Config(num_epochs=3, learning_rate=1.0)
    assert type(loaded.learning_rate) is float


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"learning_rat": 1}, r"unknown field 'learning_rat'; expected one of \[.*'learning_rate'"),
        ({"learning_rate": "fast"}, "'learning_rate' must be float, got 'fast'"),
        ({"learning_rate": True}, "'learning_rate' must be float, got True"),
        ({"num_epochs": 2.5}, r"'num_epochs' must be int, got 2\.5"),
        ({"num_epochs": True}, "'num_epochs' must be int, got True"),
        ({"num_epochs": None}, "'num_epochs' must be int, got None"),
        ({"patience": "3"}, r"'patience' must be int \| None, got '3'"),
        ({"shuffle": 1}, "'shuffle' must be bool, got 1"),
        ({"model": "rnn"}, r"'model' must be .*'mlp', 'cnn'.*, got 'rnn'"),
        ({"data_dir": 3}, r"'data_dir' must be .*Path \| None, got 3"),
        ({"features": 3}, r"'features' must be tuple.*, got 3"),
        ({"features": [1, "2"]}, r"'features' must be tuple.*, got \[1, '2'\]"),
        ({"model": True}, "'model' must be .*, got True"),
        ({"learning_rate": 10**400}, "does not fit into 64 bits"),
        ({"config": 3}, "unknown field 'config'"),
        ('{"num_epochs": 3,}', "is not valid JSON: .*line 1"),
        ("[1, 2]", "must be an object of fields, got"),
    ],
)
def test_errors_of_a_file_name_the_field(content, message, write):
    path = write(content)
    with pytest.raises(ValueError, match=message) as raised:
        config.load(Config, path)
    assert str(path) in str(raised.value)


def test_a_missing_field_without_a_default_is_named(write):
    with pytest.raises(ValueError, match="missing field 'seed', which has no default"):
        config.load(Required, write({"rate": 0.2}))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"configuration file not found: .*nothing\.json"):
        config.load(Config, tmp_path / "nothing.json")


# Command lines


def test_flags_become_fields():
    line = "--model cnn --learning_rate 0.5 --num_epochs 3 --patience 7 --features 1 2 3"
    line += " --name ä --data_dir a/b --workdir c --no_shuffle"
    assert config.parse(Config, line.split()) == OTHER
    assert config.parse(Config, []) == Config()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--learning_rat", "0.1"], ["learning_rat", "learning_rate"]),
        (["--model", "rnn"], ["model", "mlp", "cnn", "rnn"]),
        (["--num_epochs", "2.5"], ["num_epochs", "2.5"]),
        (["stray"], ["stray"]),
    ],
)
def test_bad_flags_exit_with_2_and_are_named(arguments, words, capsys):
    with pytest.raises(SystemExit) as raised:
        config.parse(Config, arguments)
    assert raised.value.code == 2
    printed = capsys.readouterr().err
    assert all(word in printed for word in words)


def test_the_value_that_an_interpreter_showed_last_does_not_disturb(monkeypatch):
    """As in a doctest or at the prompt; tyro is imported anew, as on the first call."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tyro"]:
        monkeypatch.delitem(sys.modules, name)
    shown = jnp.ones(3)  # not hashable
    monkeypatch.setattr(builtins, "_", shown, raising=False)
    assert config.parse(Config, ["--num_epochs", "3"]).num_epochs == 3
    assert builtins._ is shown


def test_a_negative_count_is_refused_before_anything_is_made(main, capsys):
    with pytest.raises(SystemExit) as raised:
        main(pytest.fail, "--num_epochs", "-5")
    assert raised.value.code == 1
    assert capsys.readouterr().err == "error: --num_epochs must be at least 0, got -5.\n"


@pytest.mark.parametrize("form", ["--config {}", "--config={}"])
def test_flags_override_a_configuration_file(form, write):
    path = write({"num_epochs": 3, "model": "cnn"})
    arguments = ["--num_epochs", "5", *form.format(path).split(), "--patience", "2"]
    assert config.parse(Config, arguments) == Config("cnn", num_epochs=5, patience=2)


def test_config_without_a_file_is_an_error():
    with pytest.raises(ValueError, match="--config needs the path of a JSON file"):
        config.parse(Config, ["--config"])


def test_the_file_of_a_run_is_a_configuration_file(tmp_path):
    config.save(OTHER, tmp_path / "config.json")
    expected = dataclasses.replace(OTHER, workdir=None)  # the run is repeated elsewhere
    assert config.parse(Config, ["--config", str(tmp_path / "config.json")]) == expected


def resume(directory, *flags):
    return config.parse(Config, ["--workdir", str(directory), "--resume", *flags])


def test_resuming_takes_the_configuration_of_the_run(tmp_path):
    config.save(OTHER, tmp_path / "config.json")
    assert resume(tmp_path) == dataclasses.replace(OTHER, workdir=tmp_path, resume=True)


def test_resuming_may_change_how_long_and_where(tmp_path):
    config.save(OTHER, tmp_path / "config.json")
    resumed = resume(tmp_path, "--num_epochs", "9", "--data_dir", "elsewhere")
    assert (resumed.num_epochs, resumed.data_dir) == (9, Path("elsewhere"))
    assert resumed.model == "cnn"


def test_resuming_refuses_a_flag_that_contradicts_the_run(tmp_path):
    config.save(OTHER, tmp_path / "config.json")
    with pytest.raises(
        ValueError, match=r"was trained with --learning_rate 0\.5, got --learning_rate 0\.1"
    ):
        resume(tmp_path, "--learning_rate", "0.1")
    assert resume(tmp_path, "--learning_rate", "0.5").learning_rate == 0.5


def test_resuming_a_folder_without_a_run_starts_one(tmp_path):
    expected = Config("cnn", workdir=tmp_path, resume=True)
    assert resume(tmp_path, "--model", "cnn") == expected


def test_resuming_needs_a_folder():
    with pytest.raises(ValueError, match="--resume needs --workdir DIR"):
        config.parse(Config, ["--resume"])


# main


@pytest.fixture
def main(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.delenv("JAXDL_TRACEBACK", raising=False)

    def run(function, *arguments):
        monkeypatch.setattr(sys, "argv", ["experiment.py", *arguments])
        config.main(function, Config)

    return run


def test_main_gives_the_configuration_to_the_function(main):
    given = []
    main(given.append, "--num_epochs", "3")
    assert given == [Config(num_epochs=3)]


@pytest.mark.parametrize("kind", [ValueError, OSError, FileNotFoundError, FloatingPointError])
def test_an_error_is_one_line_and_exit_1(kind, main, capsys):
    def fail(_):
        raise kind("what is wrong and what to do")

    with pytest.raises(SystemExit) as raised:
        main(fail)
    assert raised.value.code == 1
    assert capsys.readouterr().err == "error: what is wrong and what to do\n"


def test_an_error_of_the_command_line_is_one_line_too(main, capsys):
    with pytest.raises(SystemExit) as raised:
        main(pytest.fail, "--config", "nothing.json")
    assert raised.value.code == 1
    assert capsys.readouterr().err.startswith("error: configuration file not found: nothing.json")


def test_an_unexpected_error_is_one_line_with_its_type(main, capsys, monkeypatch):
    monkeypatch.delenv("JAXDL_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as raised:
        main(lambda _: {}["two\nlines"])
    assert raised.value.code == 1
    assert capsys.readouterr().err == (
        "error: KeyError: 'two\\nlines' (unexpected; JAXDL_TRACEBACK=1 shows the traceback)\n"
    )
    monkeypatch.setenv("JAXDL_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(lambda _: 1 / 0)


@pytest.mark.parametrize(
    ("args", "printed"), [((), "stopped"), (("stopped at 3",), "stopped at 3")]
)
def test_an_interrupt_exits_with_130(args, printed, main, capsys):
    def interrupt(_):
        raise KeyboardInterrupt(*args)

    with pytest.raises(SystemExit) as raised:
        main(interrupt)
    assert raised.value.code == 130
    assert capsys.readouterr().err == f"\n{printed}\n"


def test_sigterm_exits_with_143(main, capsys):
    def stop(_):
        raise train.Interrupted("stopped at 3", signal.SIGTERM)

    with pytest.raises(SystemExit) as raised:
        main(stop)
    assert raised.value.code == 143
    assert capsys.readouterr().err == "\nstopped at 3\n"


PROGRAM = """
import dataclasses, warnings
from jaxdl import config

@dataclasses.dataclass(frozen=True)
class Config:
    seed: int = 0

def main(cfg):
    warnings.warn("careful")
    raise ValueError(f"seed {cfg.seed} is bad")

config.main(main, Config)
"""


@pytest.mark.parametrize("traceback", [False, True])
def test_warnings_and_errors_are_lines_and_the_traceback_comes_when_asked(traceback, monkeypatch):
    monkeypatch.delenv("JAXDL_TRACEBACK", raising=False)
    if traceback:
        monkeypatch.setenv("JAXDL_TRACEBACK", "1")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--seed", "3"], capture_output=True, text=True
    )
    assert result.returncode == 1
    if traceback:
        assert "Traceback" in result.stderr
        assert result.stderr.endswith("ValueError: seed 3 is bad\n")
    else:
        assert result.stderr == "warning: careful\nerror: seed 3 is bad\n"


def test_a_config_file_repeats_a_run_in_another_folder(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Run:
        rate: float = 0.1
        workdir: Path | None = None
        resume: bool = False

    path = tmp_path / "config.json"
    config.save(Run(rate=0.5, workdir=tmp_path, resume=True), path)
    assert config.parse(Run, ["--config", str(path)]) == Run(rate=0.5)
    with pytest.raises(ValueError, match="--config and --resume are mutually exclusive"):
        config.parse(Run, ["--config", str(path), "--workdir", str(tmp_path), "--resume"])


@pytest.mark.slow
def test_a_closed_pipe_ends_quietly():
    program = PROGRAM.replace(
        'warnings.warn("careful")\n    raise ValueError(f"seed {cfg.seed} is bad")',
        "for i in range(100_000):\n        print(i)",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


# The base configuration and run folders


@dataclasses.dataclass(frozen=True)
class Experiment(config.Run):
    """An experiment with its own defaults."""

    num_epochs: int = 3
    """Passes over two moons."""
    learning_rate: float = 0.1
    """Step size."""


def test_a_base_configuration_is_extended(capsys):
    flags = "--workdir a --resume --learning_rate 1 --data_dir d --batch_size 4 --seed 7"
    expected = Experiment(Path("d"), 3, 4, 7, Path("a"), True, 1.0)
    assert config.parse(Experiment, flags.split()) == expected
    with pytest.raises(SystemExit):
        config.parse(Experiment, ["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("Passes over two moons.", "Step size.", "Examples per step."):
        assert text in printed


def test_new_run_folders_do_not_exist_yet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda _: "20260101-000000")
    names = []
    for _ in range(3):
        path = config.new_run_dir("mnist")
        path.mkdir(parents=True)
        names.append(str(path))
    first = "runs/mnist_20260101-000000"
    assert names == [first, f"{first}-2", f"{first}-3"]
