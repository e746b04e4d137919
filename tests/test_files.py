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


def test_json_that_is_no_object_is_refused(tmp_path):
    path = write_json(tmp_path / "a.json", {"a": [1.5, None]})
    assert read_json(path) == {"a": [1.5, None]}
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        read_json(write_text(path, "{"))
    with pytest.raises(ValueError, match=r"a\.json must hold a JSON object.*got list"):
        read_json(write_text(path, "[1]"))
