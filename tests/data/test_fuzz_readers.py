"""Damaged files of data: every reader gives a result or says why not."""

import pytest
from helpers import fuzzing


@pytest.mark.slow
def test_no_damaged_file_crashes_a_reader():
    """Tries 400 files in at most 40 s."""
    result = fuzzing.fuzz_in_a_process("fuzz_readers.py", "data", 0, 400, 40)
    assert result["failures"] == []
    assert {"read", "refused"} <= result["outcomes"].keys()
