"""Files that appear whole or not at all."""

import os

import pytest

from jaxdl._files import read_json, replacing, write_bytes, write_json, write_text


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = write_text(tmp_path / "file.txt", "old")
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent
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
