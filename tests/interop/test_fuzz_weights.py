"""Damaged files of weights and programs: every reader gives a result or says why not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPER = Path(__file__).resolve().parents[1] / "helpers" / "fuzz_readers.py"


@pytest.mark.slow
def test_no_damaged_file_crashes_a_reader():
    """Tries 400 files in at most 40 s."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HELPER.parents[1]), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(HELPER), "weights", "0", "400", "40"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=170,
    )
    last_try = "\n".join(done.stderr.splitlines()[-3:])
    assert done.returncode == 0, f"the process crashed at: {last_try}"
    result = json.loads(done.stdout)
    print(f"{result['tries']} tries, {result['outcomes']}")
    assert result["failures"] == []
    assert result["tries"] >= 50
    assert {"read", "refused"} <= result["outcomes"].keys()
