"""Exclusive use of a folder; :mod:`tests.train.test_run_dir` locks it against other processes."""

import errno
import os

import pytest

from jaxdl._lock import LOCK_FILE, FolderInUse, locked


def test_a_folder_is_locked_once_and_free_afterwards(tmp_path):
    with locked(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")
        with pytest.raises(FolderInUse, match=f"in use by process {os.getpid()}"), locked(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def test_a_folder_that_is_moved_away_is_noticed(tmp_path):
    (tmp_path / "a").mkdir()
    with locked(tmp_path / "a") as check_in_place:
        check_in_place()
        (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(FileNotFoundError, match="was moved or deleted"):
            check_in_place()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.warns(UserWarning, match="file system without locks"), locked(tmp_path):
        pass
