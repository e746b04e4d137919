"""``python -m jaxdl``."""

import os
import subprocess
import sys

import pytest

from jaxdl import __main__ as command


def test_help_names_the_commands_and_the_experiments(tmp_path, monkeypatch, capsys):
    (tmp_path / "mnist.py").write_text('"""Digits at 99.2 %.\n\nMore."""\nraise SystemExit(3)\n')
    monkeypatch.setattr(command, "EXPERIMENTS", tmp_path)
    with pytest.raises(SystemExit) as exit_:
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert exit_.value.code == 0
    assert "doctor" in shown
    assert f"python {tmp_path.name}/mnist.py --help\n      Digits at 99.2 %.\n" in shown
    assert "More." not in shown
    assert command.main([]) == 0
    assert capsys.readouterr().out == shown


def test_experiments_are_sorted_and_read_without_running(tmp_path):
    (tmp_path / "b.py").write_text("raise RuntimeError\n")
    (tmp_path / "a.py").write_text('"""\nFirst line.\nSecond."""\n')
    (tmp_path / "c.py").write_text("def (:\n")
    (tmp_path / "_shared.py").write_text('"""Private."""\n')
    (tmp_path / "notes.txt").write_text("no script")
    (first, summary), (second, none), (third, broken) = command.list_experiments(tmp_path)
    assert (first, second, third) == ("a.py", "b.py", "c.py")
    assert (summary, none) == ("First line.", "(no docstring)")
    assert broken.startswith("(cannot be read: invalid syntax")


def test_without_a_checkout_the_help_says_where_experiments_are(tmp_path):
    assert command.list_experiments(tmp_path / "absent") == []
    assert "are in the repository" in command.describe_experiments(tmp_path / "absent")


def test_an_unknown_command_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as exit_:
        command.main(["docter"])
    assert exit_.value.code == 2
    message = capsys.readouterr().err
    assert "invalid choice: 'docter'" in message
    assert "doctor" in message.replace("docter", "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "doctor"])
def test_a_closed_pipe_ends_quietly(command):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "jaxdl", command], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert done.returncode in (0, 141)
    assert done.stderr == b""
