"""Damaged files and hostile arguments: every command ends with a message and a status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).resolve().parents[1] / "helpers" / "fuzz_commands.py"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_no_command_ends_in_a_traceback(seed, tmp_path):
    """Each seed tries 250 command lines in at most 70 s."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPER.parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(HELPER), str(seed), "250", "70"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=170,
    )
    last_try = "\n".join(done.stderr.splitlines()[-3:])
    assert done.returncode == 0, f"the process crashed at: {last_try}"
    result = json.loads(done.stdout)
    print(f"{result['tries']} tries, statuses {result['statuses']}")
    assert result["failures"] == []
    assert result["tries"] >= 50
    assert {"0", "1", "2"} <= result["statuses"].keys()
