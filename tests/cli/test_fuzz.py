"""Damaged files and hostile arguments: every command ends with a message and a status."""

import pytest
from helpers import fuzzing


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_command_ends_in_a_traceback(seed):
    """Each seed tries 250 command lines in at most 70 s."""
    result = fuzzing.fuzz_in_a_process("fuzz_commands.py", seed, 250, 70)
    assert result["failures"] == []
    assert {"0", "1", "2"} <= result["outcomes"].keys()
