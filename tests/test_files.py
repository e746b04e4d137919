"""Files that appear whole or not at all."""

import os

import pytest

from jaxdl import data, text
from jaxdl._files import expand, read_json, replacing, write_bytes, write_json, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = write_text(tmp_path / "file.txt", "old")
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent.parent == path.parent
        assert temporary.parent.stat().st_mode & 0o777 == 0o700
        temporary.write_text("the whole")
    assert path.read_text() == "the whole"
    assert os.listdir(tmp_path) == ["file.txt"]


def write_half(path, error):
    with replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        raise error


def make_half(path):
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "part").touch()
        raise ValueError("half")


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = write_bytes(tmp_path / "file", b"old")
    with pytest.raises(error):
        write_half(path, error)
    with pytest.raises(FileNotFoundError), replacing(path):
        pass  # nothing was written
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_is_made_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(ValueError, match="half"):
        make_half(path)
    assert not os.listdir(tmp_path)
    with replacing(path) as temporary:
        temporary.mkdir()
        (temporary / "part").touch()
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(path) == ["part"]


def test_permissions_are_kept_and_new_files_have_the_usual_ones(tmp_path):
    (tmp_path / "usual").touch()
    path = write_text(tmp_path / "file", "old")
    assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode
    for mode in (0o600, 0o444, 0o664):
        path.chmod(mode)
        write_text(path, "new")
        assert path.stat().st_mode & 0o777 == mode


def test_a_link_is_replaced_and_what_it_names_is_not_written(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "file").symlink_to(tmp_path / "victim")
    path = write_text(tmp_path / "file", "new")
    assert not path.is_symlink()
    assert (tmp_path / "victim").read_text() == "precious"


def test_temporary_names_cannot_be_guessed(tmp_path):
    names = set()
    for _ in range(20):
        with replacing(tmp_path / "file") as temporary:
            temporary.touch()
            names.add(temporary.parent.name)
    assert len(names) == 20
    assert not any(str(os.getpid()) in name.split(".") for name in names)


def test_names_may_be_as_long_as_the_system_allows(tmp_path):
    for name in ("x" * 255, "é" * 127):
        assert write_text(tmp_path / name, "text").read_text() == "text"


def test_content_is_on_disk_before_it_replaces_the_old_file(tmp_path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (events.append(os.fstat(fd).st_ino), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("replaced"), replace(*paths)))
    path = write_text(tmp_path / "file", "text")
    assert events == [path.stat().st_ino, "replaced", tmp_path.stat().st_ino]
    with replacing(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "part").touch()
        events.clear()
    parts = {(tmp_path / "folder").stat().st_ino, (tmp_path / "folder/part").stat().st_ino}
    assert set(events[: events.index("replaced")]) == parts


def test_line_ends_are_written_as_they_are(tmp_path):
    assert write_text(tmp_path / "text", "ü\n").read_bytes() == b"\xc3\xbc\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("\xff", "is not valid JSON"),
        ("[1]", "must be an object of fields, got \\[1\\]"),
        (f'{{"a": {"9" * 30}}}', "the integer 9999999999… does not fit into 64 bits"),
        (f'{{"a": {"9" * 5000}}}', "does not fit into 64 bits"),
        ('{"a": ' + "[" * 900 + "]" * 900 + "}", "is nested more than 50 levels deep"),
        ("[" * 10**5, "is not valid JSON"),
        ('{"step": "3"}', "field 'step' must be an integer, got '3'"),
        ('{"step": true}', "field 'step' must be an integer, got True"),
        ('{"names": []}', "field 'step' is missing"),
        ('{"step": 1, "names": ["a", null]}', "field 'names/1' must be text, got None"),
        ('{"step": 1, "loss": "low"}', "field 'loss' must be a number or null, got 'low'"),
        ('{"step": 1, "model": {}}', "field 'model/name' is missing"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path, text, message):
    form = {"step": int, "names?": [str], "model?": {"name": str}, "*": (float, None)}
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_json(path, form)


def test_json_of_a_form_is_read(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": [1.5, None], "b": -(2**63), "c": 1})
    form = {"a": [(float, None)], "b": int, "c": float, "d?": str}
    assert read_json(path, form) == {"a": [1.5, None], "b": -(2**63), "c": 1}


def test_the_home_of_an_unknown_user_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/digits.csv") == tmp_path / "digits.csv"
    for function in (expand, data.open, data.sources.csv_source, text.load_tokenizer):
        with pytest.raises(ValueError, match=r"no home folder for ~nobody-here; write the path"):
            function("~nobody-here/digits.csv")
